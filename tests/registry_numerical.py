"""Cases of the transforms and maps with numerical inverses, statistics or domains of their own."""

from collections.abc import Callable

import numpy as np
from registry_case import Case

__all__ = ["NUMERICAL_MAPS", "NUMERICAL_TRANSFORMS"]


def _inside(bound: float) -> Callable:
    """Points of ``(-bound, bound)``, the small ones as they are."""

    def inside(x):
        return 0.999 * bound * np.tanh(x / bound)

    return inside


def _positive(x):
    return 1e-3 + np.logaddexp(0.0, x)


def _between(low: float, high: float) -> Callable:
    return lambda x: 0.5 * (low + high) + _inside(0.5 * (high - low))(x)


def _increasing(x):
    return np.cumsum(_positive(x), -1)


def _to_support(constraint: Callable) -> Callable:
    return lambda b, d, c: b.T.ToSupport(constraint(b.dist.constraints), d)


def _sylvester(kind: str, **kwargs) -> Callable:
    def build(b, d, c):
        return b.make(b.T.Sylvester, d, max(1, d - 1), kind, c, **kwargs)

    return build


def _batch(b, dim: int):
    rng = np.random.default_rng(11)
    return b.array(rng.standard_normal((20, dim)) * 2.0 + 1.0)


def _elementwise(make_map: Callable) -> Callable:
    return lambda b, d, c: b.make(b.T.Elementwise, d, make_map(b), c, (8,))


def _autoregressive(make_map: Callable) -> Callable:
    return lambda b, d, c: b.make(b.T.MaskedAutoregressive, d, make_map(b), (8,), c)


def _mixture(b):
    return b.T.MixtureLogisticMap(num_components=4)


def _monotonic(b):
    return b.make(b.T.UnconstrainedMonotonicMap, 3, (8, 8))


NUMERICAL_TRANSFORMS = [
    Case("transforms.Radial", lambda b, d, c: b.make(b.T.Radial, d, c)),
    Case("transforms.Sylvester", _sylvester("orthogonal"), "orthogonal", cost=1),
    Case(
        "transforms.Sylvester", _sylvester("householder", num_reflections=3), "householder", cost=2
    ),
    Case("transforms.Sylvester", _sylvester("triangular", reverse=True), "triangular", cost=2),
    Case("transforms.Householder", lambda b, d, c: b.make(b.T.Householder, d, 2, c)),
    Case(
        "transforms.Householder",
        lambda b, d, c: b.make(b.T.Householder, d, 3, c),
        variant="odd",
        starts_as_identity=False,
        cost=2,
    ),
    Case(
        "transforms.MatrixExponential", lambda b, d, c: b.make(b.T.MatrixExponential, d, c), cost=1
    ),
    Case("transforms.Rotation", lambda b, d, c: b.make(b.T.Rotation, d, c), cost=1),
    Case(
        "transforms.BlockNeuralAutoregressive",
        lambda b, d, c: b.make(b.T.BlockNeuralAutoregressive, d, (4, 4), c, "reversed"),
        cost=1,
    ),
    Case(
        "transforms.ActNorm",
        lambda b, d, c: b.make(b.T.ActNorm, d, c).initialize(_batch(b, d)),
        starts_as_identity=False,
    ),
    Case(
        "transforms.BatchNorm",
        lambda b, d, c: b.make(b.T.BatchNorm, d, c).update(_batch(b, d), momentum=1.0),
        starts_as_identity=False,
    ),
    Case(
        "transforms.BoundedSpline",
        lambda b, d, c: b.make(b.T.BoundedSpline, d, 4, 5.0, c),
        domain=_inside(5.0),
        cost=1,
    ),
    Case(
        "transforms.CircularSpline",
        lambda b, d, c: b.make(b.T.CircularSpline, d, 4, 5.0, c),
        domain=_inside(5.0),
        cost=1,
    ),
    # beyond 80 the exponential of a single-precision number is infinite
    Case(
        "transforms.ToSupport",
        _to_support(lambda constraints: constraints.positive),
        variant="positive",
        takes_context=False,
        starts_as_identity=False,
        domain=_inside(80.0),
        codomain=_positive,
    ),
    Case(
        "transforms.ToSupport",
        _to_support(lambda constraints: constraints.interval(-2.0, 3.0)),
        variant="interval",
        takes_context=False,
        starts_as_identity=False,
        codomain=_between(-2.0, 3.0),
    ),
    Case(
        "transforms.ToSupport",
        _to_support(lambda constraints: constraints.ordered_vector),
        variant="ordered",
        takes_context=False,
        starts_as_identity=False,
        domain=_inside(80.0),
        codomain=_increasing,
    ),
    Case(
        "transforms.Scan",
        lambda b, d, c: b.T.Scan(
            [
                b.T.Compose([b.make(b.T.Coupling, d, hidden_dims=(8,), context_dim=c), b.T.Flip(d)])
                for _ in range(2)
            ]
        ),
        cost=1,
    ),
    Case("transforms.Elementwise", _elementwise(_mixture), "mixture-logistic", cost=1),
    Case(
        "transforms.Elementwise",
        _elementwise(lambda b: b.T.GaussianizationMap(num_components=4)),
        variant="gaussianization",
        starts_as_identity=False,
        cost=2,
    ),
    Case(
        "transforms.MaskedAutoregressive",
        _autoregressive(lambda b: b.T.DeepSigmoidalMap(num_components=3)),
        variant="deep-sigmoidal",
        cost=2,
    ),
    Case(
        "transforms.MaskedAutoregressive",
        _autoregressive(lambda b: b.T.SumOfSquaresMap(num_polynomials=2, degree=2)),
        variant="sum-of-squares",
        cost=2,
    ),
    Case("transforms.MaskedAutoregressive", _autoregressive(_monotonic), "monotonic", cost=2),
    Case(
        "transforms.Coupling",
        lambda b, d, c: b.make(b.T.Coupling, d, b.T.AdditiveMap(), context_dim=c),
        variant="additive",
        cost=1,
    ),
]

NUMERICAL_MAPS = [
    Case("transforms.AdditiveMap", lambda b, d, c: b.T.AdditiveMap()),
    Case(
        "transforms.RationalQuadraticMap",
        lambda b, d, c: b.T.RationalQuadraticMap(5, 3.0, "bounded"),
        variant="bounded",
        domain=_inside(3.0),
    ),
    Case("transforms.MixtureLogisticMap", lambda b, d, c: _mixture(b)),
    Case("transforms.DeepSigmoidalMap", lambda b, d, c: b.T.DeepSigmoidalMap(num_components=3)),
    Case("transforms.SumOfSquaresMap", lambda b, d, c: b.T.SumOfSquaresMap()),
    Case("transforms.UnconstrainedMonotonicMap", lambda b, d, c: _monotonic(b), "start"),
    Case(
        "transforms.UnconstrainedMonotonicMap",
        lambda b, d, c: b.perturbed(_monotonic(b), 0.2),
        starts_as_identity=False,
    ),
    Case(
        "transforms.GaussianizationMap",
        lambda b, d, c: b.T.GaussianizationMap(num_components=4),
        starts_as_identity=False,
    ),
]
