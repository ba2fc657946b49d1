"""Opening one file of whatever format, guarded: a file that lies about itself is refused before it is read.

NetCDF 3 and 4 and HDF5 by ``netCDF4``, GRIB 1 and 2 by ``cfgrib``, Zarr 2 and 3 by ``zarr``. The format is told from
the first bytes, never from the name.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.errors import InputRefusedError
from pipeline.intake.processing import Processing, narrowed
from pipeline.names import DIMENSIONS, labelled_inside, rename_dimensions
from pipeline.sources.grib import open_grib

READ_BYTES = 16_000_000
"""Target size of what is read at once of one variable."""
MAX_FIELD_BYTES = 1_000_000_000
"""A single field or chunk larger than this is refused; the globe at 0.02 degrees has fewer."""
MAX_COORDINATE = 50_000_000
"""Values of a coordinate, at most: a century in minutes has fewer."""
MAX_INFLATION = 5_000
"""Times that data may be larger than its file; deflate itself reaches 1032."""
SMALL_BYTES = 1_000_000_000
"""Below this, data may be any number of times larger than its file, as a constant field is."""
OPEN_FILES = 8
"""Files that are kept open; each holds memory, and every one is read once."""
TIMES = xr.coders.CFDatetimeCoder(time_unit="s")


def open_file(path: Path, process: Processing) -> xr.Dataset:
    """One file or Zarr folder, lazily, its dimensions in our names, with a dimension ``time``.

    Args:
        path: Where.
        process: What will be done with it: what lies beyond its years and its box is never read.

    Raises:
        InputRefusedError: It cannot be read, or declares what cannot be; the message names the file.
    """
    kind = kind_of(path)
    try:
        found = {"netcdf": _open_netcdf, "grib": _open_grib, "zarr": _open_zarr}[kind](path)
        return in_chunks(labelled_inside(_with_time(rename_dimensions(found))), process)
    except InputRefusedError as error:
        raise InputRefusedError(f"source: {path}: {error}") from error
    except Exception as error:  # readers of foreign bytes raise whatever they like; all of it means one thing
        is_time = "unable to decode time" in str(error)
        remedy = "Give its times as days, hours or seconds since a date." if is_time else "Fetch or write it again."
        raise InputRefusedError(
            f"source: cannot read {path} as {kind} ({type(error).__name__}: {error}). {remedy}"
        ) from error


def few_open_files() -> AbstractContextManager[Any]:
    """Within it no more than ``OPEN_FILES`` stay open."""
    return xr.set_options(file_cache_maxsize=OPEN_FILES)  # type: ignore[no-untyped-call]


def kind_of(path: Path) -> str:
    """``netcdf``, ``grib`` or ``zarr``, by the first bytes.

    Raises:
        InputRefusedError: None of them.
    """
    if path.is_dir():
        if any((path / name).exists() for name in ("zarr.json", ".zmetadata", ".zgroup")):
            return "zarr"
        raise InputRefusedError(f"source: cannot read {path}: a folder that holds no Zarr group.")
    with path.open("rb") as handle:
        head = handle.read(64)
    return kind_of_bytes(head, str(path))


def kind_of_bytes(head: bytes, name: str) -> str:
    """``netcdf`` or ``grib``, by the first bytes of a file.

    Raises:
        InputRefusedError: Neither; a web page in the place of data is called by its name.
    """
    if head[:3] == b"CDF" or head[:8] == b"\x89HDF\r\n\x1a\n":
        return "netcdf"
    if head[:4] == b"GRIB":
        return "grib"
    if head.lstrip()[:1] == b"<":
        raise InputRefusedError(
            f"source: cannot read {name}: it is a web page, not data. Open it to see what the server says."
        )
    raise InputRefusedError(
        f"source: cannot read {name}: neither NetCDF, HDF5, GRIB nor Zarr (it begins with {head[:8]!r})."
    )


def _open_netcdf(path: Path) -> xr.Dataset:
    import netCDF4

    with netCDF4.Dataset(path) as raw:
        _refuse_absurd(raw, path.stat().st_size)
    return xr.open_dataset(path, chunks=None, decode_times=TIMES, engine="netcdf4")


def _refuse_absurd(raw: Any, stored: int) -> None:
    """Refuse what would fill memory or what is not all there, from the header alone."""
    declared = 0
    for name, variable in raw.variables.items():
        size = int(np.prod([int(count) for count in variable.shape], dtype=object)) * _item_bytes(variable)
        declared += size
        refuse_size(name, tuple(variable.shape), _item_bytes(variable), chunk=variable.chunking())
    if raw.data_model.startswith("NETCDF3") and declared > stored:
        raise InputRefusedError(f"truncated: {declared} bytes of data declared, {stored} there. Fetch it again.")
    if declared > max(SMALL_BYTES, MAX_INFLATION * stored):
        raise InputRefusedError(f"declares {declared / 1e9:.3g} GB of data in a file of {stored} bytes.")


def refuse_size(name: str, shape: tuple[int, ...], item_bytes: int, *, chunk: Any = None) -> None:
    """Refuse a coordinate, a field or a chunk that no climate data has.

    Raises:
        InputRefusedError: Too large.
    """
    if len(shape) == 1 and shape[0] > MAX_COORDINATE:
        raise InputRefusedError(f"'{name}' has {shape[0]} values; a coordinate has at most {MAX_COORDINATE}.")
    if isinstance(chunk, list | tuple):
        size = int(np.prod([int(count) for count in chunk], dtype=object)) * item_bytes
        if size > MAX_FIELD_BYTES:
            raise InputRefusedError(f"'{name}' has chunks of {size / 1e9:.3g} GB; write it in smaller ones.")
    field = int(np.prod([int(count) for count in shape[-2:]], dtype=object)) * item_bytes
    if len(shape) > 1 and field > MAX_FIELD_BYTES:
        raise InputRefusedError(f"'{name}' has fields of {shape[-2:]} cells, {field / 1e9:.3g} GB each.")


def _item_bytes(variable: Any) -> int:
    return int(getattr(variable.dtype, "itemsize", 1) or 1)


def in_chunks(dataset: xr.Dataset, process: Processing) -> xr.Dataset:
    """The part that is wanted of a data set that has not been read, in reads of about ``READ_BYTES``.

    A read takes whole chunks of what is stored.
    """
    dataset = narrowed(dataset, process)
    fields = [field for field in dataset.data_vars.values() if "time" in field.dims and field.ndim > 2]
    if not fields:
        return dataset.chunk()
    return dataset.chunk({"time": min(_steps_at_once(field) for field in fields)})


def _steps_at_once(field: xr.DataArray) -> int:
    stored = field.encoding.get("preferred_chunks", {})
    whole = int(next((size for dim, size in stored.items() if str(dim).lower() in DIMENSIONS["time"]), 1))
    per_step = 4 * field.size // max(1, field.sizes["time"])
    return max(1, READ_BYTES // max(1, per_step) // whole) * whole


def _open_grib(path: Path) -> xr.Dataset:
    return open_grib(path, decode_times=TIMES)


def _open_zarr(path: Path) -> xr.Dataset:
    import zarr

    return open_zarr_store(zarr.storage.LocalStore(path, read_only=True), group=None)


def open_zarr_store(store: Any, *, group: str | None, can_list: bool = True) -> xr.Dataset:
    """A Zarr group of any store and version, lazily, without Dask.

    Raises:
        InputRefusedError: It declares what cannot be, or lies where nothing can be listed and does not name its arrays.
    """
    import zarr

    node = zarr.open_group(store, path=group or "", mode="r")
    if not can_list and node.metadata.consolidated_metadata is None:
        raise InputRefusedError(
            "no consolidated metadata, without which a web server's store cannot be read. Add them to the store with "
            "`zarr.consolidate_metadata`."
        )
    for name, array in node.arrays():
        refuse_size(name, array.shape, array.dtype.itemsize, chunk=array.chunks)
    consolidated = node.metadata.consolidated_metadata is not None
    return xr.open_zarr(store, group=group, chunks=None, decode_times=TIMES, consolidated=consolidated)


def _with_time(dataset: xr.Dataset) -> xr.Dataset:
    """A single field becomes a record of one step."""
    if "time" in dataset.dims or "time" not in dataset.coords:
        return dataset
    fields = [name for name in dataset.data_vars if {"latitude", "longitude"} <= set(dataset[name].dims)]
    return dataset.assign({name: dataset[name].expand_dims("time") for name in fields})
