"""Atomic writing and the comparison of flat maps of arrays."""

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["check_names_and_shapes", "write_atomically"]


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write ``content`` beside ``path``, flush it to disk and rename it into place."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_names_and_shapes(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise a ValueError that names what is missing, unexpected or of another shape."""
    problems = []
    if missing := sorted(expected.keys() - found.keys()):
        problems.append(f"missing {missing}")
    if unexpected := sorted(found.keys() - expected.keys()):
        problems.append(f"unexpected {unexpected}")
    for name in sorted(found.keys() & expected.keys()):
        if found[name] != expected[name]:
            problems.append(f"{name} of shape {found[name]} instead of {expected[name]}")
    if problems:
        raise ValueError(
            f"path must hold the arrays of the module, got {'; '.join(problems)}; build the module "
            "with the arguments it was saved with."
        )
