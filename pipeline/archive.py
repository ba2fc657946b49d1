"""The transactional archive of inputs: what was read, when, from where, and what it said at any earlier time.

A group for each scenario or source. Beside the variables each group keeps, along ``time``, the ends of its periods and
``content_hash``, a hash of that step's values, so that later stages recognise equal inputs without reading them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr
import zarr

from pipeline.errors import TercileError
from pipeline.names import nearest
from pipeline.periods import ENCODING, dates, seconds
from pipeline.workspace import Workspace

CHUNK_BYTES = 4_000_000
"""Target size of a chunk of the archive; each holds whole fields."""


@dataclass(frozen=True)
class Ingested:
    """What an ingest changed: numbers of steps."""

    group: str
    added: int
    corrected: int
    unchanged: int

    @property
    def is_new(self) -> bool:
        """Whether anything changed at all."""
        return self.added + self.corrected > 0


def open_archive(
    workspace: Workspace, *, group: str, as_of: datetime | None = None, with_dask: bool = True
) -> xr.Dataset:
    """One group of the archive, lazily.

    Args:
        workspace: Where.
        group: Scenario or source.
        as_of: Read what the archive held at that time.
        with_dask: Lazy through Dask; otherwise lazy through xarray alone, as the tasks of a cluster must read, whose
            threads would wait for one another.

    Returns:
        Variables ``([realization], time, [level], latitude, longitude)`` in canonical units, ``time_bnds`` and
        ``content_hash``.

    Raises:
        TercileError: No such group.
    """
    store = workspace.reader("archive", as_of=as_of)
    groups = sorted(zarr.open_group(store, mode="r").group_keys())
    if group not in groups:
        raise TercileError(f"archive: no group '{group}'.{nearest(group, groups)}")
    coder = xr.coders.CFDatetimeCoder(time_unit="s")
    chunks: dict[str, int] | None = {} if with_dask else None
    return xr.open_zarr(store, group=group, consolidated=False, decode_times=coder, chunks=chunks)


def step_hashes(dataset: xr.Dataset) -> np.ndarray:
    """Hash of the values of each step, int64 ``(time,)``: equal values, equal hash, whatever the chunks."""
    names = sorted(str(name) for name in dataset.data_vars if "latitude" in dataset[name].dims)
    labels = seconds(dataset["time"])
    found = np.empty(labels.size, dtype="int64")
    for first in range(0, labels.size, 256):
        block = dataset[names].isel(time=slice(first, first + 256)).load()
        arrays = [block[name].transpose("time", ...).values for name in names]
        for row, label in enumerate(labels[first : first + 256]):
            digest = hashlib.blake2b(label.tobytes(), digest_size=8)
            for array in arrays:
                digest.update(np.ascontiguousarray(array[row]).tobytes())
            found[first + row] = np.frombuffer(digest.digest(), dtype="int64")[0]
    return found


def ingest(
    workspace: Workspace, dataset: xr.Dataset, *, group: str, provenance: Sequence[Mapping[str, Any]]
) -> Ingested:
    """Bring one group up to date in one transaction; what is already held is left alone.

    Args:
        workspace: Where.
        dataset: Canonical and checked, with ``time_bnds``.
        group: Scenario or source.
        provenance: A record for each file.

    Returns:
        How many steps were added, corrected and already there. The same values from the same source make no snapshot.

    Raises:
        TercileError: The new steps do not follow on those held.
    """
    with workspace.committing("archive"):
        repository = workspace.repository("archive")
        dataset = dataset.assign(content_hash=("time", step_hashes(dataset)))
        held = _held(workspace, group)
        if held is None:
            fate = Ingested(group, dataset.sizes["time"], 0, 0)
        else:
            fate = _compare(held, dataset, group)
            if not fate.is_new and _is_recorded(held, provenance):
                return fate
        session = repository.writable_session("main")
        if fate.is_new:
            _write(session.store, dataset, group, held=held)
        _record(session.store, group, provenance)
        session.commit(f"ingest {group}: {fate.added} added, {fate.corrected} corrected")
    return fate


def _is_recorded(held: xr.Dataset, provenance: Sequence[Mapping[str, Any]]) -> bool:
    last = json.loads(str(held.attrs["provenance"]))[-len(provenance) :] if provenance else []
    return [_undated(record) for record in last] == [_undated(record) for record in provenance]


def _undated(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "ingested_at"}


def _held(workspace: Workspace, group: str) -> xr.Dataset | None:
    return open_archive(workspace, group=group) if group in workspace.groups("archive") else None


def _compare(held: xr.Dataset, dataset: xr.Dataset, group: str) -> Ingested:
    before = dict(zip(seconds(held["time"]), held["content_hash"].values, strict=True))
    after = dict(zip(seconds(dataset["time"]), dataset["content_hash"].values, strict=True))
    added = sorted(label for label in after if label not in before)
    if added and added[0] <= max(before):
        raise TercileError(
            f"archive/{group}: new steps lie before the last one held. Ingest the whole record into a new workspace."
        )
    if added and seconds(dataset["time_bnds"])[sorted(after).index(added[0]), 0] != seconds(held["time_bnds"])[-1, 1]:
        raise TercileError(f"archive/{group}: after {held['time_bnds'].values[-1, 1]} the new steps leave a gap.")
    same = sum(int(before[label] == after[label]) for label in after if label in before)
    return Ingested(group, len(added), len(after) - len(added) - same, same)


def _write(store: Any, dataset: xr.Dataset, group: str, *, held: xr.Dataset | None) -> None:
    fields = [name for name in dataset.data_vars if "latitude" in dataset[name].dims]
    steps = _steps_per_chunk(dataset[fields[0]])
    dataset = dataset.chunk({"time": steps}) if held is None else dataset
    dataset = _plain(dataset)
    if held is None:
        encoding: dict[str, dict[str, Any]] = {"time": {**ENCODING, "calendar": _calendar(dataset), "chunks": (4096,)}}
        encoding["time_bnds"] = {**ENCODING, "calendar": _calendar(dataset), "chunks": (4096, 2)}
        encoding["content_hash"] = {"chunks": (4096,)}
        dataset.to_zarr(store, group=group, mode="w", consolidated=False, zarr_format=3, encoding=encoding)
        return
    old = np.isin(seconds(dataset["time"]), seconds(held["time"]))
    again, new = dataset.isel(time=np.flatnonzero(old)), dataset.isel(time=np.flatnonzero(~old))
    if again.sizes["time"]:
        first = int(np.searchsorted(seconds(held["time"]), seconds(again["time"])[0]))
        region = {"time": slice(first, first + again.sizes["time"])}
        rewritten = again.drop_vars([name for name in again.variables if "time" not in again[name].dims])
        rewritten.load().to_zarr(store, group=group, region=region, consolidated=False)
    if new.sizes["time"]:
        new.load().to_zarr(store, group=group, append_dim="time", consolidated=False)


def _plain(dataset: xr.Dataset) -> xr.Dataset:
    dataset = dataset.copy()
    for variable in dataset.variables.values():
        variable.encoding = {}
    for name in ("time", "time_bnds"):
        dataset[name].attrs = {"standard_name": "time", "axis": "T", "bounds": "time_bnds"} if name == "time" else {}
    return dataset


def _record(store: Any, group: str, provenance: Sequence[Mapping[str, Any]]) -> None:
    node = zarr.open_group(store, path=group, mode="r+")
    earlier = json.loads(str(node.attrs.get("provenance", "[]")))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    node.attrs["provenance"] = json.dumps(earlier + [{**record, "ingested_at": now} for record in provenance])


def _steps_per_chunk(array: xr.DataArray) -> int:
    per_step = 4 * int(np.prod([size for dim, size in array.sizes.items() if dim != "time"]))
    return max(1, min(array.sizes["time"], CHUNK_BYTES // per_step))


def _calendar(dataset: xr.Dataset) -> str:
    return str(dates(dataset["time"])[0].calendar)
