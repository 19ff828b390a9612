"""The parameters a step of the host's SVI meets, by name and in unconstrained form."""

from collections.abc import Callable, Iterable

import pyro
import torch
from torch import Tensor, nn

__all__ = ["Parameters", "as_array", "as_tensor"]


class Parameters:
    """Unconstrained parameters by name, in the order in which they were met.

    A parameter may be met late. To go back before that, its first value is kept. The buffers of a
    model and a guide that are modules go with them, as state that is not trained.
    """

    def __init__(self, model: Callable, guide: Callable):
        self._modules = {"model": model, "guide": guide}
        self.values: dict[str, Tensor] = {}
        self._first: dict[str, Tensor] = {}
        self._early: frozenset[str] | None = None

    def adopt(self, trace) -> list[str]:
        """Add the trainable parameters of a trace that are new; return their names."""
        known = {id(value) for value in self.values.values()}
        added = []
        for name, node in trace.nodes.items():
            if node["type"] != "param":
                continue
            value = node["value"].unconstrained()
            if value.requires_grad and id(value) not in known:
                known.add(id(value))
                self.values[name] = value
                self._first[name] = value.detach().clone()
                added.append(name)
        return added

    def close(self) -> None:
        """Call the parameters met so far early ones, which every run has from its start."""
        self._early = frozenset(self.values)

    def late(self) -> list[str]:
        """Names of parameters met after :meth:`close`."""
        return [name for name in self.values if name not in self._early]

    @torch.no_grad()
    def drop(self, name: str) -> Tensor:
        """Forget a late parameter, as it was before it was met."""
        value = self.values.pop(name)
        value.copy_(self._first.pop(name))
        store = pyro.get_param_store()
        if name in store:
            del store[name]
        return value

    def buffers(self) -> dict[str, Tensor]:
        """The buffers of model and guide by name, apart from any name of a parameter."""
        return {
            f"buffer {kind}.{name}": buffer
            for kind, module in self._modules.items()
            if isinstance(module, nn.Module)
            for name, buffer in module.named_buffers()
        }

    @torch.no_grad()
    def fill(self, values: dict[str, Tensor]) -> None:
        """Copy values into the parameters and buffers of their names."""
        for name, target in (self.values | self.buffers()).items():
            if name in values:
                target.copy_(values[name])

    def copies(self) -> dict[str, Tensor]:
        """Copies of all parameters and buffers."""
        values = self.values | self.buffers()
        return {name: value.detach().clone() for name, value in values.items()}

    def constrained(self) -> dict[str, Tensor]:
        """Copies of all values, those in the host's store in their constrained form."""
        store = pyro.get_param_store()
        return {
            name: (store[name] if name in store else value).detach().clone()
            for name, value in self.values.items()
        }

    def norm(self) -> Tensor:
        """Euclidean norm of all gradients together, summed in the order of names."""
        grads = [self.values[name].grad for name in sorted(self.values)]
        grads = [grad for grad in grads if grad is not None]
        return nn.utils.get_total_norm(grads) if grads else torch.zeros(())

    def scale_gradients(self, numerator: float, denominator: float) -> None:
        """Multiply all gradients by a quotient, the division first so that nothing overflows."""
        for value in self.values.values():
            if value.grad is not None:
                value.grad.div_(denominator).mul_(numerator)

    def clear_gradients(self, names: Iterable[str] | None = None) -> None:
        """Forget all gradients, or those of these names."""
        for name in self.values if names is None else names:
            self.values[name].grad = None

    def bad_gradients(self) -> list[str]:
        """Names of the parameters whose gradient is not finite."""
        return [
            name
            for name, value in self.values.items()
            if value.grad is not None and not value.grad.isfinite().all()
        ]


def as_array(tensor: Tensor):
    """A NumPy copy; what NumPy has no type for is widened."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy().copy()


def as_tensor(array, like: Tensor) -> Tensor:
    """A tensor on the device of another, narrowed again where it was widened."""
    tensor = torch.as_tensor(array).clone()
    narrow = like.dtype == torch.bfloat16 and tensor.is_floating_point()
    return tensor.to(like.device, like.dtype if narrow else tensor.dtype)
