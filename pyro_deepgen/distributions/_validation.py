"""A quick look at what the host's validation of samples would find."""

from pyro.distributions import Distribution
from torch import Tensor

from ..ops._modes import is_eager

__all__ = ["is_plainly_real"]


def is_plainly_real(d: Distribution, value: Tensor) -> bool:
    """Whether a value has the shape of a distribution and, which real supports ask, no NaN.

    A NaN makes the sum NaN, which is many times cheaper to see than each entry. False says nothing:
    the host's validation has the last word.
    """
    shape = d.batch_shape + d.event_shape
    if not is_eager() or value.shape[value.ndim - len(shape) :] != shape:
        return False
    return not value.detach().sum().isnan()
