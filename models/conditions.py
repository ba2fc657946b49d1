"""What families share about their input: checks of a context, and for the networks forcing held within its range."""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.base import Context, Grid, TrainingData


def forcing_range(data: TrainingData) -> Tensor:
    """Least and greatest forcing of the training steps, ``(2, forcings)``."""
    seen = torch.cat([series.forcing[series.train] for series in data.series]).float()
    return torch.stack([seen.amin(dim=0), seen.amax(dim=0)])


def held(forcing: Tensor, limits: Tensor) -> Tensor:
    """Forcing held within what training saw and scaled to [-1, 1].

    A network must not be asked beyond its data: the background follows a forcing further, the remainder stays as it was
    at the edge of experience. A forcing that never varied in training is zero.
    """
    low, high = limits
    span = high - low
    scaled = 2.0 * (forcing.clamp(low, high) - low) / torch.where(span > 0, span, 1.0) - 1.0
    return torch.where(span > 0, scaled, 0.0)


def check_steps(context: Context, *, history: int, leads: int) -> None:
    """Refuse steps that the context does not describe: no model may guess their state or season.

    Raises:
        ValueError: Too short a history, no lead, or another number of leads than the calendar has after the history.
    """
    if leads < 1:
        raise ValueError(f"leads is {leads}: at least 1 is needed")
    if 0 < len(context.history) < history:
        raise ValueError(f"context.history holds {len(context.history)} states, the model needs {history}, or none")
    described = len(context.calendar) - len(context.history)
    if described != leads:
        raise ValueError(f"leads is {leads}, but context.calendar describes {described} after the history")


def check_context(context: Context, *, history: int, leads: int, grid: Grid, forcings: int) -> None:
    """Refuse a context that the model was not made for.

    Raises:
        ValueError: Too short a history, another grid, missing leads or forcings, or values that are not finite.
    """
    check_steps(context, history=history, leads=leads)
    if context.history.shape[1:] != grid.mask.shape:
        raise ValueError(
            f"context.history has (channels, latitude, longitude) {tuple(context.history.shape[1:])}, "
            f"the model was trained on {tuple(grid.mask.shape)}"
        )
    steps = len(context.history) + leads
    for name, values, width in (("calendar", context.calendar, 2), ("forcing", context.forcing, forcings)):
        if tuple(values.shape) != (steps, width):
            raise ValueError(
                f"context.{name} has shape {tuple(values.shape)}, expected {(steps, width)}: history and leads"
            )
    for name, values in (("history", grid.masked(context.history)), ("forcing", context.forcing)):
        if not torch.isfinite(values).all():
            raise ValueError(f"context.{name} holds values that are not finite")


def under(arrays: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The arrays whose name begins with ``prefix`` and a dot, without it."""
    return {name.removeprefix(f"{prefix}."): value for name, value in arrays.items() if name.startswith(f"{prefix}.")}


def named(arrays: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The arrays with ``prefix`` and a dot before each name."""
    return {f"{prefix}.{name}": value for name, value in arrays.items()}
