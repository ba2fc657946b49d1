"""Reading for one answer: through xarray alone, since Dask's bookkeeping takes as long as the reading itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dask
import numpy as np
import xarray as xr
from icechunk import IcechunkStore
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from pipeline.member_by_member import departures, season_numbers, stretched


def open_direct(store: IcechunkStore, group: str) -> xr.Dataset | None:
    """A stored group, lazily and without Dask, its times in memory; None where there is no such group.

    Args:
        store: Of a session on a store of the workspace.
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
        readers: From :func:`readers_of`, where several calibrations of the same members shall read them once.

    Returns:
        ``drawn`` with the variables that the calibration knows replaced, still lazy.
    """
    folds = drawn["fold"].values if fold is None else np.full(drawn.sizes["init_time"], fold)
    made = {}
    for name, reader in (readers or readers_of(drawn, background, learnt)).items():
        array = indexing.LazilyIndexedArray(_Calibrated(reader, fold=folds))
        made[name] = (drawn[name].dims, array, drawn[name].attrs, drawn[name].encoding)
    return drawn.assign(made)


def readers_of(drawn: xr.Dataset, background: tuple[xr.Dataset, xr.Dataset], learnt: xr.Dataset) -> dict[str, LastRead]:
    """What calibrations of the same members have in common, by variable; arguments as of :func:`calibrated_direct`."""
    expected, deviation = background
    season, stored = season_numbers(drawn), stored_by_member(drawn)
    return {
        str(name): LastRead(drawn[name], expected[name], deviation[name], coefficients, season=season, stored=stored)
        for name, coefficients in learnt.data_vars.items()
    }


def stored_by_member(ensemble: xr.Dataset) -> xr.DataArray:
    """Which members are stored, ``([scenario], [init_time], member)``: those of the pieces that are done."""
    done = ensemble["done"].astype(bool)
    values = np.repeat(done.values, ensemble.attrs["block"], axis=-1)[..., : ensemble.sizes["member"]]
    return xr.DataArray(values, dims=[*done.dims[:-1], "member"])


@dataclass(frozen=True)
class _Part:
    """What was read at some positions.

    Attributes:
        mean: Anomaly of the ensemble mean; this, ``expected`` and ``deviation`` have one member.
        apart: Departure of each member from it.
        expected: Of the background.
        deviation: Likewise.
        coefficients: Dims ``(coefficient, fold, lead_time, season, [level], latitude, longitude)``.
        season: Its place among those of the coefficients, ``(init_time, lead_time)``.
    """

    mean: NDArray[Any]
    apart: NDArray[Any]
    expected: NDArray[Any]
    deviation: NDArray[Any]
    coefficients: NDArray[Any]
    season: NDArray[Any]

    @property
    def nbytes(self) -> int:
        """Bytes of it."""
        return sum(array.nbytes for array in (self.mean, self.apart, self.expected, self.deviation, self.coefficients))


class LastRead:
    """A variable with its background and coefficients, and the parts of them that were read last.

    Calibrations that differ in numbers alone so read, and take the mean, once.
    """

    MOST = 128_000_000  # bytes that are kept

    def __init__(
        self,
        members: xr.DataArray,
        expected: xr.DataArray,
        deviation: xr.DataArray,
        coefficients: xr.DataArray,
        *,
        season: xr.DataArray,
        stored: xr.DataArray,
    ) -> None:
        self.members, self.expected, self.deviation, self.season = members, expected, deviation, season
        shared = {dim: 1 for dim in members.dims if dim not in stored.dims}
        counted = stored | ~stored.any("member")  # of a start without any member all are missing
        self.stored = counted.expand_dims(shared).transpose(*members.dims)
        self.coefficients = coefficients
        self.transform = str(coefficients.attrs["transform"])
        self._kept: tuple[tuple[object, _Part], ...] = ()

    def read(self, wanted: Mapping[Any, Any]) -> _Part:
        """The part at these positions, of all members."""
        key = tuple((dim, part if isinstance(part, slice) else part.tobytes()) for dim, part in wanted.items())
        kept = self._kept  # one look, since other threads read too
        found = next((part for held, part in kept if held == key), None)
        if found is None:
            found = self._read(wanted)
            kept = ((key, found), *kept)
            sizes = np.cumsum([part.nbytes for _, part in kept])
            self._kept = kept[: int((sizes <= self.MOST).sum())]
        return found

    def _read(self, wanted: Mapping[Any, Any]) -> _Part:
        at = self.members.dims.index("member")
        season = _of(self.season, wanted)
        first, last = int(season.min()), int(season.max())
        learnt = self.coefficients.isel(season=slice(first, last + 1))
        with dask.config.set(scheduler="synchronous"):
            members, coefficients = self.members.isel(wanted).values, _of(learnt, wanted, shared="lead_time")
            expected, deviation = (np.expand_dims(_of(part, wanted), at) for part in (self.expected, self.deviation))
        stored = _of(self.stored, {dim: part for dim, part in wanted.items() if self.stored.sizes[dim] > 1})
        mean, apart = departures(
            members, expected, deviation, member_axis=at, transform=self.transform, stored=bool(stored.all()) or stored
        )
        return _Part(mean, apart, expected, deviation, coefficients, season - first)


class _Calibrated(BackendArray):
    """Calibrated members that look like a stored array; whatever members are asked for, all of a cell are read."""

    def __init__(self, drawn: LastRead, *, fold: NDArray[np.int64]) -> None:
        rows = {int(number): row for row, number in enumerate(drawn.coefficients["fold"].values)}
        self.drawn, self.row = drawn, np.array([rows[int(number)] for number in fold])
        self.shape, self.dtype = drawn.members.shape, np.dtype("float32")

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[np.float32]:
        wanted = dict(zip(self.drawn.members.dims, key, strict=True))
        kept = {
            dim: slice(part, part + 1) if isinstance(part, int | np.integer) else part for dim, part in wanted.items()
        }
        part = self.drawn.read({dim: chosen for dim, chosen in kept.items() if dim != "member"})
        rows, leads = self.row[kept["init_time"]], np.arange(part.season.shape[1])
        learnt = np.minimum(leads, part.coefficients.shape[2] - 1)  # one lead stands for all
        coefficients = part.coefficients[:, rows[:, np.newaxis], learnt, part.season][:, :, :, np.newaxis]
        background = part.expected, part.deviation
        made = stretched(part.mean, part.apart, *background, coefficients, transform=self.drawn.transform)
        made = made[tuple(kept[dim] if dim == "member" else slice(None) for dim in wanted)]
        return np.asarray(made[tuple(0 if isinstance(chosen, int | np.integer) else slice(None) for chosen in key)])


def _of(array: xr.DataArray, wanted: Mapping[Any, Any], *, shared: str = "") -> NDArray[Any]:
    """The same cells, leads and starts of another array; one ``shared`` lead stands for all."""
    own = {dim: part for dim, part in wanted.items() if dim in array.dims}
    return array.isel({dim: part for dim, part in own.items() if dim != shared or array.sizes[dim] > 1}).values
