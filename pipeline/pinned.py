"""Stores at one state: the last commit, or what they held at a time, the same for all that an answer reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import icechunk
from icechunk import IcechunkStore

from pipeline.errors import TercileError
from pipeline.workspace import STORES, Workspace

States = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class PinnedWorkspace(Workspace):
    """A workspace whose stores are read as they were at given snapshots, whatever is committed meanwhile.

    Attributes:
        states: Store and id of its snapshot.
    """

    states: States = ()

    def snapshot(self, store: str) -> str:
        """Id of the pinned snapshot, or of the last one of a store that is not pinned."""
        return dict(self.states).get(store) or super().snapshot(store)

    def reader(self, store: str, *, as_of: datetime | None = None) -> IcechunkStore:
        """A read-only store of the pinned snapshot, or of an earlier one."""
        if as_of is not None or store not in dict(self.states):
            return super().reader(store, as_of=as_of)
        repository = _repository(Workspace(self.root), store)
        return repository.readonly_session(snapshot_id=dict(self.states)[store]).store


def pinned_archive(workspace: Workspace, *, as_of: datetime | None = None) -> Workspace:
    """The workspace with its archive as it is now, or was at a time, whatever is ingested meanwhile.

    Raises:
        TercileError: The archive held nothing yet at that time.
    """
    if not workspace.exists("archive"):
        return workspace
    state = workspace.snapshot("archive") if as_of is None else _before(workspace, "archive", as_of)
    return PinnedWorkspace(workspace.root, (("archive", state),))


def states_of(workspace: Workspace, *, as_of: datetime | None = None) -> States:
    """The snapshot of each store: the last one, or the last before ``as_of``.

    Raises:
        TercileError: A store held nothing yet at that time.
    """
    stores = [name for name in STORES if workspace.exists(name)]
    if as_of is None:
        return tuple((name, _repository(workspace, name).lookup_branch("main")) for name in stores)
    return tuple((name, _before(workspace, name, as_of)) for name in stores)


@lru_cache(maxsize=64)
def committed(workspace: Workspace, states: States) -> str:
    """When the last of these snapshots was committed: what ``as_of`` gives them again, in UTC."""
    heads = [next(iter(_repository(workspace, name).ancestry(snapshot_id=state))) for name, state in states]
    return max(head.written_at for head in heads).astimezone(UTC).isoformat().replace("+00:00", "Z")


def _before(workspace: Workspace, store: str, as_of: datetime) -> str:
    if as_of.tzinfo is None:
        as_of = as_of.replace(tzinfo=UTC)
    for snapshot in _repository(workspace, store).ancestry(branch="main"):
        if snapshot.written_at <= as_of:
            return snapshot.id
    raise TercileError(f"{store}: held nothing as of {as_of.isoformat()}.")


@lru_cache(maxsize=8)
def _repository(workspace: Workspace, store: str) -> icechunk.Repository:
    return workspace.repository(store)
