"""The host's bound with its sites summed in one order, whatever the process."""

import jax.numpy as jnp
from numpyro.infer import Trace_ELBO
from numpyro.infer.elbo import ELBO

__all__ = ["ordered"]


class OrderedTraceELBO(Trace_ELBO):
    """``Trace_ELBO``, its sites summed in the order of their names.

    The host sums them in the order of a set of strings, which differs from process to process, and
    with it the last digits of the loss.
    """

    def loss_with_mutable_state(self, rng_key, param_map, model, guide, *args, **kwargs):
        """The host's loss and mutable state."""
        found = super().loss_with_mutable_state(rng_key, param_map, model, guide, *args, **kwargs)
        sites = found["loss"]
        return {**found, "loss": sum((sites[name] for name in sorted(sites)), jnp.array(0.0))}


def ordered(loss: ELBO) -> ELBO:
    """The same bound, in a fixed order of sites where it is the host's ``Trace_ELBO``."""
    if type(loss) is not Trace_ELBO or not getattr(loss, "sum_sites", False):
        return loss
    return OrderedTraceELBO(
        loss.num_particles, loss.vectorize_particles, loss.multi_sample_guide, sum_sites=False
    )
