"""A guide that is a normalizing flow over a model's continuous latent variables."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
from jax import Array, lax, random
from numpyro import handlers
from numpyro.contrib.module import eqx_module
from numpyro.infer.autoguide import AutoContinuous, AutoGuide
from numpyro.infer.initialization import init_to_median

from .._numerics.checks import check_choice
from ..distributions import Flow, FlowDistribution, StandardNormal, StudentT
from ..distributions.transforms import Compose, DenseAffine, ElementwiseAffine
from .annealing.start import MixtureStart, annealed_start
from .default_flow import default_flow
from .latent_space import LatentSpace, UnconstrainedDensity
from .limited import Limited, constrained_coordinates
from .local import LocalFlow, LocalGuides, as_local_flows
from .local.plates import check_continuous, traced
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
        model: a NumPyro model whose latent variables are all continuous; hide discrete ones
            (``handlers.block``), which ``TraceEnum_ELBO`` sums out or another guide draws.
        flow: a recipe (called with a key and the latent dimension) such as
            :func:`~numpyro_deepgen.distributions.nsf`, or a
            :class:`~numpyro_deepgen.distributions.Flow` of that dimension without context.
            By default
            :func:`~numpyro_deepgen.distributions.iaf` (of one dimension a spline).
        prefix: prefix of the guide's sites and parameters.
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
        rng_key: key of the setup at once, default ``random.key(0)``; at a first call the key comes
            from the host's seed handler.

    Attributes:
        init_report: :class:`StartReport` of the comparison of starts, after setup (None if the
            setup ran under ``jit``).

    Raises:
        ValueError: for an unknown start, a flow of another dimension or with a context, local
            latent variables in a subsampled plate, or if no start gives a finite ELBO.
        RuntimeError: if the model has no latent variables.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> from jax import random
        >>> from numpyro.infer import SVI, Trace_ELBO
        >>> def model():
        ...     numpyro.sample("x", dist.Gamma(3.0, 1.0))
        >>> guide = AutoFlow(model, args=())
        >>> svi = SVI(model, guide, numpyro.optim.Adam(1e-2), Trace_ELBO())
        >>> result = svi.run(random.key(0), 2, progress_bar=False)
        >>> guide.sample_posterior(random.key(1), result.params, sample_shape=(5,))["x"].shape
        (5,)
    """

    def __init__(
        self,
        model: Callable,
        flow: Flow | Callable[[Array, int], Flow] = default_flow,
        *,
        prefix: str = "auto",
        init: str | Sequence[str] = (*DEFAULT_STARTS, ANNEALED),
        tails: str = "normal",
        init_loc_fn: Callable = init_to_median,
        local: LocalFlow | Callable | dict | None = None,
        args: tuple | None = None,
        kwargs: dict | None = None,
        rng_key: Array | None = None,
    ):
        super().__init__(model, prefix=prefix, init_loc_fn=init_loc_fn)
        if not callable(flow):
            raise TypeError(f"flow must be a recipe or a Flow, got {flow!r}; pass for example nsf.")
        self._flow_argument = flow
        self.init = check_starts(init)
        self.tails = check_choice("tails", tails, TAILS)
        self.init_report: StartReport | None = None
        self._local_settings = as_local_flows(local)
        if args is not None or kwargs is not None:
            with handlers.seed(rng_seed=random.key(0) if rng_key is None else rng_key):
                self._setup_prototype(*(args or ()), **(kwargs or {}))

    def _setup_prototype(self, *args, **kwargs) -> None:
        if self._local_settings is not None:
            return self._setup_with_local(args, kwargs)
        self._setup_host(args, kwargs)
        self._space = LatentSpace(self.prototype_trace, self._init_locs)
        density = UnconstrainedDensity(self._potential_fn, self._space)
        start_key, anneal_key, flow_key = random.split(numpyro.prng_key(), 3)
        with handlers.block():
            start, self.init_report = best_start(start_key, self.init, density, self._init_latent)
            if ANNEALED in self.init:
                start = annealed_start(
                    anneal_key, self.model, density, start, self.init_report, args, kwargs
                )
        self._stand_on(flow_key, start)

    def _setup_host(self, args: tuple, kwargs: dict) -> None:
        check_continuous(traced(self.model, args, kwargs, self.init_loc_fn))
        try:
            super()._setup_prototype(*args, **kwargs)
        except ValueError:
            self._check_plates()
            raise

    def _check_plates(self) -> None:
        latent = (self.prototype_trace or {}).items()
        for name, site in latent:
            for frame in site["cond_indep_stack"] if site["type"] == "sample" else ():
                full_size = self._prototype_frame_full_sizes.get(frame.name, frame.size)
                if not site["is_observed"] and full_size != frame.size:
                    raise ValueError(
                        f"model must have no latent site in a subsampled plate, got {name!r} in "
                        f"{frame.name!r}; pass local=LocalFlow() for guides of the variables of "
                        "each datum."
                    ) from None

    def _stand_on(self, rng_key: Array, start: Gaussian | MixtureStart) -> None:
        flow_key, affine_key, base_key = random.split(rng_key, 3)
        flow = _build_flow(self._flow_argument, flow_key, self.latent_dim)
        base_dist = flow.base_dist
        if not isinstance(self._flow_argument, eqx.Module) and type(base_dist) is StandardNormal:
            if isinstance(start, MixtureStart):
                base_dist = start.base()
            elif self.tails == "student_t" and self.latent_dim <= MAX_DENSE_DIM:
                base_dist = StudentT(base_key, self.latent_dim, init_df=INIT_DF)
        dense = 1 < self.latent_dim <= MAX_DENSE_DIM
        affine = (DenseAffine if dense else ElementwiseAffine)(affine_key, self.latent_dim)
        layers, limited = [affine, start.layer()], constrained_coordinates(self._space)
        if any(limited):
            layers.append(Limited(start.loc, limited))
        flow = Flow(base_dist, [*flow.transforms, *layers])
        dtype = start.loc.dtype
        self._flow = jax.tree.map(
            lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf, flow
        )

    def _setup_with_local(self, args: tuple, kwargs: dict) -> None:
        """A flow over the globals alone, and guides of the sites inside data plates."""
        flow_key, local_key = random.split(numpyro.prng_key())
        model = self.model
        trace = traced(model, args, kwargs, self.init_loc_fn)
        local = LocalGuides(self.prefix, self._local_settings, model, trace)
        values = {name: trace[name]["value"] for name in local.site_names}
        placed = handlers.substitute(model, data=values)
        self.model = handlers.block(placed, hide=list(values))
        latent = {n for n, s in trace.items() if s["type"] == "sample" and not s["is_observed"]}
        if latent <= set(values):
            AutoGuide._setup_prototype(self, *args, **kwargs)
            self._space = LatentSpace(self.prototype_trace, self._init_locs)
            self.latent_dim = 0
        else:
            self._setup_host(args, kwargs)
            self._space = LatentSpace(self.prototype_trace, self._init_locs)
            loc = self._init_latent
            self._stand_on(flow_key, Gaussian(loc, jnp.full_like(loc, INIT_SCALE)))
            self.init_report = StartReport(chosen="init_loc")
        local.build(local_key, args, kwargs, self.latent_dim)
        self.local = local

    def __call__(self, *args, **kwargs) -> dict[str, Array]:
        """Sample every latent site, as the host's guides do."""
        if self._local_settings is None:
            return super().__call__(*args, **kwargs)
        if self.prototype_trace is None:
            self._setup_prototype(*args, **kwargs)
        values, z = {}, None
        if self.latent_dim:
            with handlers.trace() as recorder:
                values = super().__call__(*args, **kwargs)
            z = _centred(self.flow(), recorder[f"_{self.prefix}_latent"]["value"])
        return values | self.local.sample(z, {}, args, kwargs)

    def flow(self) -> Flow:
        """Return the flow, its parameters taken from the handlers around the call."""
        return eqx_module(f"{self.prefix}_flow", self._flow)

    def _get_posterior(self) -> FlowDistribution:
        return self.flow()()

    def get_flow(self, params: dict) -> Flow:
        """Return the flow with trained parameters, including the affine layers.

        Args:
            params: parameters of the guide, from ``SVI.get_params``.
        """
        return handlers.substitute(self.flow, data=params)()

    def get_base_dist(self):
        """Return the base distribution of the flow."""
        return self._flow().base_dist

    def get_transform(self, params: dict) -> Compose:
        """Return the transform from the base to the unconstrained latent vector."""
        return Compose(self.get_flow(params).transforms)

    def get_posterior(self, params: dict) -> FlowDistribution:
        """Return the distribution over the unconstrained latent vector, event shape ``(D,)``."""
        return self.get_flow(params)()

    def sample_posterior(
        self, rng_key: Array, params: dict, *args, sample_shape=(), **kwargs
    ) -> dict[str, Array]:
        """Draw from the guide; each site has shape ``sample_shape + site shape``.

        Args:
            rng_key: random key of the draws.
            params: parameters of the guide.
            args: positional arguments of the model, needed where local guides have features. The
                draws of local sites are those of all data passed, minibatches are not taken.
            sample_shape: shape of the draws.
            kwargs: keyword arguments of the model.
        """
        if self._local_settings is None:
            return super().sample_posterior(rng_key, params, sample_shape=sample_shape)
        global_key, local_key = random.split(rng_key)
        z, values = None, {}
        if self.latent_dim:
            flow = self.get_flow(params)
            z = flow().sample(global_key, tuple(sample_shape))
            values, z = self._space.constrain(z)[0], _centred(flow, z)
        with self._parameters(params):
            return values | self.local.draw(local_key, tuple(sample_shape), z, args, kwargs)

    @contextmanager
    def _parameters(self, params: dict) -> Iterator[None]:
        """Parameters for what is called inside, apart from everything around it."""
        with handlers.block(), handlers.seed(rng_seed=0), handlers.substitute(data=params):
            yield

    def log_density(self, params: dict, samples: dict[str, Array], *args, **kwargs) -> Array:
        """Return the guide's log density of constrained site values.

        Args:
            params: parameters of the guide.
            samples: values of every latent site, ``sample_shape + site shape``.
            args: positional arguments of the model, needed where local guides have features.
            kwargs: keyword arguments of the model.

        Returns:
            The log density with respect to the constrained values, ``sample_shape``; local sites
            count once for each of the data passed. The density over the unconstrained vector is
            ``get_posterior(params).log_prob``.
        """
        z, total = None, 0.0
        if self.latent_dim:
            z, log_det = self._space.unconstrain(samples)
            flow = self.get_flow(params)
            total, z = flow().log_prob(z) - log_det, _centred(flow, z)
        if self._local_settings is not None:
            with self._parameters(params):
                total = total + self.local.log_density(samples, z, args, kwargs)
        return total

    def median(self, params: dict, *args, **kwargs) -> dict[str, Array]:
        """Return the median of each latent variable, from 4000 fixed draws."""
        found = self.quantiles(params, [0.5], *args, **kwargs)
        return {name: value[0] for name, value in found.items()}

    def quantiles(
        self, params: dict, quantiles: Sequence[float], *args, **kwargs
    ) -> dict[str, Array]:
        """Return marginal quantiles of each latent variable, from 4000 fixed draws.

        Args:
            params: parameters of the guide.
            quantiles: probabilities between 0 and 1.
            args: positional arguments of the model, needed where local guides have features.
            kwargs: keyword arguments of the model.

        Returns:
            Site name to values of shape ``(len(quantiles),) + site shape``. As in the host, they
            are quantiles of the unconstrained coordinates, mapped to the support.
        """
        z, values, levels = None, {}, jnp.asarray(quantiles)
        if self.latent_dim:
            flow = self.get_flow(params)
            z = flow().sample(random.key(0), (NUM_QUANTILE_SAMPLES,))
            values = self._space.constrain(jnp.quantile(z, levels.astype(z.dtype), axis=0))[0]
            z = _centred(flow, z)
        if self._local_settings is not None:
            with self._parameters(params):
                values |= self.local.quantiles(
                    random.key(1), levels, NUM_QUANTILE_SAMPLES, z, args, kwargs
                )
        return values


def _centred(flow: Flow, z: Array) -> Array:
    """Globals as local guides see them, about where the flow takes zero.

    What follows them does then not follow where all of them lie.
    """
    centre = Compose(flow.transforms)(jnp.zeros(z.shape[-1], z.dtype))
    return z - lax.stop_gradient(centre)


def _build_flow(flow: Flow | Callable, rng_key: Array, latent_dim: int) -> Flow:
    built = flow if isinstance(flow, eqx.Module) else flow(rng_key, latent_dim)
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
