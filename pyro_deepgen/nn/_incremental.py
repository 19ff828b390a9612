r"""The inverse of a masked autoregressive network, each unit computed once.

Hidden units are sorted by degree, so that the units that become computable at a step, the fresh
ones, are contiguous rows of arrays ``(units, N)``. Steps go in blocks: what the units known before
a block add to all units of the block is one product of matrices, which leaves to every step the
product with the few units of its own block. The weights of those still unknown are zero: their
rows hold what they have been sent so far. All steps together cost the arithmetic of one pass.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from .._numerics.masks import hidden_degrees
from .activations import in_place

__all__ = ["Incremental"]

# steps in a block
BLOCK = 16
# points solved for at once, so that the activations stay in the cache
CHUNK = 4096


class Incremental:
    """Solves for the inputs of a masked dense network one after the other.

    Args:
        net: a :class:`~pyro_deepgen.nn.MaskedDense`; its weights are read once, here.
    """

    def __init__(self, net):
        self.activation, self.order = net.activation, net.order
        self.widths = (net.input_dim, *net.hidden_dims)
        weights = [layer.masked_weight() for layer in net.layers]
        self.visited = torch.tensor(net.order, device=weights[0].device)
        self.ranks = self.visited.argsort()
        weights[0] = weights[0].index_select(1, self.visited)
        self.shape = (net.num_params, net.input_dim, -1)
        self.weights = [*weights[:-1], self._by_rank(weights[-1])]
        self.biases = [layer.bias.unsqueeze(-1) for layer in net.layers]
        # fresh[l][r]: units of layer l that step r computes; all are its outputs in the end
        degrees = [hidden_degrees(net.input_dim, w, net.context_dim > 0) for w in net.hidden_dims]
        fresh = [np.bincount(degree, minlength=net.input_dim) for degree in degrees]
        fresh.append(np.full(net.input_dim, net.num_params))
        self.fresh = [count.tolist() for count in fresh]
        # first[l][r]: units of layer l, the inputs being layer 0, that are known before step r
        counts = [np.ones(net.input_dim, dtype=int), *fresh]
        self.first = [np.concatenate([[0], count.cumsum()]).tolist() for count in counts]

    def _by_rank(self, values: Tensor) -> Tensor:
        """Sort what belongs to the outputs, ``(P * D, ...)``, by step."""
        values = values.view(self.shape).transpose(0, 1)
        return values.index_select(0, self.visited).flatten(0, 1)

    def run(self, solve_input: Callable, y: Tensor, offset: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the inputs and the log-derivatives, both ``(D, N)``.

        Args:
            solve_input: maps ``(N,)`` and ``(P, N)`` to the solution and log-derivative, ``(N,)``.
            y: images, shape ``(D, N)``.
            offset: what a context adds to the first layer, ``(units, N)``, or None.
        """
        chunks = y.split(CHUNK, 1)
        offsets = [None] * len(chunks) if offset is None else offset.split(CHUNK, 1)
        parts = [
            self._run(solve_input, chunk, part) for chunk, part in zip(chunks, offsets, strict=True)
        ]
        if len(parts) == 1:
            return parts[0]
        x, log_det = zip(*parts, strict=True)
        return torch.cat(x, 1), torch.cat(log_det, 1)

    def _run(self, solve_input: Callable, y: Tensor, offset: Tensor | None):
        y = y.contiguous()
        biases = list(self.biases)
        if offset is not None:
            biases[0] = biases[0] + offset
        biases[-1] = self._by_rank(biases[-1])
        values = [y.new_zeros(width, y.shape[1]) for width in self.widths]
        log_det, activate = [], in_place(self.activation)
        x_rows, y_rows = values[0].unbind(0), y.unbind(0)
        for start in range(0, len(self.order), BLOCK):
            steps = range(start, min(start + BLOCK, len(self.order)))
            for rank, (*hidden, (params, weight, known)) in zip(
                steps, self._block(steps, biases, values), strict=True
            ):
                for sums, fresh_weight, inputs in hidden:
                    if sums.shape[0]:
                        activate(sums.addmm_(fresh_weight, inputs))
                params.addmm_(weight, known)
                value, term = solve_input(y_rows[self.order[rank]], params)
                x_rows[rank].copy_(value)
                log_det.append(term)
        log_det = torch.stack(log_det).index_select(0, self.ranks)
        return values[0].index_select(0, self.ranks), log_det

    def _block(self, steps: range, biases: Sequence[Tensor], values: Sequence[Tensor]):
        """Return for every step what every layer needs.

        That is what the units known before the block add up to, and the weights and values of the
        block's own units. The sums of hidden units lie where their values go.
        """
        layers = []
        for level, (weight, bias) in enumerate(zip(self.weights, biases, strict=True)):
            known, end = (self.first[level][r] for r in (steps.start, steps.stop))
            rows = slice(*(self.first[level + 1][r] for r in (steps.start, steps.stop)))
            fresh = self.fresh[level][steps.start : steps.stop]
            weight, value = weight[rows], values[level]
            place = values[level + 1][rows] if level + 1 < len(values) else None
            sums = torch.addmm(bias[rows], weight[:, :known], value[:known], out=place).split(fresh)
            own = [value[known:end]] * len(fresh)
            layers.append(zip(sums, weight[:, known:end].split(fresh), own, strict=True))
        return zip(*layers, strict=True)
