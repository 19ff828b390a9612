r"""Independence Metropolis with a trained guide, in turns with the host's HMC.

With the guide's density :math:`q` and the posterior :math:`p`, both over the unconstrained vector,
a proposal :math:`z' \sim q` from :math:`z` is accepted with probability

.. math::
    \min\left(1, \frac{p(z') \, q(z)}{p(z) \, q(z')}\right).

Both kernels leave the posterior invariant, so any fixed cycle of them does (Tierney 1994, section
2.4), however poor the guide.

References:
    Tierney (1994), Markov chains for exploring posterior distributions, sections 2.3.3 and 2.4.
    Gabrie, Rotskoff & Vanden-Eijnden (2022), Adaptive Monte Carlo augmented with normalizing flows.
    Wong, Gabrie & Foreman-Mackey (2023), flowMC.
"""

import copy

import jax
import jax.numpy as jnp
from jax import Array, lax, random
from numpyro.infer import HMC
from numpyro.infer.autoguide import AutoContinuous
from numpyro.infer.hmc import HMCState
from numpyro.infer.mcmc import MCMCKernel
from numpyro.util import is_prng_key

from ..._numerics.checks import check_positive_int
from ._moves import FlowIndependenceState, accept
from ._packing import check_sites, pack, site_shapes, unpack

__all__ = ["FlowIndependence"]


class FlowIndependence(MCMCKernel):
    r"""Proposals of a trained guide, in turns with a kernel of the host: global and local moves.

    One draw is ``num_local`` transitions of the inner kernel and then ``num_global`` proposals of
    the guide, which are drawn, scored and weighed together. The inner kernel explores and adapts as
    in the host, over ``num_local`` times the warm-up; the guide carries the chain between modes.
    The guide stays as it is: nothing is learned from the chain, so the draws are exact after any
    warm-up.

    Args:
        guide: a trained guide of the host with one joint latent vector, whose density can be
            evaluated at any point: an :class:`~numpyro_deepgen.infer.AutoFlow`, a full-rank
            normal; of flows, those whose inverse is cheap.
        params: its parameters, from ``SVI.get_params``.
        inner: the host's HMC or NUTS of the same posterior, or None for proposals alone.
        num_local: transitions of the inner kernel a draw, at least 1.
        num_global: proposals a draw, at least 1.

    The state has extra fields for the host's ``MCMC.run``: ``accept_prob`` (mean acceptance
    probability of the draw's proposals), ``num_accepted``, ``num_steps`` (gradients), ``log_q``,
    and those of the inner kernel below ``inner``, as ``"inner.accept_prob"``.

    Raises:
        TypeError: if ``guide`` has no joint latent vector or ``inner`` is no HMC kernel.
        ValueError: if the guide was never called or has local guides, its density cannot be
            evaluated at any point, a number is out of range, or the inner kernel has other sites.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> from jax import random
        >>> from numpyro.infer import MCMC, NUTS
        >>> from numpyro_deepgen.infer import AutoFlow, fit
        >>> def model():
        ...     numpyro.sample("x", dist.Gamma(3.0, 1.0))
        >>> guide = AutoFlow(model, args=())
        >>> result = fit(random.key(0), model, guide, 1, learning_rate=0.01, progress=False)
        >>> kernel = FlowIndependence(guide, result.params, NUTS(model), num_global=2)
        >>> mcmc = MCMC(kernel, num_warmup=10, num_samples=20, progress_bar=False)
        >>> mcmc.run(random.key(1), extra_fields=("accept_prob",))
        >>> mcmc.get_samples()["x"].shape, mcmc.get_extra_fields()["accept_prob"].shape
        ((20,), (20,))

    References:
        Tierney (1994), sections 2.3.3 and 2.4; Gabrie et al. (2022); Wong et al. (2023).
    """

    sample_field = "z"

    def __init__(
        self,
        guide: AutoContinuous,
        params: dict,
        inner: HMC | None = None,
        *,
        num_local: int = 1,
        num_global: int = 5,
    ):
        if not isinstance(guide, AutoContinuous):
            raise TypeError(
                f"guide must be an AutoContinuous of the host, got {type(guide).__name__}; pass "
                "for example an AutoFlow."
            )
        if inner is not None and not isinstance(inner, HMC):
            raise TypeError(
                f"inner must be the host's HMC or NUTS, or None, got {type(inner).__name__}; pass "
                "for example NUTS(model)."
            )
        if guide.prototype_trace is None:
            raise ValueError(
                "guide must have been called once, got one without latent variables; train it "
                "first."
            )
        if getattr(guide, "local", None) is not None:
            raise ValueError(
                "guide must have one joint latent vector, got one with local guides; build it "
                "without local."
            )
        self.num_local = check_positive_int("num_local", num_local) if inner is not None else 0
        self.num_global = check_positive_int("num_global", num_global)
        self._model = guide.model if inner is None or inner.model is None else inner.model
        self._posterior = guide.get_posterior(params)
        self._shapes = site_shapes(guide)
        # without an inner kernel one of the host's still finds a start and the potential
        self._given = inner or HMC(guide.model, adapt_step_size=False, adapt_mass_matrix=False)
        self._inner = None
        self._check_density()

    def _check_density(self) -> None:
        try:
            jax.eval_shape(self._log_q, jnp.zeros(self._posterior.event_shape))
        except NotImplementedError as error:
            raise ValueError(
                "guide must have a density that can be evaluated at any point, got one without an "
                "inverse; take a flow that has one."
            ) from error

    @property
    def model(self):
        """The model, for ArviZ."""
        return self._model

    @property
    def default_fields(self) -> tuple[str, ...]:
        """The fields that the host's MCMC collects."""
        return ("z", "diverging")

    @property
    def _sample_fn(self):
        # the host initialises a kernel whose attribute of this name is None
        return None if self._inner is None else self._inner._sample_fn

    def get_diagnostics_str(self, state: FlowIndependenceState) -> str:
        """Return what the host's progress bar shows."""
        local = f"{self._inner.get_diagnostics_str(state.inner)}. " if self.num_local else ""
        return f"{local}proposals acc. prob={state.mean_accept_prob:.2f}"

    def postprocess_fn(self, model_args, model_kwargs):
        """Return the function that constrains the sites and adds deterministic ones."""
        return self._inner.postprocess_fn(model_args, model_kwargs)

    def init(
        self, rng_key, num_warmup, init_params=None, model_args=(), model_kwargs=None
    ) -> FlowIndependenceState:
        """Return the first state of a chain, or of many for a batch of keys."""
        model_kwargs = {} if model_kwargs is None else model_kwargs
        self._num_warmup = num_warmup
        # a copy builds its functions for this run: of a batch of chains or of one
        self._inner = copy.copy(self._given)
        self._inner._init_fn = self._inner._sample_fn = None
        single = is_prng_key(rng_key)
        split = random.split if single else jax.vmap(random.split, out_axes=1)
        rng_key, inner_key = split(rng_key)
        inner = self._inner.init(
            inner_key, num_warmup * max(self.num_local, 1), init_params, model_args, model_kwargs
        )
        self._is_batch = not single
        start = self._start if single else jax.vmap(self._start)
        return start(inner, rng_key)

    def _start(self, inner: HMCState, rng_key: Array) -> FlowIndependenceState:
        check_sites(self._shapes, inner.z)
        log_q = self._log_q(pack(self._shapes, inner.z))
        zero, count = jnp.zeros_like(log_q), jnp.zeros((), jnp.int32)
        no = jnp.zeros((), bool)
        return FlowIndependenceState(
            inner.z, log_q, zero, zero, count, count, no, count, inner, rng_key
        )

    def sample(self, state, model_args, model_kwargs):
        """Return the state after ``num_local`` transitions and ``num_global`` proposals."""
        inner, diverging, num_steps = self._local_moves(state, model_args, model_kwargs)
        potential_fn = self._potential_fn(model_args, model_kwargs)

        def jump(state, inner, diverging, num_steps):
            state = state._replace(diverging=diverging, num_steps=num_steps)
            return self._jump(potential_fn, state, inner)

        return (jax.vmap(jump) if self._is_batch else jump)(state, inner, diverging, num_steps)

    def _local_moves(self, state, model_args, model_kwargs) -> tuple[HMCState, Array, Array]:
        """The inner kernel's state, whether it diverged, and its gradients."""

        def transition(_, carry):
            inner, diverging, num_steps = carry
            inner = self._inner.sample(inner, model_args, model_kwargs)
            return inner, diverging | inner.diverging, num_steps + inner.num_steps

        carry = (state.inner, jnp.zeros_like(state.diverging), jnp.zeros_like(state.num_steps))
        if not self.num_local:
            return carry
        return lax.fori_loop(0, self.num_local, transition, carry)

    def _jump(self, potential_fn, state: FlowIndependenceState, inner: HMCState):
        rng_key, draw_key, accept_key = random.split(state.rng_key, 3)
        current = pack(self._shapes, inner.z)
        log_q = self._log_q(current) if self.num_local else state.log_q
        proposals, log_q_new = self._propose(draw_key)
        potentials = jax.vmap(lambda z: potential_fn(unpack(self._shapes, z)))(proposals)
        log_uniform = jnp.log(random.uniform(accept_key, log_q_new.shape, log_q_new.dtype))
        log_weights = -potentials - log_q_new
        log_weight = (-inner.potential_energy - log_q).astype(log_weights.dtype)
        chosen, probs, accepted = accept(log_weight, log_weights, log_uniform)
        moved, k = chosen >= 0, jnp.maximum(chosen, 0)
        found = (proposals[k], log_q_new[k].astype(log_q.dtype), potentials[k])
        z, log_q, potential = jax.tree.map(
            lambda new, old: jnp.where(moved, new, old.astype(new.dtype)),
            found,
            (current, log_q, inner.potential_energy),
        )
        inner = inner._replace(z=unpack(self._shapes, z), potential_energy=potential)
        if self.num_local:
            gradient = jax.grad(potential_fn)(inner.z)
            inner = inner._replace(z_grad=gradient)
        return self._next(state, inner, log_q, jnp.mean(probs), jnp.sum(accepted), rng_key)

    def _next(self, state, inner, log_q, accept_prob, num_accepted, rng_key):
        i = state.i + 1
        count = jnp.where(i > self._num_warmup, i - self._num_warmup, i)
        mean = state.mean_accept_prob + (accept_prob - state.mean_accept_prob) / count
        return FlowIndependenceState(
            inner.z,
            log_q.astype(state.log_q.dtype),
            accept_prob.astype(state.accept_prob.dtype),
            mean.astype(state.mean_accept_prob.dtype),
            num_accepted.astype(state.num_accepted.dtype),
            (state.num_steps + (1 if self.num_local else 0)).astype(state.num_steps.dtype),
            state.diverging,
            i,
            inner,
            rng_key,
        )

    def _propose(self, rng_key: Array) -> tuple[Array, Array]:
        """Draws of the guide and their log densities, in one pass where the guide can."""
        shape = (self.num_global,)
        z, intermediates = self._posterior(
            rng_key=rng_key, sample_shape=shape, sample_intermediates=True
        )
        if intermediates:
            return z, self._posterior.log_prob(z, intermediates)
        return z, self._posterior.log_prob(z)

    def _log_q(self, z: Array) -> Array:
        return self._posterior.log_prob(z)

    def _potential_fn(self, model_args, model_kwargs):
        """The potential of the inner kernel for these arguments of the model."""
        if self._inner._potential_fn_gen is None:
            return self._inner._potential_fn
        return self._inner._potential_fn_gen(*model_args, **(model_kwargs or {}))

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_inner": None}
