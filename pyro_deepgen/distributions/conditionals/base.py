"""What turns the numbers that a network gives into the distribution of one element."""

from abc import ABC, abstractmethod

from pyro.distributions import Distribution
from torch import Tensor

__all__ = ["Conditional"]


class Conditional(ABC):
    """A family of distributions of one element, by a vector of unconstrained parameters.

    It holds no arrays and is hashable: a setting of the modules that use it.

    Attributes:
        num_params: number of parameters of one element.
        event_shape: shape of one element, ``()`` or of one dimension.
    """

    event_shape: tuple[int, ...] = ()

    @property
    @abstractmethod
    def num_params(self) -> int:
        """Number of parameters of one element."""

    @abstractmethod
    def __call__(self, params: Tensor) -> Distribution:
        """Return the distribution, of shape ``batch_shape`` and the event shape of one element.

        Args:
            params: any real numbers, shape ``batch_shape + (num_params,)``.
        """
