"""Guides that are handlers over the generator: model and guide in one run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax.numpy as jnp
from jax import Array
from numpyro import handlers
from numpyro.distributions import Distribution
from numpyro.primitives import Messenger

__all__ = ["AtValue", "TopDown", "check_fresh", "find_top_down", "split_traces"]


class TopDown(Messenger):
    r"""A guide that runs the model, and draws each latent site from a posterior instead.

    .. math:: q(z \mid x) = \prod_l q(z_l \mid z_{>l}, x)

    Each posterior is made of the site's prior, of what the model hands over with the site as
    ``infer={"state": ...}``, and of what is computed of the data once. Every bound of this package
    takes model and guide from the one run; for those of the host this is an ordinary guide, and
    the model is run again on its draws. Handlers go around the guide; those around the model alone
    have no effect on a single run.

    Args:
        model: model of the host.
        posteriors: function of the model's arguments that returns a function of a site's name,
            prior and state, which returns the posterior, or None to draw from the prior.

    Example:
        >>> import jax.numpy as jnp, numpyro, numpyro.distributions as dist
        >>> from jax import random
        >>> from numpyro_deepgen.infer import BetaELBO
        >>> def model(x):
        ...     with numpyro.plate("data", len(x)):
        ...         z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        ...         numpyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> guide = TopDown(model, lambda x: lambda *site: dist.Normal(x / 2, 0.7))
        >>> loss = BetaELBO(analytic=True).loss(random.key(0), {}, model, guide, jnp.zeros(1))
        >>> bool(loss > 0)
        True

    References:
        Soenderby et al. 2016, Ladder variational autoencoders; Kingma et al. 2016, Improved
        variational inference with inverse autoregressive flow, section 4.
    """

    def __init__(self, model: Callable, posteriors: Callable):
        super().__init__()
        self.model, self.posteriors = model, posteriors
        self._hidden = True

    def __call__(self, *args, **kwargs) -> dict[str, Array]:
        """Draw the latent sites; returns their values by name."""
        self._posterior, values = self.posteriors(*args, **kwargs), {}
        self._values = values
        try:
            with handlers.block(hide_fn=self._hides), self:
                self.model(*args, **kwargs)
        finally:
            del self._posterior, self._values
        return values

    @contextmanager
    def exposed(self) -> Iterator[None]:
        """Show what is observed too, so that a trace holds model and guide."""
        self._hidden = False
        try:
            yield
        finally:
            self._hidden = True

    def _hides(self, msg: dict) -> bool:
        return self._hidden and msg["type"] == "sample" and msg["is_observed"]

    def process_message(self, msg: dict) -> None:
        """Put the posterior in the place of the prior."""
        if msg["type"] != "sample" or msg["is_observed"]:
            return
        prior, infer = msg["fn"], dict(msg["infer"] or {})
        found = self._posterior(msg["name"], prior, infer.pop("state", None))
        posterior = prior if found is None else found
        if posterior.batch_shape != prior.batch_shape:
            shape = jnp.broadcast_shapes(posterior.batch_shape, prior.batch_shape)
            posterior = posterior.expand(shape)
        msg["fn"], msg["infer"] = posterior, {**infer, "prior": prior}

    def postprocess_message(self, msg: dict) -> None:
        """Keep what was drawn."""
        if msg["type"] == "sample" and not msg["is_observed"]:
            self._values[msg["name"]] = msg["value"]


def find_top_down(guide: Callable) -> TopDown | None:
    """The top-down guide inside of handlers, or None."""
    while isinstance(guide, Messenger) and not isinstance(guide, TopDown):
        guide = guide.fn
    return guide if isinstance(guide, TopDown) else None


def split_traces(trace: dict) -> tuple[dict, dict]:
    """The traces of the model and of the guide from that of an exposed top-down guide."""
    model, guide = {}, {}
    for name, site in trace.items():
        infer = (site.get("infer") or {}) if site["type"] == "sample" else {}
        if infer.get("is_auxiliary"):
            # drawn before, with its density where it is used
            continue
        prior = infer.get("prior")
        model[name] = site if prior is None else {**site, "fn": prior, "intermediates": []}
        if site["type"] != "sample" or not site["is_observed"]:
            guide[name] = site
    return model, guide


def check_fresh(name: str, fn: Distribution) -> None:
    """Raise for a site whose value was drawn before, in a gradient at given draws."""
    if isinstance(fn, AtValue):
        raise ValueError(
            f"gradient must be 'plain' for a guide that draws from the bottom up first, got site "
            f"{name!r} drawn before; pass gradient='plain'."
        )


class AtValue(Distribution):
    """A distribution that was drawn from before: its density, and the one value.

    Args:
        base_dist: the distribution.
        value: what was drawn, of shape ``batch_shape + event_shape`` or broader.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> AtValue(dist.Normal(0.0, 1.0), jnp.array(0.5)).sample(jax.random.key(0)).item()
        0.5
    """

    arg_constraints: dict = {}
    pytree_data_fields = ("base_dist", "value")

    def __init__(self, base_dist: Distribution, value: Array):
        batch_shape = value.shape[: value.ndim - base_dist.event_dim]
        self.base_dist, self.value = base_dist.expand(batch_shape), value
        super().__init__(batch_shape, base_dist.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:
        return self.base_dist.has_rsample

    @property
    def support(self):
        return self.base_dist.support

    @property
    def mean(self) -> Array:
        return self.base_dist.mean

    def expand(self, batch_shape) -> "AtValue":
        value = jnp.broadcast_to(self.value, tuple(batch_shape) + self.event_shape)
        return AtValue(self.base_dist, value)

    def sample(self, key: Array | None, sample_shape=()) -> Array:
        return jnp.broadcast_to(self.value, tuple(sample_shape) + self.value.shape)

    rsample = sample

    def log_prob(self, value: Array) -> Array:
        return self.base_dist.log_prob(value)
