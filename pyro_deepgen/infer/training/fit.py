"""Training of a guide by the host's own stochastic variational inference."""

from collections.abc import Callable
from pathlib import Path

import torch
from pyro.infer import ELBO

from ..arguments import check_arguments, check_callables
from .loop import run_fit
from .result import FitResult
from .settings import FitSettings
from .trainer import SVITrainer

__all__ = ["fit"]


def fit(
    model: Callable,
    guide: Callable,
    num_steps: int = 5000,
    *,
    args: tuple = (),
    kwargs: dict | None = None,
    loss: ELBO | None = None,
    learning_rate: str | float | Callable = "auto",
    decay: str = "cosine",
    optimizer: Callable | None = None,
    clip_norm: float | None = 10.0,
    patience: int | None = None,
    evaluate_every: int = 100,
    held_out_args: tuple | None = None,
    held_out_kwargs: dict | None = None,
    keep: str = "best",
    average: float | None = None,
    batch_size: int | None = None,
    skip_norm: float | None = None,
    aggressive_steps: int = 0,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    resume: bool = True,
    progress: bool = True,
    callback: Callable[[int, float], bool] | None = None,
) -> FitResult:
    r"""Train a guide, and the parameters of the model, by the host's ``SVI``.

    A step is that of ``SVI.step``, but one optimiser sees all parameters, so that their gradients
    :math:`g` are clipped together, :math:`g \min(1, c / \|g\|_2)`, and their state is saved.
    Parameters that appear later in training join it. Randomness comes from the host's random
    state; the trials of learning rates do not move it, so that the run is the one that the chosen
    rate would have had by itself. The host's checks of distributions, values, plates and of model
    against guide go on in every step; those of ``poutine`` (NaN at a site, the sign of a tensor of
    ``poutine.scale``, the sizes in ``pyro.subsample``) are made in the first run alone: a step
    looks at its loss and at all gradients.

    Args:
        model: a Pyro model.
        guide: a guide of any kind, with at least one parameter.
        num_steps: number of steps, at least 1.
        args: positional arguments of model and guide.
        kwargs: keyword arguments of model and guide.
        loss: a bound of the host, default ``Trace_ELBO(num_particles=8)``, its particles
            vectorised if a test run of this model and guide shows that this is right.
        learning_rate: peak rate; or ``'auto'``, the best of 3e-4, 1e-3, 5e-3, 2e-2 and 0.1 in runs
            of 100 steps from the same start; or a schedule, a function of the step, from 0.
        decay: ``'cosine'``, from the peak to a hundredth of it (Loshchilov & Hutter 2017, eq. 5),
            or ``'constant'``. A schedule is taken as it is.
        optimizer: function of parameters and rate that gives a ``torch.optim.Optimizer``, default
            ``torch.optim.Adam``; for weights of networks also :func:`muon`. Its rate is set before
            each step.
        clip_norm: largest norm :math:`c` of all gradients together, None for no clipping.
        patience: number of evaluations in a row without a new lowest loss after which training
            stops, None for never.
        evaluate_every: steps between evaluations; they begin when a schedule of the loss ends.
        held_out_args: arguments of the model on held-out data. The loss there is evaluated with
            the same randomness each time. Without them the mean training loss since the last
            evaluation counts.
        held_out_kwargs: its keyword arguments.
        keep: ``'best'`` returns the parameters of the lowest evaluation (of the training loss: the
            last one within its standard error of the lowest), ``'last'`` those of the last step.
        average: decay in (0, 1) of an exponential moving average of the unconstrained parameters,
            corrected for its start (Kingma & Ba 2015, section 7.2). It is then what is evaluated
            and returned.
        batch_size: number of rows of a minibatch: each step sees that many rows of every array of
            ``args``, the same ones, epoch by epoch without replacement. None for all. What the
            data plate is to be scaled to goes into ``kwargs``, as the model asks for it.
        skip_norm: largest norm of all gradients together of a step that is taken; others, and
            those that are not finite, are left out, up to a hundred in a row. None to leave out
            none.
        aggressive_steps: number of first steps in which guide and model take turns: the guide's
            parameters are trained until the mean loss of ten steps rises, or for a hundred steps,
            then the others for one step.
        checkpoint: safetensors file that holds the state of training, or None. A run that was cut
            anywhere goes on from it and ends, on a CPU, with the same parameters bit for bit.
            State the guide or model keeps outside parameters and buffers is not part of it.
        checkpoint_every: steps between checkpoints; one is also written at the end.
        resume: whether to go on from ``checkpoint`` if it exists.
        progress: whether to show a progress bar.
        callback: function of the number of steps taken and the mean loss of the last
            ``evaluate_every``, called after as many steps; training stops where it gives True.

    Returns:
        :class:`FitResult`. Its ``params`` are also those of the parameter store and the guide.
        After Ctrl-C it holds what was done until then.

    Raises:
        FitError: if a loss or gradient is not finite; it names the step, the sites and the
            parameters, and holds the best parameters before that.
        TypeError: if an argument is of the wrong kind.
        ValueError: if an argument is out of range, the arrays of ``args`` cannot be cut into
            minibatches, the guide has no parameters, the loss warms up
            for longer than ``num_steps``, or the checkpoint belongs to other settings or
            parameters.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyro.infer.autoguide import AutoNormal
        >>> def model(x):
        ...     loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("x", dist.Normal(loc, 1.0), obs=x)
        >>> pyro.clear_param_store()
        >>> guide = AutoNormal(model)
        >>> result = fit(
        ...     model, guide, 200, args=(torch.ones(9),), learning_rate=0.05, progress=False
        ... )
        >>> result.stopped, abs(guide.median()["loc"].item() - 0.9) < 0.05
        ('finished', True)

    References:
        Kingma & Ba (2015), Adam, section 7.2; Loshchilov & Hutter (2017), SGDR, eq. 5; Pascanu,
        Mikolov & Bengio (2013), On the difficulty of training recurrent neural networks, alg. 1;
        Child (2021), Very deep VAEs, section 5.1 (left-out steps); He, Spokoyny, Neubig &
        Berg-Kirkpatrick (2019), Lagging inference networks, alg. 1 (turns).
    """
    check_callables(model=model, guide=guide, optimizer=optimizer or torch.optim.Adam)
    if loss is not None and not isinstance(loss, ELBO):
        raise TypeError(
            f"loss must be a bound of the host, got {type(loss).__name__}; pass for example "
            "Trace_ELBO()."
        )
    settings = FitSettings(
        num_steps,
        learning_rate,
        decay,
        clip_norm,
        patience,
        evaluate_every,
        keep,
        average,
        batch_size,
        skip_norm,
        aggressive_steps,
        checkpoint,
        checkpoint_every,
        resume,
        progress,
        callback,
    )
    arguments = check_arguments("", args, kwargs)
    held_out = None
    if held_out_args is not None or held_out_kwargs is not None:
        held_out = check_arguments("held_out_", held_out_args, held_out_kwargs)
    trainer = SVITrainer(model, guide, arguments, held_out, loss, optimizer, settings)
    return run_fit(trainer, settings)
