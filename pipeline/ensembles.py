"""The store of ensembles: its layout, writing that can be resumed, and reading.

A piece, the unit of work, is one scenario, one initial time and one block of members. A chunk never spans two pieces.
``done`` marks each finished piece in the same commit as its values, so resuming asks the store itself what it holds.
Beside its members an ensemble holds the background they were drawn about, in the groups ``expected`` and ``deviation``,
so that calibration needs nothing else.
"""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import cftime
import dask.array
import icechunk
import numpy as np
import xarray as xr
import zarr

from pipeline.direct import calibrated_direct, open_direct
from pipeline.errors import TercileError, WorkspaceMismatchError
from pipeline.names import nearest
from pipeline.periods import ENCODING, EPOCH, Cadence, dates, from_dates, seconds
from pipeline.workspace import CODEC, Workspace

Kind = Literal["hindcast", "forecast"]
CHUNK = {"lead_time": 8, "level": 1, "latitude": 16, "longitude": 128}
"""Leads, levels and cells of one chunk, at most; one block of members lies in it whole.

A map of a season or a week does not decode the other leads (decision 18). Few rows make a band of the globe that fits
in memory with any number of members.
"""

LACKING = "lacking"
"""Attribute of an ensemble: JSON, by initial time and group, of what the state lacked that its members begin from."""

BACKGROUND = ("expected", "deviation")
"""Groups below an ensemble: expected state and standard deviation of its background, in transformed units."""


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


def open_ensemble(
    workspace: Workspace | str | Path,
    *,
    model: str,
    kind: Kind = "forecast",
    fingerprint: str | None = None,
    calibrated: bool = False,
    with_dask: bool = True,
) -> xr.Dataset:
    """A stored ensemble, lazily.

    Args:
        workspace: Where, as a workspace or its folder.
        model: Name of the model in its experiment.
        kind: ``forecast``, or ``hindcast`` for out-of-fold members over the training record.
        fingerprint: A certain training of the model; by default the one written last.
        calibrated: Members as calibration changes them, rather than as they were drawn. A hindcast is changed by what
            was learnt without its fold. ``attrs["calibration"]`` says from what it was learnt.
        with_dask: Lazy through Dask; otherwise lazy through xarray alone, which reads whole starts four times as fast.

    Returns:
        Variables ``([scenario], init_time, lead_time, member, [level], latitude, longitude)`` in canonical units with
        ``valid_time`` and ``valid_time_bnds``, starts in the order of time. Members that no piece holds yet are NaN,
        and ``done`` says so.

    Raises:
        TercileError: No such ensemble, or no calibration of it.
    """
    workspace = workspace if isinstance(workspace, Workspace) else Workspace(Path(workspace))
    models = workspace.groups("ensembles")
    if model not in models:
        raise TercileError(f"ensembles: no model '{model}'.{nearest(model, models)}")
    store = workspace.reader("ensembles")
    current = fingerprint or str(zarr.open_group(store, path=model, mode="r").attrs.get("current"))
    path = f"{model}/{current}/{kind}"
    dataset = _held(store, path) if with_dask else open_direct(store, path)
    if dataset is None:
        raise TercileError(f"ensembles: '{model}' has no {kind} of fingerprint {current}. Run `tercile {kind}`.")
    dataset = in_order(dataset, dataset).assign_attrs(model=model, fingerprint=current, kind=kind)
    return _calibrated(workspace, dataset, with_dask=with_dask) if calibrated else dataset


def open_background(
    workspace: Workspace, *, model: str, fingerprint: str, kind: Kind, with_dask: bool = True
) -> tuple[xr.Dataset, xr.Dataset]:
    """Expected state and standard deviation that an ensemble was drawn about, lazily, in transformed units.

    Returns:
        Two data sets, ``([scenario], init_time, lead_time, [level], latitude, longitude)``, without coordinates, in the
        order of ``open_ensemble``.

    Raises:
        TercileError: No such ensemble.
    """
    store = workspace.reader("ensembles")
    read, path = _held if with_dask else open_direct, f"{model}/{fingerprint}/{kind}"
    members, expected, deviation = (read(store, f"{path}{part}") for part in ("", *(f"/{part}" for part in BACKGROUND)))
    if members is None or expected is None or deviation is None:
        raise TercileError(f"ensembles: '{model}' has no {kind} of fingerprint {fingerprint} with its background.")
    return in_order(expected, members), in_order(deviation, members)


def in_order(stored: xr.Dataset, members: xr.Dataset) -> xr.Dataset:
    """A stored ensemble, or its background, with its starts in the order of time: they lie in that of their drawing.

    Hindcasts that are not asked for any more have no fold, and are left out.
    """
    times, fold = seconds(members["init_time"]), members["fold"].values
    rows = np.argsort(times)
    rows = rows[fold[rows] >= 0] if (fold >= 0).any() else rows
    return stored if np.array_equal(rows, np.arange(times.size)) else stored.isel(init_time=rows)


def lacking_at(ensemble: xr.Dataset) -> dict[str, str]:
    """What the states lacked that the members of one initial time begin from: by group, a sentence."""
    kept = json.loads(str(ensemble.attrs.get(LACKING, "{}")))
    return dict(kept.get(dates(ensemble["init_time"]).item().isoformat(), {})) if kept else {}


def _calibrated(workspace: Workspace, ensemble: xr.Dataset, *, with_dask: bool) -> xr.Dataset:
    from pipeline.calibration import calibrate, season_numbers
    from pipeline.products import open_calibration

    model, fingerprint, kind = (ensemble.attrs[name] for name in ("model", "fingerprint", "kind"))
    learnt = open_calibration(workspace, model=model, fingerprint=fingerprint)
    if learnt is None:
        raise TercileError(
            f"ensembles: '{model}' is not calibrated yet. Run `tercile hindcast` and `tercile calibrate`."
        )
    background = open_background(workspace, model=model, fingerprint=fingerprint, kind=kind, with_dask=with_dask)
    about = learnt.attrs["about"]
    if not with_dask:
        return calibrated_direct(ensemble, background, learnt).assign_attrs(calibration=about)
    expected, deviation = background
    made = {
        name: calibrate(
            ensemble[name],
            expected[name],
            deviation[name],
            learnt[name],
            fold=ensemble["fold"].values,
            season=season_numbers(ensemble),
            transform=learnt[name].attrs["transform"],
        )
        for name in learnt.data_vars
    }
    return ensemble.assign(made).assign_attrs(calibration=about)


@dataclass(frozen=True)
class EnsembleWriter:
    """Writes one ensemble piece by piece; any number of workers sample and write, one process commits.

    Attributes:
        workspace: Where.
        model: Name of the model.
        fingerprint: Of its training.
        kind: Forecast or hindcast.
        layout: What is to be there in the end.
    """

    workspace: Workspace
    model: str
    fingerprint: str
    kind: Kind
    layout: Layout

    @property
    def path(self) -> str:
        """Group of the ensemble within the store."""
        return f"{self.model}/{self.fingerprint}/{self.kind}"

    def missing(self) -> list[Piece]:
        """The pieces that no commit holds, numbered as in the layout."""
        held = self._stored()
        if held is None:
            return self.layout.pieces()
        done = held["done"].values.reshape(-1, *held["done"].shape[-2:])
        rows = self._rows_in(held)
        return [
            piece
            for piece in self.layout.pieces()
            if rows[piece.init] < 0 or not done[piece.scenario, rows[piece.init], piece.block]
        ]

    def stale(self, inputs_hash: Sequence[int], fold: Sequence[int]) -> bool:
        """Whether an initial time is stored whose inputs were others, or whose fold had another number."""
        held = self._stored()
        if held is None:
            return False
        stored = list(zip(held["inputs_hash"].values.tolist(), held["fold"].values.tolist(), strict=True))
        wanted = zip(self._rows_in(held), zip(inputs_hash, fold, strict=True), strict=True)
        return any(row >= 0 and stored[row] != one for row, one in wanted)

    def rows(self) -> np.ndarray:
        """Where each initial time of the layout stands in the store, -1 where it does not."""
        return self._rows_in(self._stored())

    def _rows_in(self, held: xr.Dataset | None) -> np.ndarray:
        stored = {} if held is None else {int(value): row for row, value in enumerate(seconds(held["init_time"]))}
        wanted = cftime.date2num(self.layout.init_times, EPOCH, self.layout.init_times[0].calendar)
        return np.array([stored.get(int(value), -1) for value in np.atleast_1d(wanted)])

    @contextmanager
    def drawing(self, *, inputs_hash: Sequence[int], fold: Sequence[int]) -> Iterator[icechunk.Session]:
        """The store's lock, and a session to fork for each piece; nothing else commits within.

        Creates the empty ensemble, or adds the initial times it lacks; what is there stays. An initial time whose
        inputs have changed since is marked as not done, so that its pieces are drawn again; one that is not asked for
        any more loses its fold, since folds are numbered as is asked now. All under one lock: no other run, of other
        inputs perhaps, comes between what the store says of members and their drawing. Another may have drawn them
        while this one waited, so ask within for what is ``missing``.

        Args:
            inputs_hash: Hash of all that the members of each initial time depend on beside the model.
            fold: Fold of each initial time; -1 for a forecast.

        Raises:
            WorkspaceMismatchError: The stored ensemble has another grid, other leads, members or scenarios.
        """
        with self.workspace.committing("ensembles"):
            self._prepare(self._repository.writable_session("main"), inputs_hash, fold)
            yield self._repository.writable_session("main")

    def _prepare(self, session: icechunk.Session, inputs_hash: Sequence[int], fold: Sequence[int]) -> None:
        held = _held(session.store, self.path)
        wanted = _template(self.layout, inputs_hash, fold)
        if held is None:
            _create(session.store, self.path, wanted, self.layout)
        else:
            _refuse_mixture(held, wanted, self.path)
            _extend(session.store, self.path, held, wanted)
        zarr.open_group(session.store, path=self.model, mode="r+").attrs["current"] = self.fingerprint
        if session.has_uncommitted_changes:
            session.commit(f"{self.path}: {len(self.layout.init_times)} initial times")

    def commit(self, forks: Sequence[icechunk.ForkSession], rows: Sequence[int]) -> None:
        """Commit finished pieces, whose initial times stand in these rows, on top of what others finished before."""
        session = self._repository.writable_session("main")
        session.merge(*forks)
        now = int((datetime.now(UTC) - datetime(1850, 1, 1, tzinfo=UTC)).total_seconds())
        for row in set(rows):
            _array(session.store, self.path, "issued_at")[row] = now
        session.commit(f"{self.path}: {len(forks)} pieces")

    def keep_lacking(self, init_times: np.ndarray, sentences: Sequence[Mapping[str, str]]) -> None:
        """Keep what the states at these initial times lack, for :func:`lacking_at`; call within ``drawing``.

        Args:
            init_times: Initial times that are drawn, ``cftime``.
            sentences: For each, by the group that the state is of; none where nothing is missing.
        """
        session = self._repository.writable_session("main")
        attrs = zarr.open_group(session.store, path=self.path, mode="r+").attrs
        held = json.loads(str(attrs.get(LACKING, "{}")))
        drawn = dict(zip((init.isoformat() for init in init_times), sentences, strict=True))
        kept = {init: found for init, found in {**held, **drawn}.items() if found}
        if kept != held:
            attrs[LACKING] = json.dumps(kept)
            session.commit(f"{self.path}: what starts lack")

    @cached_property
    def _repository(self) -> icechunk.Repository:
        return self.workspace.repository("ensembles")

    def _stored(self) -> xr.Dataset | None:
        if not self.workspace.exists("ensembles"):
            return None
        return _stored_at(self.workspace, self.workspace.snapshot("ensembles"), self.path)


@lru_cache(maxsize=16)
def _stored_at(workspace: Workspace, snapshot: str, path: str) -> xr.Dataset | None:
    """An ensemble at one snapshot, which never changes: a run asks what it lacks many times over."""
    store = workspace.repository("ensembles").readonly_session(snapshot_id=snapshot).store
    return open_direct(store, path)


def write_piece(
    store: Any,
    path: str,
    piece: Piece,
    row: int,
    fields: Mapping[str, np.ndarray],
    *,
    members: int,
    forced: bool,
    background: Sequence[Mapping[str, np.ndarray]] = (),
) -> None:
    """Write one piece into an uncommitted session; the first block writes the background too.

    Args:
        store: Store of a (forked) writable session.
        path: Group of the ensemble.
        piece: Which piece.
        row: Position of its initial time in the store.
        fields: By variable, ``(block, lead_time, [level], latitude, longitude)``.
        members: Size of the ensemble: surplus rows of the last block are discarded.
        forced: Whether the ensemble has a scenario dimension.
        background: Expected state and standard deviation by variable, ``(lead_time, [level], latitude, longitude)``;
            an ensemble without them cannot be calibrated.
    """
    lead = (piece.scenario, row) if forced else (row,)
    for name, values in fields.items():
        first = piece.block * values.shape[0]
        last = min(first + values.shape[0], members)
        block = np.moveaxis(values[: last - first], 0, 1)
        _array(store, path, name)[(*lead, slice(None), slice(first, last))] = block.astype("float32")
    if piece.block == 0:
        for part, values_of in zip(BACKGROUND, background, strict=False):
            for name, values in values_of.items():
                _array(store, f"{path}/{part}", name)[lead] = values.astype("float32")
    _array(store, path, "done")[(*lead, piece.block)] = 1


def _array(store: Any, path: str, name: str) -> zarr.Array:
    return zarr.open_array(store, path=f"{path}/{name}", mode="r+")


def _held(store: Any, path: str) -> xr.Dataset | None:
    try:
        coder = xr.coders.CFDatetimeCoder(time_unit="s")
        return xr.open_zarr(store, group=path, consolidated=False, decode_times=coder, decode_timedelta=False)
    except (FileNotFoundError, KeyError):
        return None


def _template(layout: Layout, inputs_hash: Sequence[int], fold: Sequence[int]) -> xr.Dataset:
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


def _create(store: Any, path: str, wanted: xr.Dataset, layout: Layout) -> None:
    times = {"init_time": (4096,), "valid_time": (1024, layout.leads), "valid_time_bnds": (1024, layout.leads, 2)}
    calendar = layout.init_times[0].calendar
    encoding: dict[str, dict[str, Any]] = {
        name: {**ENCODING, "calendar": calendar, "chunks": chunks} for name, chunks in times.items()
    }
    for name in ("issued_at", "inputs_hash", "fold"):
        encoding[name] = {"chunks": (1,)}
    encoding["done"] = {"chunks": tuple([1] * wanted["done"].ndim), "_FillValue": None}
    for field in layout.template.data_vars:
        encoding[str(field)] = {"compressors": (CODEC,), "_FillValue": np.float32(np.nan)}
    with warnings.catch_warnings():
        # The names of scenarios are text, for which Zarr 3 has no settled spelling yet; all readers we use agree on it.
        warnings.filterwarnings("ignore", category=UserWarning, module="zarr")
        warnings.filterwarnings("ignore", category=FutureWarning, module="zarr")
        wanted.to_zarr(store, group=path, mode="w", consolidated=False, zarr_format=3, compute=False, encoding=encoding)
    for name in ("done", "issued_at", "inputs_hash", "fold"):
        _array(store, path, name)[...] = wanted[name].values
    for part in BACKGROUND:
        _background(wanted).to_zarr(
            store,
            group=f"{path}/{part}",
            mode="w",
            consolidated=False,
            zarr_format=3,
            compute=False,
            encoding={str(name): encoding[str(name)] for name in layout.template.data_vars},
        )


def _background(wanted: xr.Dataset) -> xr.Dataset:
    """An empty background for an ensemble: its variables without members and coordinates."""
    fields = wanted[[name for name, array in wanted.data_vars.items() if "member" in array.dims]]
    return fields.isel(member=0, drop=True).drop_vars(list(fields.coords), errors="ignore")


def _refuse_mixture(held: xr.Dataset, wanted: xr.Dataset, path: str) -> None:
    differences = [
        f"{name}: stored {_describe(held, name)}, asked for {_describe(wanted, name)}"
        for name in ("latitude", "longitude", "level", "lead_time", "member", "scenario")
        if not _equal(held, wanted, name)
    ]
    if held.attrs.get("block") != wanted.attrs["block"]:
        differences.append(f"block: stored {held.attrs.get('block')}, asked for {wanted.attrs['block']}")
    if differences:
        raise WorkspaceMismatchError(
            f"ensembles/{path} holds another ensemble ({'; '.join(differences)}). Choose another --workspace."
        )


def _equal(held: xr.Dataset, wanted: xr.Dataset, name: str) -> bool:
    if (name in held.coords) != (name in wanted.coords):
        return False
    return name not in held.coords or np.array_equal(held[name].values, wanted[name].values)


def _describe(dataset: xr.Dataset, name: str) -> str:
    return (
        f"{dataset.sizes[name]} from {dataset[name].values[0]} to {dataset[name].values[-1]}"
        if name in dataset.coords
        else "none"
    )


def _extend(store: Any, path: str, held: xr.Dataset, wanted: xr.Dataset) -> None:
    stored = {int(value): row for row, value in enumerate(seconds(held["init_time"]))}
    labels = seconds(wanted["init_time"])
    folds = np.full(len(stored), -1)
    for position, label in enumerate(labels):
        row = stored.get(int(label))
        if row is None:
            continue
        folds[row] = int(wanted["fold"][position])
        if int(held["inputs_hash"][row]) != int(wanted["inputs_hash"][position]):
            _array(store, path, "inputs_hash")[row] = int(wanted["inputs_hash"][position])
            _array(store, path, "done")[(slice(None), row) if "scenario" in held.dims else row] = 0
    if not np.array_equal(folds, held["fold"].values):
        _array(store, path, "fold")[...] = folds
    new = np.flatnonzero([int(label) not in stored for label in labels])
    if new.size:
        rows = wanted.isel(init_time=new).assign_attrs(held.attrs)  # they replace those of the group
        still = [name for name in rows.variables if "init_time" not in rows[name].dims]
        # Fields are empty and not written, so that their chunks need not be the stored ones.
        grow: dict[str, Any] = {"append_dim": "init_time", "compute": False, "safe_chunks": False}
        rows.drop_vars(still).to_zarr(store, group=path, consolidated=False, **grow)
        for part in BACKGROUND:
            _background(rows).to_zarr(store, group=f"{path}/{part}", consolidated=False, **grow)
