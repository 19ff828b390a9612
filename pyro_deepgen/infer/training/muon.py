"""Muon for the matrices of a network, Adam for all else."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ..arguments import check_callables
from ._optimizer import adam

__all__ = ["muon"]

# of a x + b x^3 + c x^5, which five times makes nearly one of singular values above 0.002
QUINTIC = (3.4445, -4.7750, 2.0315)
NUM_STEPS = 5
# usual root mean square of an update of Adam, over the rate
SIZE = 0.2


def muon(
    params: Iterable[Tensor],
    rate: float,
    *,
    momentum: float = 0.95,
    is_matrix: Callable[[Tensor], bool] | None = None,
) -> torch.optim.Optimizer:
    r"""Momentum orthogonalised by Newton-Schulz steps, for :func:`fit`.

    .. math::
        W \leftarrow W - 0.2\,\sqrt{\max(m, n)}\;\mathrm{rate}\; U V^\top, \qquad
        U S V^\top = \text{the Nesterov momentum of the gradient}

    of every weight, as a matrix of ``m`` rows, its first axis, and ``n`` columns, all the others.
    Five steps find :math:`U V^\top` roughly: singular values end between 0.6 and 1.3, where they
    began above 0.002 of the norm. An update is as large as Adam's usually are, so rates of Adam
    serve; Adam's first ones are five times as large, and in runs of tens of steps it is ahead.
    Biases, and what else is no matrix, are trained by Adam. Matrices of one size are
    orthogonalised together; ``torch.optim.Muon`` takes them one by one, and of two axes alone. The
    host's own loop takes it as ``pyro.optim.PyroOptim(muon, {"rate": 1e-2})``.

    Args:
        params: parameters.
        rate: learning rate.
        momentum: decay of the momentum, in [0, 1).
        is_matrix: which parameters of two axes or more are matrices, a function of one. Default:
            those with at least two rows and two columns.

    Returns:
        The optimiser.

    Raises:
        TypeError: if ``is_matrix`` cannot be called.
        ValueError: if ``momentum`` is out of range.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(3, 4)
        >>> optimizer = muon(layer.parameters(), 1e-2)
        >>> layer(torch.ones(3)).sum().backward()
        >>> _ = optimizer.step()

    References:
        Jordan et al. (2024), Muon: an optimizer for hidden layers in neural networks (the
        iteration and its coefficients); Liu et al. (2025), Muon is scalable for LLM training,
        equation 4 (the factor 0.2).
    """
    if not 0.0 <= momentum < 1.0:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}; pass for example 0.95.")
    check_callables(is_matrix=is_matrix or _has_sides)
    return _MuonAndAdam(params, rate, momentum, is_matrix or _has_sides)


def _has_sides(value: Tensor) -> bool:
    return value.shape[0] > 1 and value[0].numel() > 1


class _MuonAndAdam(torch.optim.Optimizer):
    def __init__(self, params, rate: float, momentum: float, is_matrix: Callable):
        params = list(params)
        self._is_matrix = is_matrix
        self._adam = adam(params, rate)
        # what a reader of the state asks of Adam's groups: where counts of steps are kept
        kept = {key: self._adam.defaults[key] for key in ("fused", "capturable")}
        super().__init__(params, {"lr": rate, "momentum": momentum, **kept})

    def _matrix(self, value: Tensor) -> bool:
        return value.ndim > 1 and value.is_floating_point() and bool(self._is_matrix(value))

    @torch.no_grad()
    def step(self, closure: Callable | None = None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            matrices, others = [], []
            for value in group["params"]:
                if value.grad is not None:
                    (matrices if self._matrix(value) else others).append(value)
            if matrices:
                self._step_matrices(matrices, group["lr"], group["momentum"])
            if others:
                self._adam.state = self.state
                self._adam.param_groups[0].update(params=others, lr=group["lr"])
                self._adam.step()
        return loss

    def _step_matrices(self, values: list[Tensor], rate: float, momentum: float) -> None:
        for value in values:
            if not self.state[value]:
                self.state[value]["momentum"] = torch.zeros_like(value)
        grads = [value.grad for value in values]
        means = [self.state[value]["momentum"] for value in values]
        torch._foreach_lerp_(means, grads, 1.0 - momentum)
        updates = _orthogonal(torch._foreach_lerp(grads, means, momentum))
        for value, update in zip(values, updates, strict=True):
            value.add_(update, alpha=-rate * SIZE * math.sqrt(max(value[0].numel(), len(value))))


def _orthogonal(values: list[Tensor]) -> list[Tensor]:
    """The orthogonal factors of matrices, those of one size at once."""
    wide, places = [], {}
    for i, value in enumerate(values):
        matrix = value.reshape(len(value), -1)
        wide.append(matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T)
        places.setdefault((wide[i].shape, value.dtype, value.device), []).append(i)
    found = list(values)
    for among in places.values():
        factors = _newton_schulz(torch.stack([wide[i] for i in among]))
        for i, factor in zip(among, factors, strict=True):
            tall = len(values[i]) > wide[i].shape[0]
            found[i] = (factor.T if tall else factor).reshape(values[i].shape)
    return found


def _newton_schulz(x: Tensor) -> Tensor:
    """Singular values of ``(N, m, n)``, with ``m <= n``, moved near one."""
    a, b, c = QUINTIC
    half = x.dtype in (torch.float16, torch.bfloat16)
    y = x.float() if half else x
    y = y / torch.linalg.matrix_norm(y, keepdim=True).clamp(min=1e-7)
    for _ in range(NUM_STEPS):
        gram = y @ y.mT
        y = torch.baddbmm(y, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), y, beta=a)
    return y.to(x.dtype)
