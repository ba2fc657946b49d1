"""Writing an ensemble piece by piece, so that a run that was broken off is resumed.

``done`` marks each finished piece in the same commit as its values: resuming asks the store itself what it holds.
"""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any

import cftime
import icechunk
import numpy as np
import xarray as xr
import zarr

from pipeline.direct import open_direct
from pipeline.ensemble_layout import Layout, Piece, empty_background, empty_ensemble
from pipeline.ensembles import BACKGROUND, LACKING, Kind
from pipeline.errors import WorkspaceMismatchError
from pipeline.periods import ENCODING, EPOCH, seconds
from pipeline.workspace import CODEC, Workspace


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
        held = open_direct(session.store, self.path)
        wanted = empty_ensemble(self.layout, inputs_hash=inputs_hash, fold=fold)
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
        """Keep what the states at these initial times lack, for ``ensembles.lacking_at``; call within ``drawing``.

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
        empty_background(wanted).to_zarr(
            store,
            group=f"{path}/{part}",
            mode="w",
            consolidated=False,
            zarr_format=3,
            compute=False,
            encoding={str(name): encoding[str(name)] for name in layout.template.data_vars},
        )


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
            empty_background(rows).to_zarr(store, group=f"{path}/{part}", consolidated=False, **grow)
