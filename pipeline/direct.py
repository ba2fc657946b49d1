"""Reading for one answer: through xarray alone, since Dask's bookkeeping takes as long as the reading itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dask
import numpy as np
import xarray as xr
from icechunk import IcechunkStore
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing


def open_direct(store: IcechunkStore, group: str) -> xr.Dataset | None:
    """A stored group, lazily and without Dask, its times in memory; None where there is no such group.

    Args:
        store: A read-only store of a workspace.
        group: Path of the group.
    """
    coder = xr.coders.CFDatetimeCoder(time_unit="s")
    try:
        dataset = xr.open_zarr(
            store, group=group, consolidated=False, decode_times=coder, decode_timedelta=False, chunks=None
        )
    except (FileNotFoundError, KeyError):
        return None
    small = ("valid_time", "valid_time_bnds", "time_bnds", "done", "issued_at", "fold")
    times = [name for name in small if name in dataset]
    return dataset.assign({name: dataset[name].load() for name in times})


def calibrated_direct(
    drawn: xr.Dataset,
    background: tuple[xr.Dataset, xr.Dataset],
    learnt: xr.Dataset,
    *,
    fold: int | None = None,
    readers: Mapping[str, LastRead] | None = None,
) -> xr.Dataset:
    """The calibrated members of a stored ensemble, read and changed cell by cell as they are asked for, without Dask.

    Args:
        drawn: Members as they were drawn, from ``open_direct``.
        background: Expected state and deviation that they were drawn about, from ``open_direct``.
        learnt: From ``pipeline.products.open_calibration``.
        fold: Use what was learnt without this part of the hindcasts, instead of what suits each start.
        readers: By variable, shared by calibrations of the same members.

    Returns:
        ``drawn`` with the variables that the calibration knows replaced, still lazy.
    """
    from pipeline.calibration import season_numbers  # loads scipy.stats

    season = season_numbers(drawn)
    made = {}
    folds = drawn["fold"].values if fold is None else np.full(drawn.sizes["init_time"], fold)
    for name, coefficients in learnt.data_vars.items():
        reader = (readers or {}).get(str(name)) or LastRead(drawn[name])
        parts = (reader, background[0][name], background[1][name], coefficients)
        array = indexing.LazilyIndexedArray(_Calibrated(*parts, fold=folds, season=season))
        made[name] = (drawn[name].dims, array, drawn[name].attrs, drawn[name].encoding)
    return drawn.assign(made)


class LastRead:
    """An array and the part of it that was read last, so that calibrations which differ in numbers alone read once."""

    MOST = 64_000_000  # bytes that are kept

    def __init__(self, array: xr.DataArray) -> None:
        self.array = array
        self._last: tuple[object, xr.DataArray] | None = None

    def read(self, kept: Mapping[Any, Any]) -> xr.DataArray:
        """The part at these positions."""
        key = tuple((dim, part if isinstance(part, slice) else part.tobytes()) for dim, part in kept.items())
        last = self._last
        if last is None or last[0] != key:
            last = (key, self.array.isel(kept).load())
            self._last = last if last[1].nbytes <= self.MOST else None
        return last[1]


class _Calibrated(BackendArray):
    """Calibrated members that look like a stored array; whatever members are asked for, all of a cell are read."""

    def __init__(
        self,
        drawn: LastRead,
        expected: xr.DataArray,
        deviation: xr.DataArray,
        coefficients: xr.DataArray,
        *,
        fold: NDArray[np.int64],
        season: xr.DataArray,
    ) -> None:
        self.drawn, self.expected, self.deviation, self.coefficients = drawn, expected, deviation, coefficients
        self.fold, self.season = fold, season
        self.shape, self.dtype = drawn.array.shape, np.dtype("float32")

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[np.float32]:
        from pipeline.calibration import calibrate

        dims = self.drawn.array.dims
        wanted = dict(zip(dims, key, strict=True))
        kept = {
            dim: slice(part, part + 1) if isinstance(part, int | np.integer) else part for dim, part in wanted.items()
        }
        every = {dim: part for dim, part in kept.items() if dim != "member"}
        with dask.config.set(scheduler="synchronous"):
            made = calibrate(
                self.drawn.read(every),
                _part(self.expected, every),
                _part(self.deviation, every),
                _part(self.coefficients, every, shared=("lead_time",)),
                fold=self.fold[every["init_time"]],
                season=_part(self.season, every),
                transform=self.coefficients.attrs["transform"],
            ).values
        at = tuple(
            part if dim == "member" else 0 if isinstance(part, int | np.integer) else slice(None)
            for dim, part in wanted.items()
        )
        return np.asarray(made[at])


def _part(array: xr.DataArray, kept: Mapping[Any, Any], *, shared: tuple[str, ...] = ()) -> xr.DataArray:
    """The same cells, leads and starts of another array; one lead that is ``shared`` stands for all."""
    own = {dim: part for dim, part in kept.items() if dim in array.dims}
    return array.isel({dim: part for dim, part in own.items() if not (dim in shared and array.sizes[dim] == 1)}).load()
