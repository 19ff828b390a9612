"""A guide that is a normalizing flow over a model's continuous latent variables."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
from jax import Array, random
from numpyro import handlers
from numpyro.contrib.module import eqx_module
from numpyro.infer.autoguide import AutoContinuous
from numpyro.infer.initialization import init_to_median

from ..distributions import Flow, FlowDistribution, nsf
from ..distributions.transforms import Compose, DenseAffine, ElementwiseAffine
from .latent_space import LatentSpace, UnconstrainedDensity
from .starts import StartReport, best_start, check_starts

__all__ = ["AutoFlow"]

MAX_DENSE_DIM = 200
NUM_QUANTILE_SAMPLES = 4000


class AutoFlow(AutoContinuous):
    r"""A flow over the joint unconstrained latent vector, a drop-in guide of the host.

    At setup several Gaussian starts are computed and compared by their ELBO. The flow stands on the
    best one: a fixed affine layer from the start (low rank plus diagonal beyond 1000 dimensions),
    below it a trained dense affine layer (elementwise beyond 200 dimensions), below that the flow
    itself, both the identity at first. Training therefore begins at the best start, in its scale
    and correlation.

    Args:
        model: a NumPyro model whose latent variables are all continuous.
        flow: a recipe (called with a key and the latent dimension) such as
            :func:`~numpyro_deepgen.distributions.nsf`, or a
            :class:`~numpyro_deepgen.distributions.Flow` of that dimension without context.
        prefix: prefix of the guide's sites and parameters.
        init: starts to compare, one or several of ``'init_loc'`` (a narrow Gaussian at the initial
            location), ``'laplace'``, ``'mean_field'`` (a short fit) and ``'pathfinder'`` (the best
            of the Gaussians along the way to the mode).
        init_loc_fn: the host's per-site initialisation function.
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
        flow: Flow | Callable[[Array, int], Flow] = nsf,
        *,
        prefix: str = "auto",
        init: str | Sequence[str] = ("init_loc", "laplace", "mean_field", "pathfinder"),
        init_loc_fn: Callable = init_to_median,
        args: tuple | None = None,
        kwargs: dict | None = None,
        rng_key: Array | None = None,
    ):
        super().__init__(model, prefix=prefix, init_loc_fn=init_loc_fn)
        if not callable(flow):
            raise TypeError(f"flow must be a recipe or a Flow, got {flow!r}; pass for example nsf.")
        self._flow_argument = flow
        self.init = check_starts(init)
        self.init_report: StartReport | None = None
        if args is not None or kwargs is not None:
            with handlers.seed(rng_seed=random.key(0) if rng_key is None else rng_key):
                self._setup_prototype(*(args or ()), **(kwargs or {}))

    def _setup_prototype(self, *args, **kwargs) -> None:
        super()._setup_prototype(*args, **kwargs)
        self._space = LatentSpace(self.prototype_trace, self._init_locs)
        density = UnconstrainedDensity(self._potential_fn, self._space)
        dense = self.latent_dim <= MAX_DENSE_DIM
        start_key, flow_key, affine_key = random.split(numpyro.prng_key(), 3)
        with handlers.block():
            start, self.init_report = best_start(start_key, self.init, density, self._init_latent)
        flow = _build_flow(self._flow_argument, flow_key, self.latent_dim)
        affine = DenseAffine if dense and self.latent_dim > 1 else ElementwiseAffine
        layers = [affine(affine_key, self.latent_dim), start.layer()]
        flow = Flow(flow.base_dist, [*flow.transforms, *layers])
        dtype = self._init_latent.dtype
        self._flow = jax.tree.map(
            lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf, flow
        )

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

    def log_density(self, params: dict, samples: dict[str, Array]) -> Array:
        """Return the guide's log density of constrained site values.

        Args:
            params: parameters of the guide.
            samples: values of every latent site, ``sample_shape + site shape``.

        Returns:
            The log density with respect to the constrained values, ``sample_shape``. The density
            over the unconstrained vector is ``get_posterior(params).log_prob``.
        """
        z, log_det = self._space.unconstrain(samples)
        return self.get_posterior(params).log_prob(z) - log_det

    def median(self, params: dict) -> dict[str, Array]:
        """Return the median of each latent variable, from 4000 fixed draws."""
        return {name: value[0] for name, value in self.quantiles(params, [0.5]).items()}

    def quantiles(self, params: dict, quantiles: Sequence[float]) -> dict[str, Array]:
        """Return marginal quantiles of each latent variable, from 4000 fixed draws.

        Args:
            params: parameters of the guide.
            quantiles: probabilities between 0 and 1.

        Returns:
            Site name to values of shape ``(len(quantiles),) + site shape``. As in the host, they
            are quantiles of the unconstrained coordinates, mapped to the support.
        """
        z = self.get_posterior(params).sample(random.key(0), (NUM_QUANTILE_SAMPLES,))
        return self._space.constrain(jnp.quantile(z, jnp.asarray(quantiles, z.dtype), axis=0))[0]


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
