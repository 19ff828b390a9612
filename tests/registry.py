"""One case a public transform, map, network, distribution and recipe; the laws run over them.

A case builds its object from a backend, an input dimension and a context dimension. To add a public
name, write its file in both twins and one case here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["DISTRIBUTIONS", "MAPS", "NETWORKS", "TRANSFORMS", "Case", "covered_names", "journeys"]


@dataclass(frozen=True)
class Case:
    """How to build one object.

    Args:
        covers: the public name, ``subpackage.name``.
        build: maps backend, input dimension and context dimension to the object.
        variant: which of several cases of the name this is.
        takes_context: whether there is a variant with a context.
        starts_as_identity: whether the object as built is the identity (or standard normal).
        tolerance: absolute error allowed in double precision.
    """

    covers: str
    build: Callable
    variant: str = ""
    takes_context: bool = True
    starts_as_identity: bool = True
    tolerance: float = 1e-8

    def __str__(self) -> str:
        name = self.covers.rsplit(".")[-1]
        return f"{name}-{self.variant}" if self.variant else name


def journeys(cases, dims) -> list[tuple[Case, int, int]]:
    """Cases with ``(input_dim, context_dim)``; contexts are dropped where none is taken."""
    found = []
    for case in cases:
        for input_dim, context_dim in dims:
            journey = (case, input_dim, context_dim if case.takes_context else 0)
            if journey not in found:
                found.append(journey)
    return found


def _permutation(dim: int) -> list[int]:
    return [int(i) for i in np.random.default_rng(1).permutation(dim)]


def _spline(b):
    return b.T.RationalQuadraticMap(num_bins=5, bound=3.0)


def _fixed_affine(b, dim: int, dense: bool):
    rng = np.random.default_rng(2)
    scale = np.exp(0.3 * rng.standard_normal(dim))
    if dense:
        scale = np.diag(scale) + np.tril(rng.standard_normal((dim, dim)), -1)
    return b.T.FixedAffine(b.array(rng.standard_normal(dim)), b.array(scale))


TRANSFORMS = [
    Case("transforms.ElementwiseAffine", lambda b, d, c: b.make(b.T.ElementwiseAffine, d, c)),
    Case("transforms.DenseAffine", lambda b, d, c: b.make(b.T.DenseAffine, d, c)),
    Case("transforms.LowRankAffine", lambda b, d, c: b.make(b.T.LowRankAffine, d, 1, c)),
    Case(
        "transforms.LowRankAffine",
        lambda b, d, c: b.make(b.T.LowRankAffine, d, d, c),
        variant="full",
    ),
    Case(
        "transforms.FixedAffine",
        lambda b, d, c: _fixed_affine(b, d, dense=False),
        variant="diagonal",
        takes_context=False,
        starts_as_identity=False,
    ),
    Case(
        "transforms.FixedAffine",
        lambda b, d, c: _fixed_affine(b, d, dense=True),
        variant="dense",
        takes_context=False,
        starts_as_identity=False,
    ),
    Case(
        "transforms.Elementwise",
        lambda b, d, c: b.make(
            b.T.Elementwise, d, _spline(b), c, (8,), init=b.array(np.zeros((14, d)))
        ),
    ),
    Case(
        "transforms.RationalQuadraticSpline",
        lambda b, d, c: b.make(b.T.RationalQuadraticSpline, d, context_dim=c),
    ),
    Case("transforms.Coupling", lambda b, d, c: b.make(b.T.Coupling, d, context_dim=c)),
    Case(
        "transforms.Coupling",
        lambda b, d, c: b.make(
            b.T.Coupling, d, _spline(b), "half_flipped", (16,), context_dim=c, activation="tanh"
        ),
        variant="spline",
    ),
    Case(
        "transforms.Coupling",
        lambda b, d, c: b.make(b.T.Coupling, d, mask=[False] * d, context_dim=c),
        variant="keeps-none",
    ),
    Case(
        "transforms.MaskedAutoregressive",
        lambda b, d, c: b.make(b.T.MaskedAutoregressive, d, context_dim=c),
    ),
    Case(
        "transforms.MaskedAutoregressive",
        lambda b, d, c: b.make(
            b.T.MaskedAutoregressive, d, _spline(b), (3, 9), c, _permutation(d), "tanh"
        ),
        variant="spline",
    ),
    Case(
        "transforms.MaskedAutoregressive",
        lambda b, d, c: b.make(b.T.MaskedAutoregressive, d, None, (), c, "reversed"),
        variant="linear",
    ),
    Case(
        "transforms.Inverse",
        lambda b, d, c: b.T.Inverse(b.make(b.T.MaskedAutoregressive, d, context_dim=c)),
    ),
    Case(
        "transforms.Compose",
        lambda b, d, c: b.T.Compose(
            [
                b.make(b.T.Coupling, d, hidden_dims=(8,), context_dim=c),
                b.T.Flip(d),
                b.T.Inverse(b.make(b.T.Planar, d)),
            ]
        ),
        starts_as_identity=False,
    ),
    Case("transforms.LULinear", lambda b, d, c: b.make(b.T.LULinear, d, c)),
    Case(
        "transforms.Permutation",
        lambda b, d, c: b.T.Permutation(_permutation(d)),
        takes_context=False,
        starts_as_identity=False,
    ),
    Case(
        "transforms.Flip",
        lambda b, d, c: b.T.Flip(d),
        takes_context=False,
        starts_as_identity=False,
    ),
    Case("transforms.Planar", lambda b, d, c: b.make(b.T.Planar, d, c)),
]

MAPS = [
    Case("transforms.AffineMap", lambda b, d, c: b.T.AffineMap()),
    Case("transforms.RationalQuadraticMap", lambda b, d, c: _spline(b)),
]

NETWORKS = [
    Case("nn.Dense", lambda b, d, c: b.make(b.nn.Dense, d, 4, (8,), "gelu")),
    Case("nn.Dense", lambda b, d, c: b.make(b.nn.Dense, d, 4, (), final_bias=False), "linear"),
    Case("nn.MaskedDense", lambda b, d, c: b.make(b.nn.MaskedDense, d, 2, (7, 9), c)),
    Case(
        "nn.MaskedDense",
        lambda b, d, c: b.make(b.nn.MaskedDense, d, 3, (2,), c, _permutation(d), "elu"),
        variant="narrow",
    ),
    Case("nn.MaskedLinear", lambda b, d, c: b.make(b.nn.MaskedLinear, np.tri(4, d) > 0)),
    Case(
        "nn.ConditionalParameters",
        lambda b, d, c: b.make(b.nn.ConditionalParameters, d, c, (8,), "relu"),
    ),
]


def _normal(b, dim: int):
    loc, scale = np.linspace(-0.5, 0.5, dim), np.linspace(0.8, 1.3, dim)
    return b.dist.Normal(b.array(loc), b.array(scale)).to_event(1)


def _recipe(name: str, **kwargs) -> Callable:
    def build(b, d, c):
        return b.make(getattr(b.D, name), d, 3, (16, 16), context_dim=c, **kwargs)

    return build


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
]


def covered_names() -> set[str]:
    """The public names with a case; the rest is what their cases are made of."""
    cases = [*TRANSFORMS, *MAPS, *NETWORKS, *DISTRIBUTIONS]
    parts = {
        # interfaces, used through every case
        "transforms.Transform",
        "transforms.ElementwiseMap",
        # what .condition(context) and a flow's call return
        "transforms.ConditionedTransform",
        "distributions.FlowDistribution",
        # the base of every recipe
        "distributions.StandardNormal",
    }
    return {case.covers for case in cases} | parts
