"""Cases of the distributions and recipes."""

from collections.abc import Callable

import numpy as np
from registry_case import Case

__all__ = ["DISTRIBUTIONS"]


def _normal(b, dim: int):
    loc, scale = np.linspace(-0.5, 0.5, dim), np.linspace(0.8, 1.3, dim)
    return b.dist.Normal(b.array(loc), b.array(scale)).to_event(1)


def _recipe(name: str, **kwargs) -> Callable:
    def build(b, d, c):
        return b.make(getattr(b.D, name), d, 3, (16, 16), context_dim=c, **kwargs)

    return build


def _block_recipe(b, d, c):
    return b.make(b.D.bnaf, d, 2, (4,), c)


def _with_base(name: str, **kwargs) -> Callable:
    def build(b, d, c):
        base_dist = b.make(getattr(b.D, name), d, context_dim=c, hidden_dims=(8,), **kwargs)
        return b.D.Flow(base_dist, [b.make(b.T.LULinear, d)])

    return build


def _mixture(b, d, c):
    flows = [
        b.make(b.D.realnvp, d, 1, (8,), context_dim=c),
        b.D.Flow(b.D.StandardNormal(d), [b.make(b.T.DenseAffine, d)]),
    ]
    return b.make(b.D.MixtureFlow, flows, (8,))


DISTRIBUTIONS = [
    Case("distributions.realnvp", _recipe("realnvp")),
    Case("distributions.maf", _recipe("maf")),
    Case("distributions.iaf", _recipe("iaf", activation="tanh")),
    Case("distributions.nsf", _recipe("nsf", num_bins=5, bound=3.0)),
    Case("distributions.nsf", _recipe("nsf", kind="autoregressive"), variant="autoregressive"),
    Case(
        "distributions.nsf",
        _recipe("nsf", kind="autoregressive", fast="sample"),
        variant="autoregressive-sample",
    ),
    Case("distributions.planar", _recipe("planar")),
    Case(
        "distributions.Flow",
        lambda b, d, c: b.D.Flow(
            _normal(b, d), [b.make(b.T.Coupling, d, context_dim=c), b.T.Flip(d)]
        ),
        variant="fixed-base",
        starts_as_identity=False,
    ),
    Case(
        "distributions.Flow",
        lambda b, d, c: b.D.Flow(
            b.make(b.D.realnvp, d, 1, (8,), context_dim=c), [b.make(b.T.DenseAffine, d)]
        ),
        variant="flow-base",
    ),
    Case("distributions.nice", _recipe("nice"), cost=1),
    Case("distributions.radial", _recipe("radial"), cost=1),
    Case("distributions.sylvester", _recipe("sylvester", rank=1), cost=1),
    Case("distributions.flowpp", _recipe("flowpp", num_components=3), cost=2),
    Case("distributions.naf", _recipe("naf", num_components=3), cost=2),
    Case(
        "distributions.naf",
        lambda b, d, c: b.make(b.D.naf, d, 1, (8,), c, num_components=3, fast="sample"),
        variant="sample",
        cost=2,
    ),
    Case("distributions.unaf", _recipe("unaf", integrand_dims=(8,)), cost=2),
    Case("distributions.bnaf", _block_recipe, cost=1),
    Case("distributions.sospf", _recipe("sospf", num_polynomials=2, degree=2), cost=1),
    Case(
        "distributions.gaussianization",
        # each layer makes the tails heavier: two keep them on the grid
        lambda b, d, c: b.make(b.D.gaussianization, d, 2, (16,), c, num_components=4),
        starts_as_identity=False,
        cost=1,
    ),
    Case("distributions.FullNormal", _with_base("FullNormal")),
    Case(
        "distributions.MixtureOfNormals",
        _with_base("MixtureOfNormals", num_components=3),
        starts_as_identity=False,
        has_rsample=False,
    ),
    Case("distributions.StudentT", _with_base("StudentT"), starts_as_identity=False),
    Case("distributions.MixtureFlow", _mixture, has_rsample=False, cost=1),
]
