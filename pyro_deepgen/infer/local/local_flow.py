"""What the guide of the local latent variables of a data plate is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..._numerics.checks import check_choice
from ...distributions import iaf

__all__ = ["LocalFlow", "as_local_flows"]

TABLES = ("mean_field", "full")


def two_step_iaf(*args, **kwargs):
    """The recipe ``iaf`` with two transforms: a datum has few variables."""
    return iaf(*args, num_transforms=2, **kwargs)


@dataclass(frozen=True)
class LocalFlow:
    r"""How ``AutoFlow(local=...)`` guides the latent variables of each datum of a plate.

    .. math::
        q(\theta, z_1, \ldots, z_N) = q(\theta) \prod_n q(z_n \mid e(x_n), \theta)

    Given the globals :math:`\theta` the data are independent, so a step evaluates the rows of its
    minibatch only. All continuous sites of one datum are joint, on the unconstrained scale.

    Args:
        features: what the encoder sees, a row for each datum: a function of the model's arguments,
            or the name, or names, of arguments. Rows for the minibatch or for all data, of which
            the minibatch is then taken. By default all array arguments with a row for each datum;
            none if there is a table.
        encoder: a network from features to ``batch_shape + (E,)``, called with the rows of the
            minibatch; any callable that may register parameters with the host. By default
            features are flattened, standardised, and go through ``Dense`` with two hidden layers.
        flow: recipe of the conditional flow, by default ``iaf`` with two transforms.
        per_datum: a table with location and scale of each datum of its own on top of the flow,
            ``'mean_field'`` or ``'full'`` (a triangle), instead of features or besides them. Its
            memory, unlike the work of a step, grows with the data.
        condition_on_globals: whether the flow sees the unconstrained global variables.
        indices: which data the minibatch holds, a function of the model's arguments or the name of
            one; needed only with a table and minibatches cut outside the model.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: for an unknown kind of table, or an encoder without features.

    Example:
        >>> LocalFlow(features="x", condition_on_globals=False).features
        'x'
    """

    features: Callable | str | Sequence[str] | None = None
    encoder: Callable | None = None
    flow: Callable = two_step_iaf
    per_datum: str | None = None
    condition_on_globals: bool = True
    indices: Callable | str | None = None

    def __post_init__(self):
        if not (self.features is None or callable(self.features) or _are_names(self.features)):
            raise TypeError(
                f"features must be a function or names of arguments, got {self.features!r}; pass "
                "for example 'x'."
            )
        for name in ("encoder", "flow"):
            value = getattr(self, name)
            if not callable(value) and not (name == "encoder" and value is None):
                raise TypeError(
                    f"{name} must be callable, got {value!r}; pass a network or recipe."
                )
        if self.indices is not None and not (
            callable(self.indices) or isinstance(self.indices, str)
        ):
            raise TypeError(
                f"indices must be a function or the name of an argument, got {self.indices!r}; "
                "pass for example 'indices'."
            )
        if self.per_datum is not None:
            check_choice("per_datum", self.per_datum, TABLES)
            if self.encoder is not None and self.features is None:
                raise ValueError(
                    "features must be given for an encoder besides a table, got None; name the "
                    "arguments that it sees."
                )


def _are_names(value) -> bool:
    if isinstance(value, str):
        return True
    entries = value if isinstance(value, (tuple, list)) else ()
    return len(entries) > 0 and all(isinstance(entry, str) for entry in entries)


def as_local_flows(local) -> LocalFlow | dict[str, LocalFlow] | None:
    """Return the argument ``local`` of a guide as settings, or settings by plate.

    Raises:
        TypeError: if it is neither settings, nor a recipe, nor a dictionary of these.
    """
    if local is None or isinstance(local, LocalFlow):
        return local
    if isinstance(local, Mapping):
        return {str(plate): as_local_flows(part) for plate, part in local.items()}
    if callable(local):
        return LocalFlow(flow=local)
    raise TypeError(
        f"local must be a LocalFlow, a recipe or a dictionary of these by plate, got {local!r}; "
        "pass for example LocalFlow()."
    )
