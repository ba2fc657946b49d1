"""Trajectories to ask questions of: an ensemble's members, a whole record, or a record cut into replays.

Each gives the same five axes, ``(scenario, member, step, latitude, longitude)``, so that one evaluator serves for all.
Only the cells and steps that a question needs are read, once for each variable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.answers.bounds import Bounds
from pipeline.answers.catalogue import Catalogue
from pipeline.answers.windows import Timeline, record_timeline, resolve
from pipeline.events.tree import Expression, Region, Window
from pipeline.places.regions import Cells, cells_of

Array = NDArray[Any]


@dataclass(frozen=True)
class Need:
    """The part of a field that a question looks at.

    Attributes:
        cells: A region, or the whole grid.
        start: First step.
        stop: One past the last step.
    """

    cells: Cells | None
    start: int
    stop: int

    @property
    def key(self) -> tuple[object, int, int]:
        """What makes two needs the same."""
        return (None if self.cells is None else self.cells.region, self.start, self.stop)


@dataclass
class Trajectories:
    """Realisations along one timeline.

    Attributes:
        read: Reads a variable, by its name in the data set, where it is needed.
        timeline: The steps and their dates.
        catalogue: Names, and what they mean.
        latitude: Ascending rows of the grid.
        longitude: Columns of the grid.
        first_sample_only: Whether an ``each`` window means its first year alone, as it does in a replay.
        pieces: How many replays there are, in a record that was cut.
        partial: Whether a part of a region on the grid will do.
        rows_stored: How many rows of the grid lie together in the store.
        valid_shares: The share of each region that had data, as it was found.
        reached: One past the last step that was read.
    """

    read: Callable[[str, Need], Array]
    timeline: Timeline
    catalogue: Catalogue
    latitude: Array
    longitude: Array
    first_sample_only: bool = False
    pieces: int = 1
    partial: bool = False
    rows_stored: int = 1
    valid_shares: dict[Region, float] = field(default_factory=dict)
    reached: int = 0
    _held: dict[object, Array] = field(default_factory=dict)
    _closed: dict[object, Bounds] = field(default_factory=dict)
    _regions: dict[Region, Cells] = field(default_factory=dict)

    def variable(self, name: str, need: Need) -> Array:
        """A variable by any of its names, read once."""
        known = self.catalogue.variable(name).name
        key = (known, need.key)
        if key not in self._held:
            self._held[key] = self.read(known, need)
            self.reached = max(self.reached, need.stop)
        return self._held[key]

    def once(self, node: Expression, need: Need, work: Callable[[], Bounds]) -> Bounds:
        """What an expression that closes space gives, worked out once for the count, the margin, runs and figures."""
        key = (node, need.key)
        if key not in self._closed:
            self._closed[key] = work()
        return self._closed[key]

    def cells(self, region: Region) -> Cells:
        """A region on this grid."""
        if region not in self._regions:
            self._regions[region] = cells_of(
                region, self.latitude, self.longitude, self.catalogue, partial=self.partial
            )
        return self._regions[region]

    @property
    def widest(self) -> int:
        """Cells that the widest region asked for so far spans."""
        return max((cells.weights.size for cells in self._regions.values()), default=1)

    def groups(self, window: Window) -> tuple[tuple[int, int], ...]:
        """The steps of a window, one group for each sample."""
        groups = resolve(window, self.timeline).groups
        return groups[:1] if self.first_sample_only else groups

    def forget(self) -> None:
        """Let go of what was read and worked out."""
        self._held.clear()
        self._closed.clear()


def ensemble_trajectories(
    ensemble: xr.Dataset, timeline: Timeline, catalogue: Catalogue, scenarios: Sequence[str], *, partial: bool
) -> Trajectories:
    """The members of one initial time.

    Args:
        ensemble: Dims ``([scenario], lead_time, member, latitude, longitude)``, lazy.
        timeline: Of its leads.
        catalogue: Names.
        scenarios: Which to read, in this order; empty where there is no such dimension.
        partial: Whether a part of a region on the grid will do.
    """

    def read(name: str, need: Need) -> Array:
        array = cut(ensemble[name].isel(lead_time=slice(need.start, need.stop)), need.cells)
        array = array.sel(scenario=list(scenarios)) if scenarios else array.expand_dims("scenario")
        return np.asarray(array.transpose("scenario", "member", "lead_time", "latitude", "longitude").values)

    return Trajectories(
        read, timeline, catalogue, *_grid(ensemble), partial=partial, rows_stored=_rows_stored(ensemble)
    )


def _rows_stored(ensemble: xr.Dataset) -> int:
    """Rows of the grid that one chunk holds."""
    held = [array.encoding.get("preferred_chunks", {}).get("latitude", 1) for array in ensemble.data_vars.values()]
    return max([*held, *ensemble.chunksizes.get("latitude", ())], default=1)


@dataclass
class Record:
    """The reference record, and how a forecast's steps lie in it.

    Attributes:
        data: Dims ``(time, latitude, longitude)``.
        timeline: Its own steps.
        catalogue: Names.
        partial: Whether a part of a region on the grid will do.
    """

    data: xr.Dataset
    timeline: Timeline
    catalogue: Catalogue
    partial: bool = False
    _held: dict[object, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, reference: xr.Dataset, *, like: Timeline, catalogue: Catalogue, partial: bool = False) -> Record:
        """A record with the cadence of a forecast."""
        return cls(reference, record_timeline(reference, like=like), catalogue, partial)

    def forget(self) -> None:
        """Let go of what was read."""
        self._held.clear()

    def positions(self, clock: float, *, years: tuple[int, int] | None = None) -> NDArray[np.int64]:
        """The steps of the record with the calendar's place of a forecast's step, one a year."""
        length = self.timeline.year_length
        apart = np.abs((self.timeline.clock - clock + length / 2) % length - length / 2)
        near = apart < min(self.timeline.step_days, length) / 2
        of_step = self.timeline.keys // 10_000
        if years is not None:
            near &= (of_step >= years[0]) & (of_step <= years[1])
        places = np.flatnonzero(near)
        own = np.stack([of_step[places], self.timeline.clock[places]])
        return places[np.unique(own, axis=1, return_index=True)[1]]  # of 28 and 29 February the first

    def whole(self) -> Trajectories:
        """The record as one trajectory."""

        def read(name: str, need: Need) -> Array:
            return self._values(name, need.cells)[np.newaxis, np.newaxis, need.start : need.stop]

        return Trajectories(read, self.timeline, self.catalogue, *_grid(self.data), partial=self.partial)

    def replays(
        self, forecast: Timeline, start: int, stop: int, *, years: tuple[int, int] | None = None
    ) -> Trajectories:
        """The record cut so that each piece lies in the calendar as steps ``start`` to ``stop`` of a forecast do.

        Pieces longer than a year overlap. The result has one member for each piece.
        """
        begins = self.positions(float(forecast.clock[start]), years=years)
        of_step = self.timeline.keys // 10_000
        limit = self.timeline.size if years is None else int(np.searchsorted(of_step, years[1], side="right"))
        begins = begins[begins + (stop - start) <= limit]

        def read(name: str, need: Need) -> Array:
            steps = np.arange(need.start - start, need.stop - start)
            values: Array = self._values(name, need.cells)[begins[:, np.newaxis] + steps]
            return values[np.newaxis]

        grid = _grid(self.data)
        return Trajectories(read, forecast, self.catalogue, *grid, True, begins.size, self.partial)

    def _values(self, name: str, cells: Cells | None) -> Array:
        key = (name, None if cells is None else cells.region)
        if key not in self._held:
            array = self.data[name].transpose("time", "latitude", "longitude")
            self._held[key] = np.asarray(cut(array, cells).values)
        return self._held[key]


def cut(array: xr.DataArray, cells: Cells | None) -> xr.DataArray:
    """The rows and columns of a region, or the whole grid."""
    if cells is None:
        return array
    rows = slice(int(cells.rows[0]), int(cells.rows[-1]) + 1)
    first, last = int(cells.columns[0]), int(cells.columns[-1])
    columns = slice(first, last + 1) if last - first + 1 == cells.columns.size else cells.columns
    return array.isel(latitude=rows, longitude=columns)


def _grid(dataset: xr.Dataset) -> tuple[Array, Array]:
    return dataset["latitude"].values.astype(np.float64), dataset["longitude"].values.astype(np.float64)
