"""A guide that is a normalizing flow over a model's continuous latent variables."""

from collections.abc import Callable, Sequence

import torch
from pyro import poutine
from pyro.infer.autoguide import AutoContinuous, AutoGuide
from pyro.infer.autoguide.initialization import init_to_median
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from .._numerics.checks import check_choice
from ..distributions import Flow, FlowDistribution, StandardNormal, StudentT
from ..distributions.transforms import (
    Compose,
    ConditionedTransform,
    DenseAffine,
    ElementwiseAffine,
)
from ._enumeration import enumerated_sites, plate_nesting
from .annealing.start import MixtureStart, annealed_start
from .default_flow import default_flow
from .latent_space import LatentSpace, UnconstrainedDensity
from .limited import Limited, constrained_coordinates
from .local import LocalFlow, LocalGuides, as_local_flows
from .local.plates import traced
from .starts import ANNEALED, DEFAULT_STARTS, StartReport, best_start, check_starts
from .starts.gaussian import Gaussian
from .starts.starts import INIT_SCALE

__all__ = ["AutoFlow"]

MAX_DENSE_DIM = 200
NUM_QUANTILE_SAMPLES = 4000
TAILS = ("normal", "student_t")
INIT_DF = 50.0


class AutoFlow(AutoContinuous):
    r"""A flow over the joint unconstrained latent vector, a drop-in guide of the host.

    At setup several Gaussian starts are computed and compared by their ELBO. The flow stands on the
    best one: a fixed affine layer from the start (low rank plus diagonal beyond 1000 dimensions),
    below it a trained dense affine layer (elementwise beyond 200 dimensions), below that the flow
    itself, both the identity at first. Training therefore begins at the best start, in its scale
    and correlation. Where annealing finds several modes, the base of the flow is a fixed mixture
    of normals with a share at each, which training moulds but cannot empty. Coordinates that are
    mapped to a support (positive, bounded, ...) end in a layer that changes nothing within 30 of
    the start and keeps far draws from overflowing.

    Args:
        model: a Pyro model. Discrete latent sites marked for enumeration
            (``pyro.infer.config_enumerate``) are left to ``TraceEnum_ELBO``; the others must be
            continuous.
        flow: a recipe (called with the latent dimension) such as
            :func:`~pyro_deepgen.distributions.nsf`, or a :class:`~pyro_deepgen.distributions.Flow`
            of that dimension without context. By default
            :func:`~pyro_deepgen.distributions.iaf` (of one dimension a spline).
        init: starts to compare, one or several of ``'init_loc'`` (a narrow Gaussian at the initial
            location), ``'laplace'``, ``'mean_field'`` (a short fit), ``'pathfinder'`` (the best of
            the Gaussians along the way to the mode), ``'annealed'`` (sequential Monte Carlo from
            the prior to the posterior, see :func:`annealed_particles`) and, not by default,
            ``'multi_start'`` (the best of eight mean-field fits from uniform places within 2 of
            the initial location, unconstrained).
        tails: base of a recipe's flow whose own base is the standard normal one: ``'normal'``, or
            ``'student_t'`` with a learned tail for each dimension (normal beyond 200), a better
            proposal where the posterior is heavy-tailed; of positive variables its far draws can
            overflow. A base of another kind and a flow that is passed as such are left as they are.
        init_loc_fn: the host's per-site initialisation function.
        local: guides of the latent variables inside data plates: :class:`LocalFlow` settings, a
            recipe, or a dictionary of these by plate. The flow is then over the other variables and
            starts at the initial location. Minibatches, by ``plate(..., subsample_size=)`` or of
            tensors passed, cost as much as the rows that they hold.
        args: positional arguments of the model. If ``args`` or ``kwargs`` are given the guide is
            built at once, else at its first call.
        kwargs: keyword arguments of the model.

    Attributes:
        init_report: :class:`StartReport` of the comparison of starts, after setup.
        flow: the flow including the affine layers, after setup.

    Raises:
        ValueError: for an unknown start, a flow of another dimension or with a context, local
            latent variables in a subsampled plate, or if no start gives a finite ELBO.
        RuntimeError: if the model has no latent variables.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyro.infer import SVI, Trace_ELBO
        >>> def model():
        ...     pyro.sample("x", dist.Gamma(3.0, 1.0))
        >>> guide = AutoFlow(model, args=())
        >>> svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
        >>> svi.step() < 1.0
        True
        >>> guide.sample_posterior((5,))["x"].shape
        torch.Size([5])
    """

    def __init__(
        self,
        model: Callable,
        flow: Flow | Callable[[int], Flow] = default_flow,
        *,
        init: str | Sequence[str] = (*DEFAULT_STARTS, ANNEALED),
        tails: str = "normal",
        init_loc_fn: Callable = init_to_median,
        local: LocalFlow | Callable | dict | None = None,
        args: tuple | None = None,
        kwargs: dict | None = None,
    ):
        super().__init__(model, init_loc_fn=init_loc_fn)
        if not callable(flow):
            raise TypeError(f"flow must be a recipe or a Flow, got {flow!r}; pass for example nsf.")
        self._plain_model = (model,)
        self._flow_argument = (flow,)
        self.init = check_starts(init)
        self.tails = check_choice("tails", tails, TAILS)
        self.init_report: StartReport | None = None
        self._local_settings = as_local_flows(local)
        if args is not None or kwargs is not None:
            self._setup_prototype(*(args or ()), **(kwargs or {}))

    def _setup_prototype(self, *args, **kwargs) -> None:
        nesting = self._hide_enumerated(args, kwargs)
        if self._local_settings is not None:
            return self._setup_with_local(args, kwargs)
        super()._setup_prototype(*args, **kwargs)
        self._check_plates()
        self._space = LatentSpace(self.prototype_trace)
        density = UnconstrainedDensity(self._plain_model[0], self._space, args, kwargs, nesting)
        with torch.enable_grad(), poutine.block():
            start, self.init_report = best_start(self.init, density, self._init_loc())
            if ANNEALED in self.init:
                model = self._plain_model[0]
                start = annealed_start(model, density, start, self.init_report, args, kwargs)
        self._stand_on(start)

    def _hide_enumerated(self, args: tuple, kwargs: dict) -> int | None:
        """Leave sites marked for enumeration to the model; the depth of the plates if any are."""
        trace = traced(self.model, args, kwargs)
        names = set(enumerated_sites(trace))
        if not names:
            return None
        self._model = (poutine.block(self.model, hide_fn=lambda msg: msg["name"] in names),)
        return plate_nesting(trace)

    def _stand_on(self, start: Gaussian | MixtureStart) -> None:
        flow = _build_flow(self._flow_argument[0], self.latent_dim)
        dense = 1 < self.latent_dim <= MAX_DENSE_DIM
        layers = [(DenseAffine if dense else ElementwiseAffine)(self.latent_dim), start.layer()]
        limited = constrained_coordinates(self._space)
        if any(limited):
            layers.append(Limited(start.loc, limited))
        base_dist, argument = flow.base_dist, self._flow_argument[0]
        if not isinstance(argument, torch.nn.Module) and type(base_dist) is StandardNormal:
            if isinstance(start, MixtureStart):
                base_dist = start.base()
            elif self.tails == "student_t" and self.latent_dim <= MAX_DENSE_DIM:
                base_dist = StudentT(self.latent_dim, init_df=INIT_DF)
        self.flow = Flow(base_dist, [*flow.transforms, *layers]).to(start.loc)

    def _setup_with_local(self, args: tuple, kwargs: dict) -> None:
        """A flow over the globals alone, and guides of the sites inside data plates."""
        trace = traced(poutine.block(self.model, hide_fn=site_is_subsample), args, kwargs)
        local = LocalGuides(self._local_settings, self._plain_model[0], trace)
        names = set(local.site_names)
        self._model = (poutine.block(self.model, hide_fn=lambda msg: msg["name"] in names),)
        if all(name in names for name in trace.stochastic_nodes):
            AutoGuide._setup_prototype(self, *args, **kwargs)
            self._space = LatentSpace(self.prototype_trace)
            self.latent_dim, loc = 0, torch.zeros(0)
        else:
            super()._setup_prototype(*args, **kwargs)
            self._check_plates()
            loc, self._space = self._init_loc(), LatentSpace(self.prototype_trace)
            self._stand_on(Gaussian(loc, torch.full_like(loc, INIT_SCALE)))
            self.init_report = StartReport(chosen="init_loc")
        local.build(args, kwargs, len(loc))
        self.local = local

    def _check_plates(self) -> None:
        for name, site in self.prototype_trace.iter_stochastic_nodes():
            for frame in site["cond_indep_stack"]:
                if frame.full_size is not None and frame.full_size != frame.size:
                    raise ValueError(
                        f"model must have no latent site in a subsampled plate, got {name!r} in "
                        f"{frame.name!r}; pass local=LocalFlow() for guides of the variables of "
                        "each datum."
                    )

    def forward(self, *args, **kwargs) -> dict[str, Tensor]:
        """Sample every latent site, as the host's guides do."""
        if self._local_settings is None:
            return super().forward(*args, **kwargs)
        if self.prototype_trace is None:
            self._setup_prototype(*args, **kwargs)
        values, z = {}, None
        if self.latent_dim:
            with poutine.trace() as recorder:
                values = super().forward(*args, **kwargs)
            z = recorder.trace.nodes[f"_{self._pyro_name}_latent"]["value"]
        plates = dict(self._create_plates(*args, **kwargs) if z is None else self.plates)
        return values | self.local.sample(self._pyro_name, self._centred(z), plates, args, kwargs)

    @torch.no_grad()
    def _centre(self, like: Tensor) -> Tensor:
        return self.get_transform()(like.new_zeros(self.latent_dim))

    def _centred(self, z: Tensor | None) -> Tensor | None:
        """Globals as local guides see them, about where the flow takes zero.

        What follows them does then not follow where all of them lie.
        """
        return None if z is None else z - self._centre(z)

    def get_base_dist(self):
        """Return the base distribution of the flow."""
        return self.flow.base_dist()

    def get_transform(self, *args, **kwargs) -> ConditionedTransform:
        """Return the transform from the base to the unconstrained latent vector."""
        return ConditionedTransform(Compose(self.flow.transforms))

    def get_posterior(self, *args, **kwargs) -> FlowDistribution:
        """Return the distribution over the unconstrained latent vector, event shape ``(D,)``."""
        return self.flow()

    @torch.no_grad()
    def sample_posterior(self, sample_shape=(), *args, **kwargs) -> dict[str, Tensor]:
        """Draw from the guide; each site has shape ``sample_shape + site shape``.

        Args:
            sample_shape: shape of the draws.
            args: positional arguments of the model, needed where local guides have features. The
                draws of local sites are those of all data passed, minibatches are not taken.
            kwargs: keyword arguments of the model.
        """
        with poutine.block():
            z, values, sample_shape = None, {}, torch.Size(sample_shape)
            if self.latent_dim:
                z = self.get_posterior().sample(sample_shape)
                values = self._space.constrain(z)[0]
            if self._local_settings is not None:
                values |= self.local.draw(sample_shape, self._centred(z), args, kwargs)
            return values

    def log_density(self, samples: dict[str, Tensor], *args, **kwargs) -> Tensor:
        """Return the guide's log density of constrained site values.

        Args:
            samples: values of every latent site, ``sample_shape + site shape``.
            args: positional arguments of the model, needed where local guides have features.
            kwargs: keyword arguments of the model.

        Returns:
            The log density with respect to the constrained values, ``sample_shape``; local sites
            count once for each of the data passed. The density over the unconstrained vector is
            ``get_posterior().log_prob``.
        """
        z, total = None, 0.0
        with poutine.block():
            if self.latent_dim:
                z, log_det = self._space.unconstrain(samples)
                total = self.get_posterior().log_prob(z) - log_det
            if self._local_settings is not None:
                total = total + self.local.log_density(samples, self._centred(z), args, kwargs)
        return total

    def median(self, *args, **kwargs) -> dict[str, Tensor]:
        """Return the median of each latent variable, from 4000 fixed draws."""
        found = self.quantiles([0.5], *args, **kwargs)
        return {name: value[0] for name, value in found.items()}

    @torch.no_grad()
    def quantiles(self, quantiles: Sequence[float], *args, **kwargs) -> dict[str, Tensor]:
        """Return marginal quantiles of each latent variable, from 4000 fixed draws.

        Args:
            quantiles: probabilities between 0 and 1.
            args: positional arguments of the model, needed where local guides have features.
            kwargs: keyword arguments of the model.

        Returns:
            Site name to values of shape ``(len(quantiles),) + site shape``. As in the host, they
            are quantiles of the unconstrained coordinates, mapped to the support.
        """
        z, values, levels = None, {}, torch.as_tensor(quantiles)
        with poutine.block(), torch.random.fork_rng():
            torch.manual_seed(0)
            if self.latent_dim:
                z = self.get_posterior().sample((NUM_QUANTILE_SAMPLES,))
                values = self._space.constrain(z.quantile(levels.to(z), 0))[0]
            if self._local_settings is not None:
                z = self._centred(z)
                values |= self.local.quantiles(levels, NUM_QUANTILE_SAMPLES, z, args, kwargs)
        return values


def _build_flow(flow: Flow | Callable[[int], Flow], latent_dim: int) -> Flow:
    built = flow if isinstance(flow, torch.nn.Module) else flow(latent_dim)
    if not isinstance(built, Flow):
        raise TypeError(
            f"flow must be a Flow or give one, got {type(built).__name__}; pass a recipe or a Flow."
        )
    if built.input_dim != latent_dim:
        raise ValueError(
            f"flow must have input_dim={latent_dim}, the size of the unconstrained latent vector, "
            f"got {built.input_dim}; pass the recipe itself to have it built."
        )
    if built.context_dim:
        raise ValueError(
            f"flow must have context_dim=0, got {built.context_dim}; this guide has no context."
        )
    return built
