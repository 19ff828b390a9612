"""A guide that is a normalizing flow over a model's continuous latent variables."""

from collections.abc import Callable, Sequence

import torch
from pyro import poutine
from pyro.infer.autoguide import AutoContinuous
from pyro.infer.autoguide.initialization import init_to_median
from torch import Tensor

from ..distributions import Flow, FlowDistribution, nsf
from ..distributions.transforms import (
    Compose,
    ConditionedTransform,
    DenseAffine,
    ElementwiseAffine,
)
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
        model: a Pyro model whose latent variables are all continuous.
        flow: a recipe (called with the latent dimension) such as
            :func:`~pyro_deepgen.distributions.nsf`, or a :class:`~pyro_deepgen.distributions.Flow`
            of that dimension without context.
        init: starts to compare, one or several of ``'init_loc'`` (a narrow Gaussian at the initial
            location), ``'laplace'``, ``'mean_field'`` (a short fit) and ``'pathfinder'`` (the best
            of the Gaussians along the way to the mode).
        init_loc_fn: the host's per-site initialisation function.
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
        flow: Flow | Callable[[int], Flow] = nsf,
        *,
        init: str | Sequence[str] = ("init_loc", "laplace", "mean_field", "pathfinder"),
        init_loc_fn: Callable = init_to_median,
        args: tuple | None = None,
        kwargs: dict | None = None,
    ):
        super().__init__(model, init_loc_fn=init_loc_fn)
        if not callable(flow):
            raise TypeError(f"flow must be a recipe or a Flow, got {flow!r}; pass for example nsf.")
        self._plain_model = (model,)
        self._flow_argument = (flow,)
        self.init = check_starts(init)
        self.init_report: StartReport | None = None
        if args is not None or kwargs is not None:
            self._setup_prototype(*(args or ()), **(kwargs or {}))

    def _setup_prototype(self, *args, **kwargs) -> None:
        super()._setup_prototype(*args, **kwargs)
        self._check_plates()
        self._space = LatentSpace(self.prototype_trace)
        density = UnconstrainedDensity(self._plain_model[0], self._space, args, kwargs)
        dense = self.latent_dim <= MAX_DENSE_DIM
        with torch.enable_grad(), poutine.block():
            start, self.init_report = best_start(self.init, density, self._init_loc())
        flow = _build_flow(self._flow_argument[0], self.latent_dim)
        affine = DenseAffine if dense and self.latent_dim > 1 else ElementwiseAffine
        layers = [affine(self.latent_dim), start.layer()]
        self.flow = Flow(flow.base_dist, [*flow.transforms, *layers]).to(start.loc)

    def _check_plates(self) -> None:
        for name, site in self.prototype_trace.iter_stochastic_nodes():
            for frame in site["cond_indep_stack"]:
                if frame.full_size is not None and frame.full_size != frame.size:
                    raise ValueError(
                        f"model must have no latent site in a subsampled plate, got {name!r} in "
                        f"{frame.name!r}; use a guide with a plate for local latent variables."
                    )

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
    def sample_posterior(self, sample_shape=()) -> dict[str, Tensor]:
        """Draw from the guide; each site has shape ``sample_shape + site shape``."""
        with poutine.block():
            z = self.get_posterior().sample(torch.Size(sample_shape))
        return self._space.constrain(z)[0]

    def log_density(self, samples: dict[str, Tensor]) -> Tensor:
        """Return the guide's log density of constrained site values.

        Args:
            samples: values of every latent site, ``sample_shape + site shape``.

        Returns:
            The log density with respect to the constrained values, ``sample_shape``. The density
            over the unconstrained vector is ``get_posterior().log_prob``.
        """
        z, log_det = self._space.unconstrain(samples)
        with poutine.block():
            return self.get_posterior().log_prob(z) - log_det

    def median(self, *args, **kwargs) -> dict[str, Tensor]:
        """Return the median of each latent variable, from 4000 fixed draws."""
        return {name: value[0] for name, value in self.quantiles([0.5]).items()}

    @torch.no_grad()
    def quantiles(self, quantiles: Sequence[float], *args, **kwargs) -> dict[str, Tensor]:
        """Return marginal quantiles of each latent variable, from 4000 fixed draws.

        Args:
            quantiles: probabilities between 0 and 1.

        Returns:
            Site name to values of shape ``(len(quantiles),) + site shape``. As in the host, they
            are quantiles of the unconstrained coordinates, mapped to the support.
        """
        with poutine.block(), torch.random.fork_rng():
            torch.manual_seed(0)
            z = self.get_posterior().sample((NUM_QUANTILE_SAMPLES,))
        levels = torch.as_tensor(quantiles, dtype=z.dtype, device=z.device)
        return self._space.constrain(z.quantile(levels, 0))[0]


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
