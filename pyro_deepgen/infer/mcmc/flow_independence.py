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

import math
from collections import OrderedDict

import torch
from pyro import poutine
from pyro.infer import HMC
from pyro.infer.autoguide import AutoContinuous
from pyro.infer.mcmc.mcmc_kernel import MCMCKernel
from torch import Tensor

from ..._numerics.checks import check_positive_int
from ..latent_space import LatentSpace

__all__ = ["FlowIndependence"]

NUM_AHEAD = 64


class FlowIndependence(MCMCKernel):
    r"""Proposals of a trained guide, in turns with a kernel of the host: global and local moves.

    One draw is ``num_local`` transitions of the inner kernel and then ``num_global`` proposals of
    the guide, which are drawn and scored many draws ahead. The inner kernel explores and adapts as
    in the host, over ``num_local`` times the warm-up; the guide carries the chain between modes.
    The guide stays as it is: nothing is learned from the chain, so the draws are exact after any
    warm-up.

    Args:
        guide: a trained guide of the host with one joint latent vector, whose density can be
            evaluated at any point: an :class:`~pyro_deepgen.infer.AutoFlow`, a full-rank normal;
            of flows, those whose inverse is cheap.
        inner: the host's HMC or NUTS of the same posterior, or None for proposals alone.
        num_local: transitions of the inner kernel a draw, at least 1.
        num_global: proposals a draw, at least 1.

    Attributes:
        accept_prob: mean acceptance probability of the last draw's proposals.

    Raises:
        TypeError: if ``guide`` has no joint latent vector or ``inner`` is no HMC kernel.
        ValueError: if the guide was never called or has local guides, its density cannot be
            evaluated at any point, a number is out of range, or the inner kernel has other sites.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from pyro.infer import MCMC, NUTS
        >>> from pyro_deepgen.infer import AutoFlow, fit
        >>> def model():
        ...     pyro.sample("x", dist.Gamma(3.0, 1.0))
        >>> pyro.clear_param_store()
        >>> guide = AutoFlow(model, args=())
        >>> result = fit(model, guide, 1, learning_rate=0.01, progress=False)
        >>> kernel = FlowIndependence(guide, NUTS(model), num_global=2)
        >>> mcmc = MCMC(kernel, num_samples=20, warmup_steps=10, disable_progbar=True)
        >>> mcmc.run()
        >>> mcmc.get_samples()["x"].shape, sorted(mcmc.diagnostics())[0]
        (torch.Size([20]), 'acceptance rate')

    References:
        Tierney (1994), sections 2.3.3 and 2.4; Gabrie et al. (2022); Wong et al. (2023).
    """

    def __init__(
        self,
        guide: AutoContinuous,
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
        self.guide = guide
        self._space = LatentSpace(guide.prototype_trace)
        # without an inner kernel one of the host's still finds a start and the potential
        self.inner = inner or HMC(guide.model, adapt_step_size=False, adapt_mass_matrix=False)
        self.model = self.inner.model or guide.model
        self._check_density()
        self._reset()

    def _reset(self) -> None:
        self._t, self._num_warmup = 0, 0
        self._posterior = self._log_q_last = self._potential_last = None
        self._ahead: list[tuple[Tensor, Tensor]] = []
        self.accept_prob, self._mean_accept_prob, self._num_accepted = 0.0, 0.0, 0

    def _check_density(self) -> None:
        try:
            self._log_q(self._guide_density(), torch.zeros(self._space.dim))
        except (KeyError, NotImplementedError) as error:
            raise ValueError(
                "guide must have a density that can be evaluated at any point, got one without an "
                "inverse; take a flow that has one."
            ) from error

    def _guide_density(self, *args, **kwargs):
        with torch.no_grad(), poutine.block():
            return self.guide.get_posterior(*args, **kwargs)

    @property
    def transforms(self) -> dict | None:
        """The inner kernel's maps to the unconstrained space, by site."""
        return self.inner.transforms

    @property
    def initial_params(self) -> dict[str, Tensor]:
        """Unconstrained values that the chain starts from."""
        return self.inner.initial_params

    @initial_params.setter
    def initial_params(self, params: dict[str, Tensor]) -> None:
        self.inner.initial_params = params

    def setup(self, warmup_steps: int, *args, **kwargs) -> None:
        """Prepare a chain, as the host calls it."""
        self._reset()
        self._num_warmup = warmup_steps
        self.inner.setup(warmup_steps * max(self.num_local, 1), *args, **kwargs)
        self._check_sites(self.initial_params)
        self._posterior = self._guide_density(*args, **kwargs)
        z = self._pack(self.initial_params)
        self._log_q_last = self._log_q(self._posterior, z)
        self._potential_last = self._potential(self.initial_params)

    def _check_sites(self, z: dict[str, Tensor]) -> None:
        shapes = {site.name: tuple(site.shape) for site in self._space.sites}
        found = {name: tuple(value.shape) for name, value in z.items()}
        if found != shapes:
            raise ValueError(
                f"inner must have the sites of the guide, {shapes}, got {found}; build both from "
                "one model."
            )

    def cleanup(self) -> None:
        """Forget the chain, as the host calls it."""
        self.inner.cleanup()
        self._reset()

    def end_warmup(self) -> None:
        """Tell the inner kernel that the warm-up is over."""
        self.inner.end_warmup()

    def sample(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the values after ``num_local`` transitions and ``num_global`` proposals."""
        if self.num_local:
            for _ in range(self.num_local):
                params = self.inner.sample(params)
            _, self._potential_last, _ = self.inner._fetch_from_cache()
            self._log_q_last = self._log_q(self._posterior, self._pack(params))
        probs, accepted = [], 0
        for _ in range(self.num_global):
            params, prob, moved = self._jump(params)
            probs.append(prob)
            accepted += moved
        if accepted and self.num_local:
            # it takes values and gradients anew from where the chain is
            self.inner.clear_cache()
        self._record(sum(probs) / len(probs), accepted)
        return dict(params)

    def _jump(self, params: dict[str, Tensor]) -> tuple[dict[str, Tensor], float, bool]:
        if not self._ahead:
            self._ahead = self._draw_ahead()
        z, log_q = self._ahead.pop()
        proposal = self._unpack(z)
        potential = self._potential(proposal)
        # Tierney 1994, section 2.3.3: the ratio is one of importance weights
        log_ratio = float((-potential - log_q) - (-self._potential_last - self._log_q_last))
        if math.isnan(log_ratio):
            # a proposal whose densities are not numbers is refused
            return params, 0.0, False
        prob = math.exp(min(log_ratio, 0.0))
        if float(torch.rand(())) >= prob:
            return params, prob, False
        self._potential_last, self._log_q_last = potential, log_q
        return proposal, prob, True

    @torch.no_grad()
    def _draw_ahead(self) -> list[tuple[Tensor, Tensor]]:
        """Draws of the guide and their log densities, in one pass where the guide can."""
        z = self._posterior.sample((max(NUM_AHEAD, self.num_global),))
        return list(zip(z, self._posterior.log_prob(z), strict=True))

    @torch.no_grad()
    def _log_q(self, posterior, z: Tensor) -> Tensor:
        return posterior.log_prob(z.unsqueeze(0)).squeeze(0)

    @torch.no_grad()
    def _potential(self, z: dict[str, Tensor]) -> Tensor:
        try:
            return self.inner.potential_fn(z)
        except torch.linalg.LinAlgError:
            # far out a matrix may be singular: no density there
            return self._log_q_last.new_tensor(math.inf)

    def _pack(self, params: dict[str, Tensor]) -> Tensor:
        return torch.cat([params[site.name].reshape(-1) for site in self._space.sites])

    def _unpack(self, z: Tensor) -> dict[str, Tensor]:
        return {s.name: z[s.start : s.stop].reshape(s.shape) for s in self._space.sites}

    def _record(self, accept_prob: float, accepted: int) -> None:
        self._t, self.accept_prob = self._t + 1, accept_prob
        count = self._t - self._num_warmup
        if count > 0:
            self._num_accepted += accepted
        count = count if count > 0 else self._t
        self._mean_accept_prob += (accept_prob - self._mean_accept_prob) / count

    def logging(self) -> OrderedDict:
        """Return what the host's progress bar shows."""
        local = self.inner.logging() if self.num_local else OrderedDict()
        local["proposals acc. prob"] = f"{self._mean_accept_prob:.3f}"
        return local

    def diagnostics(self) -> dict:
        """Return divergences by draw, and acceptance rates of inner kernel and proposals."""
        found = self.inner.diagnostics() if self.num_local else {"divergences": []}
        size = max(self.num_local, 1)
        found["divergences"] = sorted({t // size for t in found["divergences"]})
        total = max(self._t - self._num_warmup, 1) * self.num_global
        return {**found, "proposal acceptance rate": self._num_accepted / total}
