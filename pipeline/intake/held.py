"""What a group of the archive holds already, as plain numbers: the part of it that an append has to look at."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

TAIL = 24
"""Steps at the end of a group from which its cadence can be told."""


@dataclass(frozen=True)
class Held:
    """A group's coordinates and hashes.

    Attributes:
        size: Number of steps.
        offset: The first step that the arrays below have; earlier ones do not matter to an append.
        times: Labels, seconds since 1850-01-01 in ``calendar``, ``(time,)``.
        bounds: Ends of the periods, in the same seconds, ``(time, 2)``.
        hashes: Hash of each step's values, ``(time,)``.
        calendar: CF name of the calendar.
        space: Name → values of the other coordinates.
        cell_methods: By variable.
        missing: Share of missing cells by variable, over all that has been kept so far.
        record: The newest record of provenance.
    """

    size: int
    offset: int
    times: NDArray[np.int64]
    bounds: NDArray[np.int64]
    hashes: NDArray[np.int64]
    calendar: str
    space: Mapping[str, NDArray[Any]]
    cell_methods: Mapping[str, str]
    missing: Mapping[str, float]
    record: Mapping[str, Any]


def read_held(store: Any, group: str, *, before: int | None = None) -> Held | None:
    """What a group of a store holds, or None where there is none.

    Args:
        store: A Zarr store.
        group: Its name.
        before: Seconds of the first label that would be appended; where all of the group lies before it, only its last
            steps are read, whatever its length.
    """
    root = zarr.open_group(store, mode="r")
    if group not in root:
        return None
    node = root[group]
    assert isinstance(node, zarr.Group)
    arrays = dict(node.arrays())
    space = ("latitude", "longitude", "level", "realization")
    fields = {name: array for name, array in arrays.items() if array.ndim > 2}
    size = arrays["time"].shape[0]
    is_append = before is not None and int(np.asarray(arrays["time"][-1])) < before
    offset = max(0, size - TAIL) if is_append else 0
    return Held(
        size=size,
        offset=offset,
        times=np.asarray(arrays["time"][offset:]),
        bounds=np.asarray(arrays["time_bnds"][offset:]),
        hashes=np.asarray(arrays["content_hash"][offset:]),
        calendar=str(arrays["time"].attrs["calendar"]),
        space={name: np.asarray(arrays[name][:]) for name in space if name in arrays},
        cell_methods={name: str(array.attrs.get("cell_methods", "")) for name, array in fields.items()},
        missing=json.loads(str(node.attrs.get("missing", "{}"))),
        record=json.loads(str(node.attrs.get("provenance", "[{}]")))[-1],
    )
