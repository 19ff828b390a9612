"""State of independence Metropolis, and its acceptances one after the other."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from numpyro.infer.hmc import HMCState

__all__ = ["FlowIndependenceState", "accept"]


class FlowIndependenceState(NamedTuple):
    """State of :class:`FlowIndependence`; every field may be an extra field of the host's MCMC.

    Attributes:
        z: unconstrained values by site.
        log_q: the guide's log density of ``z``.
        accept_prob: mean acceptance probability of this draw's proposals.
        mean_accept_prob: its mean over the draws so far, since the warm-up.
        num_accepted: number of this draw's proposals that were accepted.
        num_steps: number of gradients that this draw took.
        diverging: whether a transition of the inner kernel diverged.
        i: number of draws so far.
        inner: state of the inner kernel.
        rng_key: key of the next draw.
    """

    z: dict[str, Array]
    log_q: Array
    accept_prob: Array
    mean_accept_prob: Array
    num_accepted: Array
    num_steps: Array
    diverging: Array
    i: Array
    inner: HMCState
    rng_key: Array


def accept(log_weight: Array, log_weights: Array, log_uniform: Array):
    """Go through proposals one by one, from a point of the given importance weight.

    Returns:
        The proposal where the chain ends, -1 for none, and for each proposal its acceptance
        probability and whether it was accepted.
    """

    def step(carry, proposal):
        current, chosen = carry
        k, new, log_u = proposal
        # Tierney 1994, section 2.3.3: the ratio is one of importance weights
        log_ratio = new - current
        # a proposal whose densities are not numbers is refused
        log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio)
        accepted = log_u < log_ratio
        carry = (jnp.where(accepted, new, current), jnp.where(accepted, k, chosen))
        return carry, (jnp.exp(jnp.minimum(log_ratio, 0.0)), accepted)

    counts = jnp.arange(len(log_weights))
    start = (log_weight, jnp.full_like(counts[0], -1))
    (_, chosen), (probs, accepted) = lax.scan(step, start, (counts, log_weights, log_uniform))
    return chosen, probs, accepted
