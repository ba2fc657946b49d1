"""Windows of the record: where they may lie, in which fold they are, and how a batch of them is gathered."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from models.base import Series, TrainingData


@dataclass(frozen=True)
class Batch:
    """Some windows, gathered.

    Attributes:
        history: States before the window, oldest first, ``(batch, history, channels, latitude, longitude)``.
        target: States in the window, ``(batch, leads, channels, latitude, longitude)``.
        calendar: Season's phase in the window, ``(batch, leads, 2)``.
        forcing: Covariates in the window, ``(batch, leads, forcings)``.
    """

    history: Tensor
    target: Tensor
    calendar: Tensor
    forcing: Tensor


@dataclass(frozen=True)
class Windows:
    """All windows of one kind in a record.

    Attributes:
        values: The series joined along time, ``(time, channels, latitude, longitude)``.
        calendar: Likewise, ``(time, 2)``.
        forcing: Likewise, ``(time, forcings)``.
        starts: Joined step at which each window's history begins, ascending, ``(windows,)``.
        history: Steps of history in a window.
        leads: Steps after it.
    """

    values: Tensor
    calendar: Tensor
    forcing: Tensor
    starts: Tensor
    history: int
    leads: int

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.starts)

    def take(self, rows: Tensor) -> Batch:
        """Gather the windows with these numbers."""
        steps = self.starts[rows][:, None] + torch.arange(self.history + self.leads)
        past, future = steps[:, : self.history], steps[:, self.history :]
        return Batch(self.values[past], self.values[future], self.calendar[future], self.forcing[future])

    def digest(self) -> str:
        """A fingerprint of everything that lies in a window."""
        used = (self.starts[:, None] + torch.arange(self.history + self.leads)).unique()
        parts = (self.values[used], self.calendar[used], self.forcing[used], self.starts)
        return hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()

    def folds(self, count: int) -> Tensor:
        """Fold of each window, ``(windows,)``: ``count`` unbroken stretches of the record."""
        return (torch.arange(len(self)) * count) // max(1, len(self))

    def outside(self, fold: int, folds: Tensor) -> Tensor:
        """Numbers of the windows that share no step with any window of ``fold``."""
        held = self.starts[folds == fold]
        distance = (self.starts[:, None] - held[None, :]).abs().amin(dim=1)
        return torch.nonzero(distance >= self.history + self.leads)[:, 0]


def training_windows(data: TrainingData, *, history: int, leads: int) -> Windows:
    """Windows that lie in training steps throughout.

    Raises:
        ValueError: Too few such windows, or values that are not finite.
    """
    _check(data)
    masks = [series.train for series in data.series]
    starts = _starts(masks, masks, history, leads)
    if len(starts) < 8:
        longest = max(int(mask.sum()) for mask in masks)
        raise ValueError(
            f"too few training years: {len(starts)} windows of {history} + {leads} steps fit into the training "
            f"steps (longest series: {longest}), at least 8 are needed; train on more years or shorten the window"
        )
    return _join(data, starts, history, leads)


def validation_windows(data: TrainingData, *, history: int, leads: int) -> Windows:
    """Windows whose targets lie in validation steps; their history may reach back into training steps. May be none."""
    past = [series.train | series.validate for series in data.series]
    starts = _starts(past, [series.validate for series in data.series], history, leads)
    return _join(data, starts, history, leads)


def _starts(past: list[Tensor], future: list[Tensor], history: int, leads: int) -> Tensor:
    found, offset = [], 0
    for before, after in zip(past, future, strict=True):
        if len(before) >= history + leads:
            whole = before.unfold(0, history, 1).all(1)[: len(before) - history - leads + 1]
            whole = whole & after[history:].unfold(0, leads, 1).all(1)
            found.append(torch.nonzero(whole)[:, 0] + offset)
        offset += len(before)
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64)


def _join(data: TrainingData, starts: Tensor, history: int, leads: int) -> Windows:
    parts = [(series.values, series.calendar, series.forcing) for series in data.series]
    values, calendar, forcing = (torch.cat(part).float() for part in zip(*parts, strict=True))
    return Windows(data.grid.masked(values), calendar, forcing, starts, history, leads)


def _check(data: TrainingData) -> None:
    for number, series in enumerate(data.series):
        seen = data.grid.masked(series.values[series.train | series.validate])
        bad = ~torch.isfinite(seen).flatten(1).all(1)
        if bad.any():
            raise ValueError(
                f"series {number} holds NaN or infinite values in {int(bad.sum())} training or validation steps; "
                "mask cells that have no data, and keep missing steps outside both masks"
            )
        _check_spread(series, data)


def _check_spread(series: Series, data: TrainingData) -> None:
    seen = series.values[series.train]
    for channel, mask in enumerate(data.grid.mask):
        if len(seen) > 1 and mask.any() and float(seen[:, channel][:, mask].std(dim=0).amax()) == 0.0:
            raise ValueError(f"channel {channel} is constant over the training steps: nothing can be learnt from it")
