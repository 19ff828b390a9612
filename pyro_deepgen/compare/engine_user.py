"""A user's guide or kernel as a method of the comparison."""

from collections.abc import Callable

from pyro.infer.mcmc.mcmc_kernel import MCMCKernel

from .engine_guides import run_guide
from .engine_mcmc import run_kernel
from .errors import CompareError
from .guide_specs import GuideSpec
from .results import Method

__all__ = ["user_method"]

LEARNING_RATE = 1e-2


def user_method(name: str, factory: Callable, model: Callable) -> Method:
    """The method of a function of the model that gives a guide or a kernel of the host.

    Args:
        name: of the method.
        factory: a class or function: an AutoGuide of the host, a kernel of the host, or a function
            of the model that gives a guide (any callable) or a kernel.
        model: the model it is tried on.

    Raises:
        CompareError: if it fails or gives neither.
    """
    try:
        built = factory(model)
    except Exception as error:
        message = " ".join(str(error).split())[:300]
        raise CompareError(
            f"method {name!r} must be a function of the model that gives a guide or a kernel; "
            f"calling it failed: {type(error).__name__}: {message}"
        ) from error
    if isinstance(built, MCMCKernel):
        text = f"the kernel {type(built).__name__}"
        return Method(name, "mcmc", run_kernel(name, factory), text, discrete=True)
    if not callable(built):
        raise CompareError(
            f"method {name!r} must give a guide or a kernel of the host for a model, got "
            f"{type(built).__name__}"
        )
    spec = GuideSpec(factory, LEARNING_RATE, f"the guide {type(built).__name__}")
    return Method(name, "guide", run_guide(name, spec), spec.description)
