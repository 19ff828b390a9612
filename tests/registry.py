"""One case a public transform, map, network, distribution and recipe; the laws run over them.

To add a public name, write its file in both twins and one case here, or beside it in the files of
the recipes (``registry_flows``) and of what has no closed form or another domain
(``registry_numerical``).
"""

import numpy as np
from registry_autoregressive import AUTOREGRESSIVE_NAMES
from registry_case import Case, journeys
from registry_flows import DISTRIBUTIONS
from registry_numerical import NUMERICAL_MAPS, NUMERICAL_TRANSFORMS

__all__ = ["DISTRIBUTIONS", "MAPS", "NETWORKS", "TRANSFORMS", "Case", "covered_names", "journeys"]


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
    *NUMERICAL_TRANSFORMS,
]

MAPS = [
    Case("transforms.AffineMap", lambda b, d, c: b.T.AffineMap()),
    Case("transforms.RationalQuadraticMap", lambda b, d, c: _spline(b)),
    *NUMERICAL_MAPS,
]


def _with_context(network, x, context):
    return network(x, context)


def _of_context(network, x, context):
    return network(context)


def _of_image(network, x, context):
    image = x[..., None, None, :]
    return network(image) if context is None else network(image, context)


def _image_and_slopes(network, x, context):
    image, log_slope = network(x, context)
    return image + 0.5 * log_slope


NETWORKS = [
    Case("nn.BlockLinear", lambda b, d, c: b.make(b.nn.BlockLinear, d, 1, 3)),
    Case(
        "nn.BlockDense",
        lambda b, d, c: b.make(b.nn.BlockDense, d, (3, 5), c, _permutation(d)),
        call=_image_and_slopes,
    ),
    Case("nn.Dense", lambda b, d, c: b.make(b.nn.Dense, d, 4, (8,), "gelu")),
    Case("nn.Dense", lambda b, d, c: b.make(b.nn.Dense, d, 4, (), final_bias=False), "linear"),
    Case(
        "nn.MaskedDense",
        lambda b, d, c: b.make(b.nn.MaskedDense, d, 2, (7, 9), c),
        call=_with_context,
    ),
    Case(
        "nn.MaskedDense",
        lambda b, d, c: b.make(b.nn.MaskedDense, d, 3, (2,), c, _permutation(d), "elu"),
        variant="narrow",
        call=_with_context,
    ),
    Case("nn.MaskedLinear", lambda b, d, c: b.make(b.nn.MaskedLinear, np.tri(4, d) > 0)),
    Case("nn.GatedDense", lambda b, d, c: b.make(b.nn.GatedDense, d, 4, (8,))),
    Case(
        "nn.FlatInputs",
        lambda b, d, c: b.nn.FlatInputs(b.make(b.nn.Dense, d + c, 4, (8,)), 3, (-1.0, 2.0)),
        call=_of_image,
    ),
    Case(
        "nn.GatedConv",
        lambda b, d, c: b.make(b.nn.GatedConv, 1, 2, 3, 2),
        takes_context=False,
        call=_of_image,
    ),
    Case(
        "nn.GatedConv",
        lambda b, d, c: b.make(b.nn.GatedConv, 1, 2, 3, 2, True),
        "transposed",
        takes_context=False,
        call=_of_image,
    ),
    Case(
        "nn.ImageEncoder",
        lambda b, d, c: b.make(b.nn.ImageEncoder, (1, 1, d), 3, (2,), (4,), c, kernel_size=3),
        call=_of_image,
    ),
    Case(
        "nn.ImageEncoder",
        lambda b, d, c: b.make(b.nn.ImageEncoder, (1, 1, d), 3, (2, 4), (), c, gated=True),
        "gated",
        call=_of_image,
    ),
    Case(
        "nn.ImageDecoder",
        lambda b, d, c: b.make(b.nn.ImageDecoder, d + c, (2, 5, 3), (3, 2), (4,), kernel_size=3),
        call=_with_context,
    ),
    Case(
        "nn.ImageDecoder",
        lambda b, d, c: b.make(b.nn.ImageDecoder, d + c, (1, 4, 4), (3,), (), gated=True),
        "gated",
        call=_with_context,
    ),
    Case(
        "nn.ConditionalParameters",
        lambda b, d, c: b.make(b.nn.ConditionalParameters, d, c, (8,), "relu"),
        call=_of_context,
    ),
]


def covered_names() -> set[str]:
    """The public names with a case; the rest is what their cases are made of."""
    cases = [*TRANSFORMS, *MAPS, *NETWORKS, *DISTRIBUTIONS]
    parts = {
        # interfaces, used through every case
        "transforms.Transform",
        "transforms.ElementwiseMap",
        "transforms.IntegralMap",
        "transforms.NumericalMap",
        # what .condition(context) and a flow's call return
        "transforms.ConditionedTransform",
        "distributions.FlowDistribution",
        # not trained, so that the laws of learned densities do not hold: tests/test_annealing.py
        "distributions.FixedMixture",
        "distributions.MixtureFlowDistribution",
        # of discrete values, or of inputs: tests/test_conditionals.py, tests/test_pairs.py
        "distributions.AmortizedFlow",
        "distributions.AutoregressiveNormal",
        "distributions.ConditionalDistribution",
        "distributions.DiscretizedLogistic",
        "distributions.DiscretizedLogisticMixture",
        "distributions.VampPrior",
        # of images, relative to another, or of codes: tests/test_hierarchical.py
        "distributions.CodebookPrior",
        "distributions.ResidualNormal",
        "distributions.VectorQuantized",
        "nn.BottleneckBlock",
        "nn.Codebook",
        "nn.Conv",
        "nn.ConvTranspose",
        "nn.GroupNorm",
        "nn.SeparableBlock",
        "nn.average_pool",
        "nn.resize_nearest",
        # the base of every recipe
        "distributions.StandardNormal",
    }
    return {case.covers for case in cases} | parts | AUTOREGRESSIVE_NAMES
