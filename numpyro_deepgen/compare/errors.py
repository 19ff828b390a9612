"""Errors of the comparison that are the user's to mend: each is one clear line."""

__all__ = ["CompareError", "DataError", "FitError", "ModelError"]


class CompareError(ValueError):
    """Base of the comparison's errors; the command line ends with exit code 2 on it."""


class DataError(CompareError):
    """The data file is missing, unreadable, not finite, or does not fit the model's arguments."""


class ModelError(CompareError):
    """The model has no latent site, discrete ones, or no finite log density to start from."""


class FitError(RuntimeError):
    """A method started but failed numerically; it becomes a row with its error."""
