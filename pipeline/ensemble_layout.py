"""What an ensemble is to look like, before a single member is drawn: its pieces, its axes and its chunks.

A piece, the unit of work, is one scenario, one initial time and one block of members. A chunk never spans two pieces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from pipeline.periods import Cadence, from_dates

CHUNK = {"lead_time": 8, "level": 1, "latitude": 16, "longitude": 128}
"""Leads, levels and cells of one chunk, at most; one block of members lies in it whole.

A map of a season or a week does not decode the other leads (decision 18). Few rows make a band of the globe that fits
in memory with any number of members.
"""


@dataclass(frozen=True)
class Piece:
    """Address of a unit of work: positions along scenario and initial time, and the block's number."""

    scenario: int
    init: int
    block: int


@dataclass(frozen=True)
class Layout:
    """What an ensemble looks like, before a single member is drawn.

    Attributes:
        template: A data set of fields by variable with dims ``([level], latitude, longitude)``: grid and attributes.
        scenarios: Names, or None in an unforced system.
        init_times: Ends of the last input periods, ``cftime``.
        valid_times: Labels ``(init_time, lead_time)``.
        valid_bounds: Ends of the valid periods ``(init_time, lead_time, 2)``.
        cadence: Length of a lead.
        members: Size of the ensemble.
        block: Members of one piece.
    """

    template: xr.Dataset
    scenarios: tuple[str, ...] | None
    init_times: np.ndarray
    valid_times: np.ndarray
    valid_bounds: np.ndarray
    cadence: Cadence
    members: int
    block: int

    @property
    def leads(self) -> int:
        """Number of leads."""
        return int(self.valid_times.shape[1])

    @property
    def blocks(self) -> int:
        """Number of blocks that hold all members."""
        return -(-self.members // self.block)

    def pieces(self) -> list[Piece]:
        """All pieces, in order."""
        scenarios = len(self.scenarios) if self.scenarios else 1
        return [
            Piece(scenario, init, block)
            for init in range(len(self.init_times))
            for scenario in range(scenarios)
            for block in range(self.blocks)
        ]

    def members_of(self, piece: Piece) -> list[int]:
        """The members of a piece's block, surplus rows included: a block always runs at its full size."""
        return list(range(piece.block * self.block, (piece.block + 1) * self.block))


def empty_ensemble(layout: Layout, *, inputs_hash: Sequence[int], fold: Sequence[int]) -> xr.Dataset:
    """The whole ensemble, lazily, every member NaN and no piece done.

    Args:
        layout: What it looks like.
        inputs_hash: Hash of all that the members of each initial time depend on beside the model.
        fold: Fold of each initial time; -1 for a forecast.
    """
    lead = ("scenario", "init_time") if layout.scenarios else ("init_time",)
    shape = (len(layout.scenarios), len(layout.init_times)) if layout.scenarios else (len(layout.init_times),)
    dataset = xr.Dataset(coords=_coordinates(layout))
    for name, field in layout.template.data_vars.items():
        full = (*shape, layout.leads, layout.members, *field.shape)
        sizes = {"lead_time": layout.leads, **field.sizes}
        leads, *cells = (_even_share(size, CHUNK.get(str(dim), 1)) for dim, size in sizes.items())
        chunks = (*[1] * len(lead), leads, layout.block, *cells)
        empty = dask.array.full(full, np.nan, chunks=chunks, dtype="float32")
        dataset[name] = ((*lead, "lead_time", "member", *field.dims), empty, field.attrs)
    dataset["done"] = ((*lead, "block"), np.zeros((*shape, layout.blocks), dtype="int8"))
    dataset["issued_at"] = (
        "init_time",
        np.zeros(len(layout.init_times), dtype="int64"),
        {"units": "seconds since 1850-01-01"},
    )
    dataset["inputs_hash"] = ("init_time", np.asarray(inputs_hash, dtype="int64"))
    dataset["fold"] = ("init_time", np.asarray(fold, dtype="int64"))
    return dataset.assign_attrs(schema_version=1, block=layout.block, Conventions="CF-1.11")


def empty_background(ensemble: xr.Dataset) -> xr.Dataset:
    """An empty background for an empty ensemble: its variables without members and coordinates."""
    fields = ensemble[[name for name, array in ensemble.data_vars.items() if "member" in array.dims]]
    return fields.isel(member=0, drop=True).drop_vars(list(fields.coords), errors="ignore")


def _even_share(size: int, most: int) -> int:
    """Places of a chunk along an axis that is divided evenly among the fewest chunks."""
    return -(-size // -(-size // most))


def _coordinates(layout: Layout) -> dict[str, Any]:
    coords: dict[str, Any] = {
        name: layout.template[name] for name in ("level", "latitude", "longitude") if name in layout.template.coords
    }
    coords["init_time"] = ("init_time", from_dates(layout.init_times), {"standard_name": "forecast_reference_time"})
    lead_attrs = {"standard_name": "forecast_period", "units": layout.cadence.unit, "step": layout.cadence.step}
    coords["lead_time"] = ("lead_time", np.arange(1, layout.leads + 1), lead_attrs)
    coords["member"] = ("member", np.arange(layout.members), {"standard_name": "realization"})
    coords["valid_time"] = (
        ("init_time", "lead_time"),
        from_dates(layout.valid_times),
        {"standard_name": "time", "bounds": "valid_time_bnds"},
    )
    coords["valid_time_bnds"] = (("init_time", "lead_time", "bnds"), from_dates(layout.valid_bounds))
    if layout.scenarios:
        coords["scenario"] = ("scenario", np.array(layout.scenarios))
    return coords
