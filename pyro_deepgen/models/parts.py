"""Encoders and decoders of the recipes: a kind of network, and the distribution that ends it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .._numerics.checks import check_choice, check_positive_int
from .._numerics.marginals import check_init_data
from ..distributions import AmortizedFlow, ConditionalDistribution, Flow
from ..distributions.conditionals import (
    BernoulliConditional,
    Conditional,
    LowRankNormalConditional,
    MultivariateNormalConditional,
    NormalConditional,
)
from ..nn import Dense, FlatInputs, GatedDense, ImageDecoder, ImageEncoder

__all__ = ["Networks", "make_decoder", "make_encoder", "posterior_family"]

KINDS = ("dense", "gated", "convolutional", "gated_convolutional")
POSTERIORS = ("diagonal", "low_rank", "full")


@dataclass(frozen=True)
class Networks:
    """What the networks of a recipe have in common.

    Args:
        kind: ``'dense'``, ``'gated'``, ``'convolutional'`` or ``'gated_convolutional'``.
        activation: a name or a callable, None for that of the kind.
        context_dim: size of the context of all of them.
    """

    kind: str
    activation: str | Callable | None
    context_dim: int

    def __post_init__(self):
        check_choice("network", self.kind, KINDS)
        check_positive_int("context_dim", self.context_dim, minimum=0)

    @property
    def of_images(self) -> bool:
        """Whether they are convolutional."""
        return "convolutional" in self.kind

    @property
    def options(self) -> dict:
        """Keyword arguments of the networks."""
        given = {} if self.activation is None else {"activation": self.activation}
        if self.of_images:
            return {"gated": self.kind.startswith("gated"), **given}
        return {} if self.kind == "gated" else {"activation": "tanh", **given}

    def dense(self, input_dim: int, output_dim: int, hidden_dims: Sequence[int]):
        """A network of vectors."""
        kind = GatedDense if self.kind == "gated" else Dense
        return kind(input_dim, output_dim, hidden_dims, **self.options)


def posterior_family(
    posterior: str | Flow, latent_dim: int, rank: int
) -> Flow | tuple[Conditional, tuple[int, ...]]:
    """The flow, or the conditional and the shape of its elements, of a posterior's name.

    Raises:
        ValueError: if the flow has another number of dimensions, or the name is unknown.
    """
    if not isinstance(posterior, str):
        if posterior.input_dim != latent_dim:
            raise ValueError(
                f"posterior must have input_dim={latent_dim} like the latent variables, got "
                f"{posterior.input_dim}; build them alike."
            )
        return posterior
    kind = check_choice("posterior", posterior, POSTERIORS)
    if kind == "diagonal":
        return NormalConditional(), (latent_dim,)
    if kind == "full":
        return MultivariateNormalConditional(latent_dim), ()
    return LowRankNormalConditional(latent_dim, rank), ()


def make_encoder(
    networks: Networks,
    input_shape: tuple[int, ...],
    hidden_dims: Sequence[int],
    family: Flow | tuple[Conditional, tuple[int, ...]],
    input_range: tuple[float, float] | None = None,
):
    """What maps a datum to the posterior of its latent variables."""
    flow = family if isinstance(family, Flow) else None
    count = flow.context_dim if flow else math.prod(family[1]) * family[0].num_params
    if networks.of_images:
        network = ImageEncoder(
            input_shape,
            max(count, 1),
            hidden_dims,
            context_dim=networks.context_dim,
            input_range=input_range,
            **networks.options,
        )
    else:
        size = math.prod(input_shape) + networks.context_dim
        dense = networks.dense(size, max(count, 1), hidden_dims)
        network = FlatInputs(dense, len(input_shape), input_range)
    return AmortizedFlow(network, flow) if flow else ConditionalDistribution(network, *family)


def make_decoder(
    networks: Networks,
    latent_shape: tuple[int, ...],
    event_shape: tuple[int, ...],
    hidden_dims: Sequence[int],
    conditional: Conditional | None,
    init_data=None,
) -> ConditionalDistribution:
    """What maps latent variables to the distribution of a datum.

    With data, each element starts from those of its place.

    Raises:
        ValueError: if a convolutional network is to give elements that are no numbers, or the data
            have another shape.
    """
    conditional = BernoulliConditional() if conditional is None else conditional
    offset = None
    if init_data is not None:
        shape = (*event_shape, *conditional.event_shape)
        init_data = torch.as_tensor(init_data).cpu()
        offset = conditional.marginal_params(check_init_data(init_data, shape))
    size = math.prod(latent_shape) + networks.context_dim
    if not networks.of_images:
        count = math.prod(event_shape) * conditional.num_params
        dense = networks.dense(size, count, hidden_dims)
        network = FlatInputs(dense, len(latent_shape))
        return ConditionalDistribution(network, conditional, event_shape, offset=offset)
    if conditional.event_shape:
        raise ValueError(
            f"conditional must be that of a number for a {networks.kind} network, got "
            f"{conditional!r}; build the pair from an ImageEncoder and an ImageDecoder."
        )
    channels, *sides = event_shape
    image_shape = (channels * conditional.num_params, *sides)
    network = ImageDecoder(size, image_shape, hidden_dims, **networks.options)
    if len(latent_shape) > 1:
        network = FlatInputs(network, len(latent_shape))
    return ConditionalDistribution(network, conditional, event_shape, True, offset)
