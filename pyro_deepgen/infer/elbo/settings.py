"""Checks of the settings of bounds, and errors that both hosts raise."""

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

from ..._numerics.checks import check_choice, check_positive, check_positive_int
from .sites import Plate

__all__ = [
    "GRADIENTS",
    "check_discrepancy",
    "check_minibatch",
    "check_order",
    "check_settings",
    "check_share",
    "check_simulated",
    "not_reparameterized",
    "replace_arguments",
]

GRADIENTS = ("plain", "stl", "dreg", "vimco")


def check_settings(
    alpha: Any, num_particles: Any, gradient: str, joint: Any
) -> tuple[float, str, bool]:
    """Return order, gradient and whether the weight is joint, or raise if they do not fit."""
    if isinstance(alpha, bool) or not isinstance(alpha, Real):
        raise TypeError(f"alpha must be a real number, got {alpha!r}; pass a float.")
    if math.isnan(alpha):
        raise ValueError(f"alpha must be a number, got {alpha}; pass for example 0.0.")
    check_choice("gradient", gradient, GRADIENTS)
    if not isinstance(joint, bool):
        raise TypeError(f"joint must be True or False, got {joint!r}; pass a bool.")
    if gradient == "vimco":
        check_positive_int("num_particles (with gradient='vimco')", num_particles, minimum=2)
    if math.isinf(alpha) and gradient == "dreg":
        raise ValueError(
            f"gradient='dreg' needs a finite alpha, got {alpha}; pass gradient='plain'."
        )
    return float(alpha), gradient, joint


def not_reparameterized(name: str, bound: str) -> ValueError:
    """The error of a site without derivatives along its draws."""
    return ValueError(
        f"guide must have sites that can be reparameterised for {bound}, got {name!r} without; "
        "pass IWELBO(gradient='vimco') or ReweightedWakeSleep()."
    )


def check_share(insomnia: Any, num_particles: int) -> float:
    """Return the share of the wake phase, or raise if it is none or has too few particles."""
    if isinstance(insomnia, bool) or not isinstance(insomnia, Real):
        raise TypeError(f"insomnia must be a real number, got {insomnia!r}; pass a float.")
    if not 0.0 <= insomnia <= 1.0:
        raise ValueError(
            f"insomnia must be between 0 and 1, got {insomnia}; pass a share of the wake phase."
        )
    if insomnia > 0.0 and num_particles < 2:
        raise ValueError(
            f"num_particles must be at least 2 for insomnia={insomnia}, got {num_particles}; with "
            "one particle the wake phase teaches the guide nothing."
        )
    return float(insomnia)


def check_simulated(simulated: Any, insomnia: float) -> dict[str, int | str]:
    """Return the places of dreamt observations, or raise if there are none to sleep with."""
    if simulated is not None and not isinstance(simulated, dict):
        raise TypeError(
            f"simulated must be a dictionary of the guide's arguments by observed site, got "
            f"{simulated!r}; pass for example {{'x': 0}}."
        )
    if insomnia < 1.0 and not simulated:
        raise ValueError(
            f"simulated must say where the guide takes dreamt observations for insomnia={insomnia},"
            f" got {simulated!r}; pass for example {{'x': 0}}."
        )
    return dict(simulated or {})


def replace_arguments(
    args: tuple, kwargs: dict, places: dict[str, int | str], values: dict
) -> tuple[tuple, dict]:
    """Arguments with values of sites in their places."""
    args, kwargs = list(args), dict(kwargs)
    for name, place in places.items():
        known = place in kwargs if isinstance(place, str) else 0 <= place < len(args)
        if not known:
            raise ValueError(
                f"simulated[{name!r}] must be the position or keyword of an argument, got "
                f"{place!r} for {len(args)} arguments and {list(kwargs)}; name one of these."
            )
        if isinstance(place, str):
            kwargs[place] = values[name]
        else:
            args[place] = values[name]
    return tuple(args), kwargs


def check_order(alpha: Any) -> float:
    """Return a finite real number, or raise."""
    if isinstance(alpha, bool) or not isinstance(alpha, Real):
        raise TypeError(f"alpha must be a real number, got {alpha!r}; pass a float.")
    if not math.isfinite(alpha):
        raise ValueError(f"alpha must be finite, got {alpha}; pass for example 0.5.")
    return float(alpha)


def check_discrepancy(kernel_scales: Any) -> tuple[float, ...]:
    """Return the factors of a kernel's widths, or raise if there is none or one is not positive."""
    if isinstance(kernel_scales, str) or not isinstance(kernel_scales, Iterable):
        raise TypeError(
            f"kernel_scales must be a sequence of positive numbers, got {kernel_scales!r}; pass "
            "for example (0.5, 1.0, 2.0)."
        )
    found = tuple(check_positive(f"kernel_scales[{i}]", s) for i, s in enumerate(kernel_scales))
    if not found:
        raise ValueError("kernel_scales must not be empty, got (); pass for example (1.0,).")
    return found


def check_minibatch(plates: tuple[Plate, ...]) -> Plate:
    """Return the one plate of at least two data whose latent draws are compared, or raise."""
    if len(plates) != 1 or plates[0].subsample_size < 2:
        found = [(plate.name, plate.subsample_size) for plate in plates]
        raise ValueError(
            f"all sites must lie in one data plate with at least 2 data, got {found}; put them "
            "into one plate."
        )
    return plates[0]
