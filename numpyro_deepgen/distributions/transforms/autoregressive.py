r"""Masked autoregressive transforms, both directions at about the cost of one forward pass."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from numpyro.distributions import constraints

from ..._numerics.checks import check_choice
from ...nn import MaskedDense
from ...ops._random import check_rng_key
from ._fixed_point import fixed_point, passes
from ._implicit import triangular_inverse
from .base import Transform
from .elementwise import AffineMap, ElementwiseMap, start_last_layer, vector_support

__all__ = ["MaskedAutoregressive"]

# inputs up to which as many passes as inputs are the fastest inverse
MAX_PASSES_DIM = 2
# inputs up to which visiting one after the other is the faster inverse on an accelerator
MAX_INCREMENTAL_DIM = 16


class MaskedAutoregressive(Transform):
    r"""The transform :math:`y_i = f(x_i; \theta_i(x_{<i}, c))`, ``<`` in a fixed order.

    The forward direction is one parallel pass. The inverse has two solvers. The incremental one
    visits the inputs in order and computes each hidden unit once, so all ``D`` steps cost about the
    arithmetic of one pass. The fixed-point one repeats passes over all inputs at once until none
    moves by more than rounding, at most ``D`` of them, usually about ten. Derivatives are implicit
    with both (nothing of the steps is kept), forward and reverse, of any order.
    :class:`Inverse` of this transform is the orientation whose inverse is parallel, that of the
    masked autoregressive flow.

    Args:
        rng_key: random key of the network.
        input_dim: number ``D`` of inputs; 1 is allowed.
        elementwise: map of each input, default :class:`AffineMap`.
        hidden_dims: hidden widths of the masked network.
        context_dim: size of the context, 0 for none.
        order: ``'natural'``, ``'reversed'`` or the inputs in the order in which they are visited.
        activation: activation of the network.
        solver: of the inverse: ``'incremental'``, ``'fixed_point'``, or ``'auto'``: as many passes
            as inputs up to two inputs, the fixed point on an accelerator for more than 16 inputs,
            else incremental.

    Raises:
        ValueError: if the solver has another name.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> transform = MaskedAutoregressive(jax.random.key(0), 3)
        >>> transform(jnp.ones((4, 3))).shape, transform.inv(jnp.ones((4, 3))).shape
        ((4, 3), (4, 3))

    References:
        Papamakarios et al. 2017, Masked Autoregressive Flow for Density Estimation, section 3;
        Kingma et al. 2016, Improved Variational Inference with Inverse Autoregressive Flow.
    """

    fast = "forward"

    def __init__(
        self,
        rng_key: Array,
        input_dim: int,
        elementwise: ElementwiseMap | None = None,
        hidden_dims: Sequence[int] = (64, 64),
        context_dim: int = 0,
        order: str | Sequence[int] = "natural",
        activation: str | Callable = "silu",
        solver: str = "auto",
    ):
        super().__init__(input_dim, context_dim)
        self.solver = check_choice("solver", solver, ("auto", "incremental", "fixed_point"))
        self.elementwise = AffineMap() if elementwise is None else elementwise
        network_key, free_key = jax.random.split(check_rng_key(rng_key))
        network = MaskedDense(
            network_key,
            input_dim,
            self.elementwise.num_params,
            hidden_dims,
            context_dim,
            order,
            activation,
            zero_init=True,
        )
        self.network = start_last_layer(free_key, self.elementwise, self.input_dim, network)

    @property
    def domain(self) -> constraints.Constraint:
        return vector_support(self.elementwise)

    @property
    def codomain(self) -> constraints.Constraint:
        return vector_support(self.elementwise)

    @property
    def own_order(self) -> tuple[int, ...]:
        return self.network.order

    def reordered(self, order):
        return self.replaced(network=self.network.reordered(order))

    def forward_and_log_det(self, x, context=None):
        y, log_det = _image(self, x, context)
        return y, log_det.sum(-1)

    def inverse_and_log_det(self, y, context=None):
        return triangular_inverse(_solve, _image, self, y, context)


def _image(transform: MaskedAutoregressive, x: Array, context: Array | None):
    params = transform.network(x, context)
    return transform.elementwise.forward_and_log_det(x, params)


def _solve(transform: MaskedAutoregressive, y: Array, context: Array | None):
    if transform.solver == "fixed_point":
        return _solve_in_parallel(transform, y, context)
    if transform.solver == "auto" and transform.input_dim <= MAX_PASSES_DIM:
        return _solve_in_parallel(transform, y, context, passes)
    if transform.solver == "incremental" or transform.input_dim <= MAX_INCREMENTAL_DIM:
        return _solve_in_turn(transform, y, context)
    return lax.platform_dependent(
        transform, y, context, cpu=_solve_in_turn, default=_solve_in_parallel
    )


def _solve_in_turn(transform: MaskedAutoregressive, y: Array, context: Array | None):
    return transform.network.solve(transform.elementwise.inverse_and_log_det, y, context)


def _solve_in_parallel(
    transform: MaskedAutoregressive,
    y: Array,
    context: Array | None,
    solver: Callable = fixed_point,
):
    def solve(x):
        return transform.elementwise.inverse_and_log_det(y, transform.network(x, context))

    leading = y.shape[:-1]
    if context is not None:
        leading = jnp.broadcast_shapes(leading, context.shape[:-1])
    arrays = [
        leaf for leaf in jax.tree.leaves((transform, y, context)) if eqx.is_inexact_array(leaf)
    ]
    dtype = jnp.result_type(*arrays)
    x, log_det = solver(solve, jnp.zeros(leading + y.shape[-1:], dtype))
    # of one input the parameters depend on nothing, but mapped derivatives need what depends on y
    return x, jnp.where(jnp.isnan(x), x, log_det)
