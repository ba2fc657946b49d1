"""Writing one group of the archive: created from a template, filled block by block, nothing seen before the commit."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from pipeline.periods import ENCODING, dates, seconds

CHUNK_BYTES = 4_000_000
"""Target size of a chunk of the archive; each holds whole fields."""
BLOCK_BYTES = 32_000_000
"""Target size of what is in memory at once, of all variables together."""
TIME_CHUNK = 4096


@dataclass(frozen=True)
class GroupWriter:
    """One group in a session that will be committed or thrown away as a whole.

    Attributes:
        store: Zarr store of the session.
        group: Name.
        names: Its variables.
    """

    store: Any
    group: str
    names: list[str]

    @classmethod
    def create(cls, store: Any, group: str, dataset: xr.Dataset) -> "GroupWriter":
        """A new group with the axes of a data set and room for its values."""
        names = field_names(dataset)
        calendar = str(dates(dataset["time"][:1])[0].calendar)
        codec = BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")
        steps = min(steps_per_chunk(dataset), dataset.sizes["time"])
        encoding: dict[str, dict[str, Any]] = {
            "time": {**ENCODING, "calendar": calendar, "chunks": (TIME_CHUNK,)},
            "time_bnds": {**ENCODING, "calendar": calendar, "chunks": (TIME_CHUNK, 2)},
            "content_hash": {"chunks": (TIME_CHUNK,)},
            "ingest": {"chunks": (TIME_CHUNK,)},
        }
        room = {}
        for name in names:
            array = dataset[name]
            chunks = tuple(steps if dim == "time" else size for dim, size in array.sizes.items())
            room[name] = (array.dims, dask.array.zeros(array.shape, chunks=chunks, dtype="float32"), array.attrs)
            encoding[name] = {"chunks": chunks, "compressors": [codec]}
        axes = (
            dataset[["time_bnds"]]
            .assign_coords(dataset.coords)
            .assign(
                content_hash=("time", np.zeros(dataset.sizes["time"], dtype="int64")),
                ingest=("time", np.zeros(dataset.sizes["time"], dtype="int32")),
            )
        )
        template = _plain(axes.assign(room).assign_attrs(dataset.attrs))
        template.to_zarr(
            store, group=group, mode="w", consolidated=False, zarr_format=3, encoding=encoding, compute=False
        )
        return cls(store, group, names)

    def extend(self, times: NDArray[np.int64], bounds: NDArray[np.int64]) -> None:
        """Room for more steps at the end."""
        for name in (*self.names, "time", "time_bnds", "content_hash", "ingest"):
            array = self._array(name)
            axis = self._time_axis(name)
            grown = list(array.shape)
            grown[axis] += times.size
            array.resize(tuple(grown))
        self._array("time")[-times.size :] = times
        self._array("time_bnds")[-times.size :] = bounds

    def write(self, block: xr.Dataset, rows: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        """Some steps of a block in memory to their places along ``time``."""
        for first, stop in runs_of(places):
            part = block.isel(time=slice(int(rows[first]), int(rows[first]) + stop - first))
            if (np.diff(rows[first:stop]) != 1).any():
                part = block.isel(time=rows[first:stop])
            target = slice(int(places[first]), int(places[first]) + stop - first)
            for name in self.names:
                at: list[slice] = [slice(None)] * part[name].ndim
                at[self._time_axis(name)] = target
                self._array(name)[tuple(at)] = part[name].values

    def read(self, name: str, place: int) -> NDArray[np.float32]:
        """One variable of one step, as the session holds it."""
        at: list[slice | int] = [slice(None)] * self._array(name).ndim
        at[self._time_axis(name)] = place
        return np.asarray(self._array(name)[tuple(at)])

    def finish(
        self, hashes: NDArray[np.int64], places: NDArray[np.int64], number: int, attrs: Mapping[str, Any]
    ) -> None:
        """What is known of the written steps after all of them: hashes, the ingest that wrote them, attributes."""
        for first, stop in runs_of(places):
            target = slice(int(places[first]), int(places[first]) + stop - first)
            self._array("content_hash")[target] = hashes[first:stop]
            self._array("ingest")[target] = np.full(stop - first, number, dtype="int32")
        node = zarr.open_group(self.store, path=self.group, mode="r+")
        node.attrs.update({name: json.dumps(value) for name, value in attrs.items()})

    def _array(self, name: str) -> zarr.Array:
        return zarr.open_array(self.store, path=f"{self.group}/{name}", mode="r+")

    def _time_axis(self, name: str) -> int:
        names: Any = self._array(name).metadata
        return list(names.dimension_names).index("time")


def field_names(dataset: xr.Dataset) -> list[str]:
    """Names of the variables on the grid, in order."""
    return sorted(str(name) for name in dataset.data_vars if "latitude" in dataset[name].dims)


def reads(dataset: xr.Dataset) -> Iterator[slice]:
    """Runs of steps that fit in memory, ending where a chunk of the source ends where they can: none is read twice."""
    names, size = field_names(dataset), dataset.sizes["time"]
    per_step = sum(4 * dataset[name].size for name in names) // max(1, size)
    many = max(1, BLOCK_BYTES // max(1, per_step))
    chunks = dataset[names[0]].chunksizes.get("time", ())
    ends = np.cumsum(chunks) if chunks else np.zeros(0, dtype="int64")
    first = 0
    while first < size:
        whole = ends[(ends > first) & (ends <= first + many)]
        stop = int(whole[-1]) if whole.size else min(size, first + many)
        yield slice(first, stop)
        first = stop


def aligned(parts: Iterable[tuple[slice, xr.Dataset]], *, at: int, size: int) -> Iterator[tuple[slice, xr.Dataset]]:
    """What was read, cut anew where chunks of the archive end; ``at`` is the place of the first step.

    A chunk of the archive is then written once, whatever the chunks of the source. Only chunks that lie across two
    parts are copied.
    """
    rest: xr.Dataset | None = None
    for part, read in parts:
        start, is_last = part.start, part.stop == size
        steps = steps_per_chunk(read)
        if rest is not None:
            wanted = min(-(at + start) % steps, read.sizes["time"])
            rest = xr.concat([rest, read.isel(time=slice(0, wanted))], "time")
            read, start = read.isel(time=slice(wanted, None)), start + wanted
            if (at + start) % steps and not is_last:
                continue
            yield slice(start - rest.sizes["time"], start), rest
        over = 0 if is_last else (at + part.stop) % steps
        cut = max(0, part.stop - start - over)
        rest = read.isel(time=slice(cut, None)) if over else None
        if cut:
            yield slice(start, start + cut), read.isel(time=slice(0, cut))


def steps_per_chunk(dataset: xr.Dataset) -> int:
    """Steps of a chunk of the archive, by the largest variable."""
    sizes = [
        4 * int(np.prod([n for dim, n in dataset[name].sizes.items() if dim != "time"]))
        for name in field_names(dataset)
    ]
    return max(1, CHUNK_BYTES // max(sizes))


def runs_of(places: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """First and stop of each run of consecutive places."""
    if places.size:
        edges = np.concatenate([[0], np.flatnonzero(np.diff(places) != 1) + 1, [places.size]])
        yield from zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)


def bounds_of(dataset: xr.Dataset) -> NDArray[np.int64]:
    """Ends of the periods, seconds since 1850-01-01, ``(time, 2)``."""
    return seconds(dataset["time_bnds"])


def _plain(dataset: xr.Dataset) -> xr.Dataset:
    dataset = dataset.copy()
    for variable in dataset.variables.values():
        variable.encoding = {}
    dataset["time"].attrs = {"standard_name": "time", "axis": "T", "bounds": "time_bnds"}
    dataset["time_bnds"].attrs = {}
    return dataset
