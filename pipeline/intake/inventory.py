"""What the archive holds: variables, time, gaps, snapshots and sizes, and whether it all still reads the same."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import cftime
import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.archive import open_archive, step_hashes
from pipeline.intake.archive_writer import field_names, reads
from pipeline.intake.field_checks import label_text
from pipeline.intake.held import Held, read_held
from pipeline.intake.provenance import read_records
from pipeline.periods import EPOCH, infer_cadence
from pipeline.workspace import Workspace

SHOWN = 10
"""Gaps, ingests and snapshots that are told to people; machines get all of them."""


@dataclass(frozen=True)
class GroupInventory:
    """One group of the archive.

    Attributes:
        group: Name.
        variables: Short name → units, cell methods, dimensions, shape and bytes before compression.
        first: First label.
        last: Last label.
        steps: Number of steps.
        cadence: Length of a period.
        calendar: CF name.
        gaps: Start and end of each stretch without data.
        missing: Share of missing cells by variable.
        ingests: When, what changed and from where, the oldest first.
        faults: What ``verify`` found wrong; None where it was not asked.
    """

    group: str
    variables: dict[str, dict[str, Any]]
    first: str
    last: str
    steps: int
    cadence: str
    calendar: str
    gaps: list[tuple[str, str]]
    missing: dict[str, float]
    ingests: list[dict[str, Any]]
    faults: list[str] | None = None


@dataclass(frozen=True)
class Inventory:
    """The archive of one workspace.

    Attributes:
        groups: Each group.
        snapshots: Id, time and message of each, the newest first.
        stored_bytes: Bytes on disk, of all snapshots.
    """

    groups: list[GroupInventory] = field(default_factory=list)
    snapshots: list[dict[str, str]] = field(default_factory=list)
    stored_bytes: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found wrong."""
        return not any(group.faults for group in self.groups)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """For people."""
        for group in self.groups:
            yield from _group_lines(group)
        yield f"{len(self.snapshots)} snapshots, {self.stored_bytes / 1e6:.3g} MB on disk"
        for snapshot in self.snapshots[:SHOWN]:
            yield f"  {_when(snapshot['written_at'])}  {snapshot['id']}  {snapshot['message']}"


def _group_lines(group: GroupInventory) -> Iterator[str]:
    length = f"× {group.cadence}" if " " in group.cadence else group.cadence
    gaps = f"{len(group.gaps)} gap(s)" if group.gaps else "no gaps"
    yield f"{group.group}: {group.first} to {group.last}, {group.steps} {length}, {group.calendar} calendar, {gaps}"
    for name, about in group.variables.items():
        axes = ", ".join(f"{dim} {size}" for dim, size in zip(about["dims"], about["shape"], strict=True))
        missing = f", {100 * group.missing[name]:.1f} % missing" if group.missing.get(name) else ""
        methods = about["cell_methods"]
        yield f"  {name:9} {about['units']:12} {axes}, {methods}, {about['bytes'] / 1e6:.3g} MB{missing}"
    for start, end in group.gaps[:SHOWN]:
        yield f"  gap       {start} to {end}"
    for record in group.ingests[-SHOWN:]:
        yield f"  ingested  {_ingest_line(record)}"
        for warning in record["warnings"]:
            yield f"  warned    {warning}"
    for fault in (group.faults or ["every step reads as it was written"]) if group.faults is not None else []:
        yield f"  verified  {fault}"


def take_inventory(workspace: Workspace, *, verify: bool = False) -> Inventory:
    """What the archive of a workspace holds.

    Args:
        workspace: Where.
        verify: Read every value again and compare its hash with the one it was written with.

    Raises:
        TercileError: The workspace has no archive.
    """
    store = workspace.reader("archive")
    names = sorted(zarr.open_group(store, mode="r").group_keys())
    groups = [_group(workspace, store, name, verify=verify) for name in names]
    snapshots = [
        {
            "id": snapshot.id,
            "written_at": snapshot.written_at.isoformat(timespec="seconds"),
            "message": snapshot.message,
        }
        for snapshot in workspace.repository("archive").ancestry(branch="main")
    ]
    files = (path for path in (workspace.root / "archive").rglob("*") if path.is_file())
    return Inventory(groups, snapshots, sum(path.stat().st_size for path in files))


def _group(workspace: Workspace, store: Any, name: str, *, verify: bool) -> GroupInventory:
    held = read_held(store, name)
    assert held is not None
    data = open_archive(workspace, group=name)
    variables = {
        field: {
            "units": data[field].attrs.get("units", ""),
            "cell_methods": data[field].attrs.get("cell_methods", ""),
            "shape": list(data[field].shape),
            "dims": [str(dim) for dim in data[field].dims],
            "bytes": data[field].nbytes,
        }
        for field in field_names(data)
    }
    return GroupInventory(
        name,
        variables,
        first=label_text(data["time"].values[0]),
        last=label_text(data["time"].values[-1]),
        steps=held.size,
        cadence=str(infer_cadence(data["time"])) if held.size > 1 else "one step",
        calendar=held.calendar,
        gaps=list(_gaps(held)),
        missing=dict(held.missing),
        ingests=[_summary(record) for record in read_records(workspace, group=name)],
        faults=list(_faults(workspace, name, held)) if verify else None,
    )


def _gaps(held: Held) -> Iterator[tuple[str, str]]:
    for at in np.flatnonzero(held.bounds[1:, 0] > held.bounds[:-1, 1]):
        yield _text(held.bounds[at, 1], held), _text(held.bounds[at + 1, 0], held)


def _faults(workspace: Workspace, name: str, held: Held) -> Iterator[str]:
    """Steps whose values no longer have the hash that they were written with."""
    data = open_archive(workspace, group=name, with_dask=False)
    fields = field_names(data)
    for part in reads(data):
        try:
            found: NDArray[np.int64] = step_hashes(data[fields].isel(time=part).load())
        except Exception as error:  # a damaged chunk fails in whatever way its codec does
            first, last = (_text(held.times[at], held) for at in (part.start, part.stop - 1))
            yield f"{first} to {last} cannot be read ({type(error).__name__}: {error})"
            continue
        for at in np.flatnonzero(found != held.hashes[part]):
            yield f"{_text(held.times[part.start + at], held)} does not read as it was written"


def _text(second: int, held: Held) -> str:
    return label_text(cftime.num2date(int(second), EPOCH, held.calendar).isoformat())


def _summary(record: dict[str, Any]) -> dict[str, Any]:
    keys = ("number", "ingested_at", "kind", "added", "corrected", "corrections", "code_version", "processing")
    warnings = [f"[{line['gate']}] {text}" for line in record.get("gates", []) for text in line["found"]]
    kept = {key: record[key] for key in keys if key in record}
    sources = [origin["source"] for origin in record.get("origins", [])]
    ends = sources if len(sources) < 3 else [sources[0], sources[-1]]
    return kept | {"origins": len(sources), "sources": ends, "warnings": warnings}


def _ingest_line(record: dict[str, Any]) -> str:
    changes = [
        f"{name} by up to {change['largest']:.3g} at {change['steps']} steps from {label_text(change['first'])}"
        for name, change in record.get("corrections", {}).items()
    ]
    changed = f"{record.get('added', '?')} added, {record.get('corrected', '?')} corrected"
    origins = " … ".join(record["sources"]) + (f", {record['origins']} in all" if record["origins"] > 2 else "")
    told = f"{_when(record['ingested_at'])}  {changed}{': ' + '; '.join(changes) if changes else ''}"
    return told + (f", from {origins}" if origins else "")


def _when(text: str) -> str:
    return text.replace("T", " ").replace("+00:00", " UTC")
