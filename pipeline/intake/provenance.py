"""Where each step of the archive came from: a record of each ingest, and for each step the ingest that wrote it.

Records are small arrays of their own under ``<group>/provenance``, so that an append rewrites none of the earlier ones.
"""

import json
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import cftime
import numpy as np
import xarray as xr
import zarr

from pipeline.errors import TercileError
from pipeline.periods import EPOCH
from pipeline.workspace import Workspace

SHOWN = 20
"""Origins kept in the newest record of the group's attributes; the full record has them all."""


def next_number(store: Any, group: str) -> int:
    """Number of the ingest that is under way."""
    node = zarr.open_group(store, path=group, mode="r")
    return int(json.loads(str(node.attrs.get("provenance", "[{}]")))[-1].get("number", -1)) + 1


def write_record(store: Any, group: str, record: Mapping[str, Any]) -> None:
    """Add the record of one ingest, dated and with the version of this program."""
    number = next_number(store, group)
    full = {
        **record,
        "number": number,
        "ingested_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_version": version("tercile"),
    }
    node = zarr.open_group(store, path=group, mode="r+")
    data = np.frombuffer(zlib.compress(json.dumps(full).encode()), dtype="uint8")
    records = node.require_group("provenance")
    array = records.create_array(str(number), shape=data.shape, dtype="uint8", chunks=data.shape, compressors=None)
    array[:] = data
    shown = {**full, "origins": full.get("origins", [])[:SHOWN], "gates": None}
    node.attrs["provenance"] = json.dumps([{key: value for key, value in shown.items() if value is not None}])


def same_record(held: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Whether a record says what the newest one says already."""
    shown = {**record, "origins": list(record.get("origins", []))[:SHOWN]}
    return all(held.get(key) == json.loads(json.dumps(value)) for key, value in shown.items())


def read_records(workspace: Workspace, *, group: str) -> list[dict[str, Any]]:
    """All records of a group, the oldest first."""
    root = zarr.open_group(workspace.reader("archive"), mode="r", path=f"{group}/provenance")
    arrays = dict(root.arrays())
    return [json.loads(zlib.decompress(np.asarray(arrays[str(number)][:]).tobytes())) for number in range(len(arrays))]


def step_record(workspace: Workspace, *, group: str, time: str) -> dict[str, Any]:
    """Where one step came from: the record of the ingest that wrote it, with the files that hold its time.

    Args:
        workspace: Where.
        group: Group of the archive.
        time: Its label, as ISO date.

    Raises:
        TercileError: No such step.
    """
    store = workspace.reader("archive")
    labels, numbers = (zarr.open_array(store, path=f"{group}/{name}", mode="r") for name in ("time", "ingest"))
    calendar = str(labels.attrs["calendar"])
    dates = cftime.num2date(np.asarray(labels[:]), EPOCH, calendar)
    at = [row for row, date in enumerate(dates) if date.isoformat().startswith(time)]
    if len(at) != 1:
        raise TercileError(f"archive/{group}: {len(at)} steps are labelled '{time}'; give one whole label.")
    record = read_records(workspace, group=group)[int(np.asarray(numbers[:])[at[0]])]
    label = dates[at[0]].isoformat()
    origins = [origin for origin in record.get("origins", []) if _holds(origin, label)]
    return {**record, "origins": origins, "time": label}


def _holds(origin: Mapping[str, Any], label: str) -> bool:
    first, last = origin.get("first"), origin.get("last")
    return first is None or last is None or first <= label <= last


def first_and_last(dataset: xr.Dataset) -> tuple[str | None, str | None]:
    """First and last label of a data set, as ISO text to the second."""
    if "time" not in dataset.coords or not dataset["time"].size:
        return None, None
    values = np.atleast_1d(dataset["time"].values)
    first, last = (str(value).replace(" ", "T")[:19] for value in (values[0], values[-1]))
    return first, last


def with_spans(origins: list[dict[str, Any]], dataset: xr.Dataset) -> list[dict[str, Any]]:
    """Origins with the range of time that each file holds, as it was found when the files were opened."""
    spans = dataset.encoding.get("spans", {})
    return [{**origin, **spans.get(origin["source"], {})} for origin in origins]
