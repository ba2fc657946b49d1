"""The transactional archive of inputs: what was read, when, from where, and what it said at any earlier time.

A group for each scenario or source. Beside the variables each group keeps, along ``time``, the ends of its periods,
``content_hash``, a hash of that step's values, so that later stages recognise equal inputs without reading them, and
``ingest``, the number of the ingest that wrote the step (see ``pipeline.intake.provenance``).
"""

import ctypes
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dask
import icechunk
import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from pipeline.errors import InputRefusedError, TercileError, in_one_line
from pipeline.intake.archive_writer import GroupWriter, aligned, bounds_of, field_names, reads
from pipeline.intake.checks import Checks
from pipeline.intake.field_checks import place_text
from pipeline.intake.held import Held, read_held
from pipeline.intake.provenance import next_number, same_record, write_record
from pipeline.names import nearest
from pipeline.periods import EPOCH, has_bounds, seconds, with_bounds
from pipeline.sources.formats import few_open_files
from pipeline.workspace import Workspace

BLOCKS_PER_TRIM = 4
"""Blocks after which freed memory goes back to the system, which takes time as well."""


@dataclass(frozen=True)
class Ingested:
    """What an ingest changed: numbers of steps.

    Attributes:
        group: Which group.
        added: New steps.
        corrected: Steps with other values than before.
        unchanged: Steps that were there.
        corrections: Of each variable, how many steps changed, from when to when, and by how much at most.
    """

    group: str
    added: int
    corrected: int
    unchanged: int
    corrections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

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
        Variables ``([realization], time, [level], latitude, longitude)`` in canonical units, ``time_bnds``,
        ``content_hash`` and ``ingest``.

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


def step_hashes(dataset: xr.Dataset) -> NDArray[np.int64]:
    """Hash of the values of each step, ``(time,)``: equal values, equal hash, whatever the chunks."""
    labels = seconds(dataset["time"])
    arrays = [dataset[name].transpose("time", ...).values for name in field_names(dataset)]
    found = np.empty(labels.size, dtype="int64")
    for row, label in enumerate(labels):
        digest = hashlib.sha256(label.tobytes())  # processors have instructions for it
        for array in arrays:
            digest.update(np.ascontiguousarray(array[row]).data)
        found[row] = np.frombuffer(digest.digest()[:8], dtype="int64")[0]
    return found


def ingest(
    workspace: Workspace,
    dataset: xr.Dataset,
    *,
    group: str,
    provenance: Sequence[Mapping[str, Any]] = (),
    checks: Checks | None = None,
    confirm: Callable[[], None] | None = None,
) -> Ingested:
    """Bring one group up to date in one transaction; what is already held is left alone.

    Values are read once, block by block: each goes through the gates, is hashed and written before the next one. Only
    when the last has passed is anything committed.

    Args:
        workspace: Where.
        dataset: Canonical, lazily.
        group: Scenario or source.
        provenance: The record of this ingest, a list of at most one.
        checks: The gates; none where not given.
        confirm: Called when everything has been read, just before the commit; what it raises stops the ingest.

    Returns:
        How many steps were added, corrected and already there. The same values from the same source make no snapshot.

    Raises:
        InputRefusedError: A gate blocks, or the source cannot be read to its end.
        TercileError: The new steps do not follow on those held.
    """
    record = dict(provenance[0]) if provenance else {}
    with few_open_files(), workspace.committing("archive"), _swept(workspace) as repository:
        session = repository.writable_session("main")
        if checks is not None:
            checks.labels(dataset)
        held = read_held(session.store, group, before=int(seconds(dataset["time"][:1])[0]))
        dataset = _bounded(dataset, held)
        if checks is not None:
            checks.structure(dataset, held)
        fate = _transfer(session.store, dataset, group, held=held, checks=checks)
        if confirm is not None:
            confirm()
        if not fate.is_new and held is not None and same_record(held.record, record):
            return fate
        gates = {} if checks is None else {"gates": checks.report()}
        write_record(session.store, group, {**record, **_told(fate), **gates})
        session.commit(f"ingest {group}: {fate.added} added, {fate.corrected} corrected")
    return fate


@contextmanager
def _swept(workspace: Workspace) -> Iterator[icechunk.Repository]:
    """The archive's repository, without what an ingest that was killed or refused has left behind.

    Call with the lock held: nobody else writes.
    """
    repository = workspace.repository("archive")
    mark = workspace.root / ".archive.ingesting"
    if mark.exists():
        repository.garbage_collect(datetime.now(UTC))
    mark.touch()
    try:
        yield repository
    except Exception:
        repository.garbage_collect(datetime.now(UTC))
        mark.unlink(missing_ok=True)
        raise
    mark.unlink(missing_ok=True)


def _bounded(dataset: xr.Dataset, held: Held | None) -> xr.Dataset:
    """With the ends of the periods; one new step alone has the cadence of those held."""
    if "time_bnds" in dataset and not has_bounds(dataset):
        dataset = dataset.drop_vars("time_bnds")
    if "time_bnds" in dataset or held is None or dataset.sizes["time"] > 1:
        return with_bounds(dataset)
    numbers = np.unique([*held.times[-2:].tolist(), *seconds(dataset["time"]).tolist()])
    axis = xr.Dataset(coords={"time": ("time", numbers, {"units": EPOCH, "calendar": held.calendar})})
    ends = with_bounds(xr.decode_cf(axis, decode_times=xr.coders.CFDatetimeCoder(time_unit="s")))["time_bnds"]
    return dataset.assign(time_bnds=(("time", "bnds"), ends.sel(time=dataset["time"]).values))


def _transfer(store: Any, dataset: xr.Dataset, group: str, *, held: Held | None, checks: Checks | None) -> Ingested:
    """Read, check, hash and write block by block; the next block is read while this one is worked on."""
    places, names = _places(dataset, held, group), field_names(dataset)
    is_old = places < (0 if held is None else held.size)
    added = int((~is_old).sum())
    if held is None:
        writer = GroupWriter.create(store, group, dataset)
    else:
        writer = GroupWriter(store, group, names)
        if added:
            writer.extend(seconds(dataset["time"])[~is_old], bounds_of(dataset)[~is_old])
    hashes, changed = np.empty(places.size, dtype="int64"), np.zeros(places.size, dtype=bool)
    corrections: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(1) as pen:
        writing = None
        read = _ahead(dataset, names)
        for part, block in aligned(read, at=int(places[0]), size=places.size):
            if checks is not None:
                checks.look(block)
            hashes[part] = step_hashes(block)
            old = is_old[part]
            differ = ~old
            if held is not None:
                differ[old] = hashes[part][old] != held.hashes[places[part][old] - held.offset]
            changed[part] = differ
            rows = np.flatnonzero(differ)
            if writing is not None:
                writing.result()
            _compare(corrections, writer, block, rows[old[rows]], places[part])
            writing = pen.submit(writer.write, block, rows, places[part][rows])
        if writing is not None:
            writing.result()
    if checks is not None:
        checks.finish(held)
    corrected = int((changed & is_old).sum())
    if changed.any():
        attrs = {} if checks is None else {"missing": checks.missing}
        writer.finish(hashes[changed], places[changed], next_number(store, group), attrs)
    return Ingested(group, added, corrected, places.size - added - corrected, corrections)


def _ahead(dataset: xr.Dataset, names: list[str]) -> Iterator[tuple[slice, xr.Dataset]]:
    """Each part in memory; the next one is read meanwhile."""
    parts = list(reads(dataset))
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(_load, dataset, names, parts[0])
        for index, part in enumerate(parts):
            block = coming.result()
            if index + 1 < len(parts):
                coming = reader.submit(_load, dataset, names, parts[index + 1])
            yield part, block
            if index % BLOCKS_PER_TRIM == BLOCKS_PER_TRIM - 1:
                _return_memory()


def _return_memory() -> None:
    """Give freed blocks back to the system: glibc keeps them in arenas that would grow with the length of a record."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _load(dataset: xr.Dataset, names: list[str], part: slice) -> xr.Dataset:
    block = dataset[names].isel(time=part)
    try:
        with dask.config.set(scheduler="threads"):
            return block.load()
    except InputRefusedError:
        raise
    except Exception as error:  # whatever lies behind a lazy array may fail in its own way
        first, last = (place_text(block["time"].values[at], dataset.encoding.get("spans", {})) for at in (0, -1))
        raise InputRefusedError(
            f"source: cannot read {', '.join(names)} from {first} to {last} ({in_one_line(error)}). "
            "Nothing was written. Fetch the files of that time again."
        ) from error


def _places(dataset: xr.Dataset, held: Held | None, group: str) -> NDArray[np.int64]:
    """The place of each step along the archive's time.

    Raises:
        TercileError: New steps lie before the last one held, or leave a gap after it.
    """
    labels = seconds(dataset["time"])
    if held is None:
        return np.arange(labels.size)
    places = held.offset + np.searchsorted(held.times, labels)
    known = np.isin(labels, held.times)
    new = labels[~known]
    if new.size and new[0] <= held.times[-1]:
        raise TercileError(
            f"archive/{group}: new steps lie before the last one held. Ingest the whole record into a new workspace."
        )
    if new.size and bounds_of(dataset)[~known][0, 0] != held.bounds[-1, 1]:
        first = dataset["time"].values[~known][0]
        raise TercileError(f"archive/{group}: a gap is left between the last step held and the first new one, {first}.")
    places[~known] = held.size + np.arange(new.size)
    return places.astype("int64")


def _compare(
    found: dict[str, dict[str, Any]], writer: GroupWriter, block: xr.Dataset, rows: NDArray, places: NDArray
) -> None:
    """Take note of how the values of some steps differ from those held."""
    for row in rows:
        label = str(block["time"].values[row])
        for name in writer.names:
            ours, theirs = block[name].isel(time=row).values, writer.read(name, int(places[row]))
            if np.array_equal(ours, theirs, equal_nan=True):
                continue
            largest = float(np.nanmax(np.abs(ours - theirs), initial=0.0))
            note = found.setdefault(name, {"steps": 0, "first": label, "last": label, "largest": 0.0})
            note.update(steps=note["steps"] + 1, last=label, largest=max(note["largest"], largest))


def _told(fate: Ingested) -> dict[str, Any]:
    return {"added": fate.added, "corrected": fate.corrected, "corrections": fate.corrections}
