"""Cases of the model-guide pairs: how to build one, and the digits it is trained on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits

__all__ = ["PAIRS", "PairCase", "covered_pairs", "digits"]


def digits(kind: str, num_rows: int | None = None) -> np.ndarray:
    """Digits as ``'bits'``, ``'levels'`` from 0 to 16, or ``'numbers'`` from 0 to 1, 8 by 8."""
    images = load_digits().images[:num_rows]
    if kind == "bits":
        return (images > 7.5).astype(float)
    return images.astype(int) if kind == "levels" else images / 16.0


@dataclass(frozen=True)
class PairCase:
    """How to build one pair of digits.

    Args:
        covers: its public name.
        build: maps the backend to it.
        variant: which of several cases of the name this is.
        data: kind of its data.
        channel: whether its data have a dimension for the channel.
        context_dim: size of its context.
        latent: name of its lowest latent site.
        quick: whether the default tests train it on Pyro.
        learning_rate: of that training.
        starts_near: whether it starts so near to the data that there is less to learn.
    """

    covers: str
    build: Callable
    variant: str = ""
    data: str = "bits"
    channel: bool = False
    context_dim: int = 0
    latent: str = "z"
    quick: bool = False
    learning_rate: float = 5e-3
    starts_near: bool = False

    def __str__(self) -> str:
        return f"{self.covers}-{self.variant}" if self.variant else self.covers

    def rows(self, backend, num_rows: int | None = None):
        """Data, and the context or None, as the host takes them."""
        x = digits(self.data, num_rows)
        x = x[:, None] if self.channel else x
        if self.data == "levels" and backend.name == "numpyro":
            x = backend.jnp.asarray(x)
        else:
            x = backend.array(x)
        labels = np.eye(10)[load_digits().target[:num_rows], : self.context_dim]
        return x, backend.array(labels) if self.context_dim else None


def _vae(latent_dim: int = 3, shape=(8, 8), hidden_dims=(16,), **options) -> Callable:
    def build(b):
        return b.make(b.load("models").vae, shape, latent_dim, hidden_dims, **options)

    return build


def _family(name: str, *args, **options) -> Callable:
    def build(b):
        conditional = getattr(b.load("distributions.conditionals"), name)(*args)
        return _vae(conditional=conditional, **options)(b)

    return build


def _posterior(name: str, *args, **options) -> Callable:
    def build(b):
        flow = b.make(getattr(b.D, name), 3, *args, context_dim=6, **options)
        return _vae(posterior=flow)(b)

    return build


def _prior(make: Callable, **options) -> Callable:
    def build(b):
        return _vae(prior=make(b), **options)(b)

    return build


def _conditional_prior(b):
    c = b.load("distributions.conditionals")
    network = b.make(b.nn.Dense, 10, 6, (8,))
    return b.D.ConditionalDistribution(network, c.NormalConditional(), (3,))


def _images(b):
    conditional = b.load("distributions.conditionals").DiscretizedLogisticMixtureConditional(
        2, 0, 16
    )
    options = {"conditional": conditional, "network": "gated_convolutional"}
    return _vae(3, (1, 8, 8), (4, 6), input_range=(0, 16), **options)(b)


def _from_data(network: str, shape, hidden_dims, conditional, **options) -> Callable:
    """A pair whose decoder starts from the digits themselves."""

    def build(b):
        x, (name, *numbers) = digits("levels").reshape(-1, *shape), conditional
        family = getattr(b.load("distributions.conditionals"), name)(*numbers)
        given = {"network": network, "conditional": family, "init_data": x}
        return _vae(3, shape, hidden_dims, **given, **options)(b)

    return build


def _stacked(b):
    return b.make(b.load("models").stacked_vae, (8, 8), (4, 2), ((16,), (8,)))


def _semi(b):
    return b.load("models").SemiAmortized(_vae(latent_dim=2)(b), num_steps=3)


def _delta_of_images(b):
    options = {"network": "convolutional"}
    return b.make(b.load("models").delta_vae, (1, 8, 8), 2, 4, 3.0, (4,), **options)


def _delta(b):
    return b.make(b.load("models").delta_vae, (8, 8), 2, 4, 3.0, (16,))


def _autoregressive(recipe: str, conditional: str, *args, **options) -> Callable:
    """A learned autoregressive prior of three latent variables."""

    def build(b):
        c = b.load("distributions.conditionals")
        family = getattr(c, conditional)(*args)
        return b.make(getattr(b.D, recipe), (3,), family, **options)

    return build


def _mixture_prior(b):
    c = b.load("distributions.conditionals")
    family = c.MixtureConditional(c.StudentTConditional(), 2)
    return b.make(b.D.made, (3,), family, hidden_dims=(8,), context_dim=10)


def _stacked_with_prior(b):
    prior = _autoregressive("made", "NormalConditional", hidden_dims=(8,))(b)
    return b.make(b.load("models").stacked_vae, (8, 8), (4, 3), ((16,), (8,)), prior=prior)


def _pixel_vae(*args, **options) -> Callable:
    def build(b):
        c, given = b.load("distributions.conditionals"), dict(options)
        if "conditional" in given:
            name, *numbers = given["conditional"]
            given["conditional"] = getattr(c, name)(*numbers)
        sizes = {"hidden_dim": 8, "num_blocks": 1, "kernel_size": 3, "feature_dim": 4}
        return b.make(b.load("models").pixel_vae, (1, 8, 8), *args, (4,), **sizes, **given)

    return build


LEVELS = {"data": "levels"}
LOGISTIC = ("DiscretizedLogisticConditional", 0, 16)
PIXELS = {"channel": True, "learning_rate": 2e-2}

PAIRS = [
    PairCase("vae", _vae(latent_dim=2), "bits", quick=True),
    PairCase(
        "vae",
        _family("CategoricalConditional", 17, posterior="low_rank", rank=1, input_range=(0, 16)),
        "low-rank-categorical",
        **LEVELS,
    ),
    PairCase("vae", _family("NormalConditional", 0.05, posterior="full"), "full-normal", "numbers"),
    PairCase(
        "vae",
        _family("DiscretizedLogisticConditional", 0, 16, network="gated", input_range=(0, 16)),
        "gated-discretised",
        **LEVELS,
        quick=True,
    ),
    PairCase("vae", _images, "convolutional-mixture", **LEVELS, channel=True),
    PairCase(
        "vae",
        _from_data("dense", (8, 8), (16,), conditional=LOGISTIC, input_range=(0, 16)),
        "from-data",
        **LEVELS,
        quick=True,
        starts_near=True,
    ),
    PairCase(
        "vae",
        _from_data("convolutional", (1, 8, 8), (4, 6), conditional=LOGISTIC),
        "convolutional-from-data",
        **LEVELS,
        channel=True,
        starts_near=True,
    ),
    PairCase("vae", _posterior("planar", 2, ()), "planar", quick=True),
    PairCase("vae", _posterior("iaf", 2, (8,)), "iaf"),
    PairCase(
        "vae",
        _posterior("nsf", 1, (8,), num_bins=4, fast="sample", kind="autoregressive"),
        "spline",
    ),
    PairCase("vae", _posterior("sylvester", 2, (), rank=2), "sylvester-orthogonal", quick=True),
    PairCase(
        "vae",
        _posterior("sylvester", 2, (), kind="householder", num_reflections=2),
        "sylvester-householder",
    ),
    PairCase("vae", _posterior("sylvester", 2, (), kind="triangular"), "sylvester-triangular"),
    PairCase("vae", _prior(lambda b: b.make(b.D.MixtureOfNormals, 3, 4)), "mixture-prior"),
    PairCase("vae", _prior(lambda b: b.make(b.D.realnvp, 3, 2, (8,))), "flow-prior"),
    PairCase("vae", _prior(lambda b: b.make(b.D.VampPrior, 5, (8, 8))), "vamp-prior", quick=True),
    PairCase(
        "vae",
        _prior(_autoregressive("made", "NormalConditional", hidden_dims=(8,))),
        "made-prior",
        quick=True,
    ),
    PairCase(
        "vae",
        _prior(_autoregressive("wavenet", "NormalConditional", hidden_dim=4, num_blocks=2)),
        "wavenet-prior",
    ),
    PairCase("vae", _prior(_mixture_prior, context_dim=10), "mixture-made-prior", context_dim=10),
    PairCase(
        "vae", _prior(_conditional_prior, context_dim=10), "conditional", context_dim=10, quick=True
    ),
    PairCase("stacked_vae", _stacked, latent="z1", quick=True),
    PairCase("stacked_vae", _stacked_with_prior, "made-prior", latent="z1"),
    PairCase("SemiAmortized", _semi, quick=True),
    PairCase("delta_vae", _delta, quick=True),
    PairCase("delta_vae", _delta_of_images, "convolutional", channel=True),
    PairCase("pixel_vae", _pixel_vae(2), "bits", **PIXELS, quick=True),
    PairCase(
        "pixel_vae",
        _pixel_vae(
            3,
            conditional=("CategoricalConditional", 17),
            decoder="pixel_cnn",
            one_hot=True,
            context_dim=10,
            input_range=(0, 16),
        ),
        "levels",
        **LEVELS,
        **PIXELS,
        context_dim=10,
    ),
    PairCase("pixel_vae", _pixel_vae(2, committed_rate=3.0, num_steps=4), "committed", **PIXELS),
]


def covered_pairs() -> set[str]:
    """The public names with a case, what their recipes build, and the interface of all."""
    parts = {"ModelGuidePair", "StackedAutoencoder", "VariationalAutoencoder", "PixelVAE"}
    return {case.covers for case in PAIRS} | parts
