"""Climatology: trajectories of the training years' residuals, resampled in blocks from the same season.

The reference of every score. Whole fields of consecutive steps are taken, smoothed by a second block added in small, so
space, channels and time within a block stay coherent; successive blocks are independent of one another and of the
initial state.

Source:
    Künsch (1989), the moving-block bootstrap, doi:10.1214/aos/1176347265.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from models.base import Context, Fitted, Grid, Progress, TrainingData
from models.conditions import check_steps
from models.config import ClimatologyConfig
from models.innovations import Draw, same_season
from models.record import check_grid, training_record


def fit(
    config: ClimatologyConfig,
    data: TrainingData,
    *,
    seed: int,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Fitted:
    """Keep the training years and where blocks may start. Nothing is random and nothing takes long.

    Raises:
        ValueError: Training data that no fit can use, or no unbroken run as long as the block asked for.
    """
    record = training_record(data)
    block = record.block(config.block)
    starts = record.anchors(before=0, after=block - 1)
    model = Model(
        fields=record.values.float().reshape(-1, *data.grid.mask.shape),
        starts=starts,
        calendar=record.calendar[starts],
        block=block,
    )
    return Fitted(model=model, curve=[], notes={"block": block, "starts": len(starts), "years": record.years})


@dataclass(frozen=True)
class Model:
    """Blocks of the training years.

    Attributes:
        fields: Training residuals, ``(time, channels, latitude, longitude)``.
        starts: Steps at which an unbroken block starts, ``(starts,)``.
        calendar: Phase of the season at those steps, ``(starts, 2)``.
        block: Steps in a block.
    """

    fields: Tensor
    starts: Tensor
    calendar: Tensor
    block: int
    history: int = 1

    def sample(self, context: Context, *, leads: int, members: Sequence[int], seed: int) -> Tensor:
        """Draw blocks for each member, each from the season in which it is put."""
        check_steps(context, history=self.history, leads=leads)
        check_grid(context.history, self.fields.shape[1:])
        key = Draw(seed, context.init_time, members)
        seasons = context.calendar[-leads:]
        blocks = []
        for number, first in enumerate(range(0, leads, self.block)):
            blend = key.blend(same_season(self.calendar, seasons[first]), number)
            steps = self.starts[blend.positions][..., None] + torch.arange(min(self.block, leads - first))
            blocks.append(blend.of(self.fields[steps]).float())
        return torch.cat(blocks, dim=1)

    def arrays(self) -> dict[str, Tensor]:
        """The training residuals and the starts of blocks."""
        return {
            "fields": self.fields,
            "starts": self.starts,
            "calendar": self.calendar,
            "block": torch.tensor(self.block),
        }

    @classmethod
    def restore(cls, config: ClimatologyConfig, arrays: Mapping[str, Tensor], *, grid: Grid) -> Self:
        """The model that ``arrays()`` came from."""
        return cls(arrays["fields"], arrays["starts"], arrays["calendar"], int(arrays["block"]))
