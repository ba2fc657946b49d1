"""A workspace: one folder that belongs to one experiment, and the transactional stores in it.

Every store is an Icechunk repository: a reader sees one snapshot, a crash leaves the last one whole. A local file
system gets one committer at a time, behind an operating-system lock that dies with its process.
"""

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import icechunk
import zarr
from icechunk import IcechunkStore
from zarr.codecs import BloscCodec

from pipeline.errors import NothingThereError, TercileError, WorkspaceMismatchError

SCHEMA_VERSION = 1
STORES = ("archive", "ensembles", "products")

CODEC = BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")
"""Compresses what questions read: to less than Zarr's default, and unpacked in less time (decision 18)."""


@dataclass(frozen=True)
class Workspace:
    """Addresses within one folder."""

    root: Path

    @property
    def models(self) -> Path:
        """Folder of trained models, ``<name>/<fingerprint>/``."""
        return self.root / "models"

    @property
    def reports(self) -> Path:
        """Folder of the report, its figures and ``scorecard.json``."""
        return self.root / "reports"

    def claim(self, identity: Mapping[str, Any]) -> None:
        """Make the folder this experiment's, or find that it already is.

        One that holds no store yet, as after an ingest that was refused, may still become another experiment's.

        Raises:
            WorkspaceMismatchError: It belongs to something else; the message names each difference.
            TercileError: It was written by a newer version.
        """
        path = self.root / "workspace.json"
        if not path.exists():
            if self.root.exists() and any(self.root.iterdir()):
                raise WorkspaceMismatchError(f"{self.root} is not empty and no workspace. Choose another --workspace.")
            self.root.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps({"schema_version": SCHEMA_VERSION, **identity}, indent=2))
            return
        held = json.loads(path.read_text())
        check_schema(held.pop("schema_version", None), path)
        different = [
            f"{key}: here {held.get(key)!r}, asked for {value!r}"
            for key, value in identity.items()
            if held.get(key) != value
        ]
        if different and not any(self.exists(store) for store in STORES):
            write_whole(path, json.dumps({"schema_version": SCHEMA_VERSION, **identity}, indent=2))
        elif different:
            raise WorkspaceMismatchError(
                f"{self.root} holds another system ({'; '.join(different)}). Choose another --workspace."
            )

    def exists(self, store: str) -> bool:
        """Whether a store has been created."""
        # Asking Icechunk makes the folder, and a reader must not leave traces.
        return (self.root / store).is_dir() and icechunk.Repository.exists(self._storage(store))

    def repository(self, store: str) -> icechunk.Repository:
        """The Icechunk repository of a store, created where it is missing.

        Raises:
            TercileError: Written by a newer version of this program.
        """
        make = icechunk.Repository.open if self.exists(store) else icechunk.Repository.create
        repository = make(self._storage(store))
        try:
            version = _schema_of(repository)
        except FileNotFoundError:  # made just now, or by a run that was killed before its first commit
            session = repository.writable_session("main")
            zarr.create_group(session.store, attributes={"schema_version": SCHEMA_VERSION})
            session.commit(f"{store}: created")
            return repository
        check_schema(version, self.root / store)
        return repository

    def reader(self, store: str, *, as_of: datetime | None = None) -> IcechunkStore:
        """A read-only Zarr store of the last snapshot, or of the last one before ``as_of``.

        Raises:
            NothingThereError: The store does not exist.
            TercileError: It held nothing yet at that time.
        """
        if not self.exists(store):
            raise NothingThereError(
                f"{self.root} has no {store} yet. Run `tercile run NAME --workspace {self.root}` first."
            )
        repository = self.repository(store)
        if as_of is None:
            return repository.readonly_session("main").store
        for snapshot in repository.ancestry(branch="main"):
            if snapshot.written_at <= as_of:
                return repository.readonly_session(snapshot_id=snapshot.id).store
        raise TercileError(f"{self.root / store} held nothing as of {as_of.isoformat()}.")

    def snapshot(self, store: str) -> str:
        """Id of the last snapshot of a store that exists."""
        return icechunk.Repository.open(self._storage(store)).lookup_branch("main")

    def keeps(self, store: str, snapshot: str) -> bool:
        """Whether a snapshot of a store can still be read: old ones can be expired, and a store be made anew."""
        try:
            self.repository(store).lookup_snapshot(snapshot)
        except icechunk.IcechunkError:
            return False
        return True

    def groups(self, store: str, *, under: str = "") -> list[str]:
        """Names of the groups below a path of a store; none where it does not exist."""
        if not self.exists(store):
            return []
        try:
            return sorted(zarr.open_group(self.reader(store), mode="r", path=under or None).group_keys())
        except FileNotFoundError:
            return []

    def _storage(self, store: str) -> icechunk.Storage:
        # Icechunk warns at each local opening that commits need one committer; ``committing`` sees to that.
        icechunk.set_logs_filter("error")
        return icechunk.local_filesystem_storage(str(self.root / store))

    @contextmanager
    def committing(self, store: str) -> Iterator[None]:
        """Hold the store's lock: one committer at a time on a local file system.

        A second one waits until the first is done or dead.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f".{store}.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def check_schema(version: object, path: Path) -> None:
    """Refuse what another version of the layout wrote.

    Raises:
        TercileError: The version is newer, or not known at all.
    """
    if version != SCHEMA_VERSION:
        raise TercileError(
            f"{path} has schema_version {version!r}; this program reads {SCHEMA_VERSION}. "
            "Use the version of tercile that wrote it, or a newer one."
        )


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    data = content.encode() if isinstance(content, str) else content
    with whole_file(path) as partial, partial.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write a file, which takes its place once all is written and leaves nothing where it was not.

    Raises:
        OSError: NetCDF could not write it; of a full disk it says no more than that.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        partial.replace(path)
    except RuntimeError as error:
        if "HDF error" not in str(error):
            raise
        raise OSError(errno.EIO, "it cannot be written, as on a full disk", str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def _schema_of(repository: icechunk.Repository) -> object:
    return zarr.open_group(repository.readonly_session("main").store, mode="r").attrs.get("schema_version")
