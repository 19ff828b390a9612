"""One progress bar a method, which sizes it itself."""

from contextlib import contextmanager

from tqdm.auto import tqdm

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(name: str, progress: bool):
    """A progress bar that the method sizes itself.

    Args:
        name: what stands before it.
        progress: whether to show it.
    """
    bar = tqdm(total=0, desc=name.ljust(11), disable=not progress, leave=True)
    try:
        yield bar
    finally:
        bar.close()
