"""What an ingest would fetch, without fetching it: addresses, bytes, range of time, and the chunks it would fill."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import xarray as xr

from flows.experiment import Experiment
from pipeline.archive_writer import field_names, steps_per_chunk
from pipeline.errors import TercileError
from pipeline.field_checks import label_text
from pipeline.sources import CdsSource, HttpSource, Source
from pipeline.sources.noaa import NoaaSource

SHOWN = 5


@dataclass(frozen=True)
class GroupPlan:
    """What one group would take.

    Attributes:
        group: Name.
        kind: Of its source.
        addresses: Files, URLs or requests.
        processing: What would be done to the data.
        unknown: What cannot be said now, and why.
        fetched_bytes: Bytes of the files, or of the selection before compression.
        first: First label after processing, or the first year that is asked for.
        last: Last label, or the last year.
        shapes: Variable → shape in the archive.
        chunks: Variable → shape of a chunk of the archive.
    """

    group: str
    kind: str
    addresses: list[str]
    processing: dict[str, Any]
    unknown: list[str] = field(default_factory=list)
    fetched_bytes: int | None = None
    first: str | None = None
    last: str | None = None
    shapes: dict[str, list[int]] = field(default_factory=dict)
    chunks: dict[str, list[int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"{self.group}: {self.kind}, {len(self.addresses)} address(es)"
        for address in self.addresses[:SHOWN]:
            yield f"  from     {address}"
        if len(self.addresses) > SHOWN:
            yield f"           … and {len(self.addresses) - SHOWN} more"
        for step, setting in self.processing.items():
            yield f"  {step:8} {setting}"
        if self.fetched_bytes is not None:
            yield f"  fetches  {self.fetched_bytes / 1e6:.4g} MB"
        if self.first is not None:
            yield f"  time     {self.first} to {self.last}"
        for name, shape in self.shapes.items():
            yield f"  writes   {name} {shape}, chunks {self.chunks[name]}"
        for what in self.unknown:
            yield f"  unknown  {what}"


def plan_ingest(experiment: Experiment) -> list[GroupPlan]:
    """What an ingest of each group would fetch and write; servers are asked for sizes and axes, and need not answer."""
    return [_plan(experiment, group) for group in experiment.sources]


def _plan(experiment: Experiment, group: str) -> GroupPlan:
    source = experiment.sources[group]
    wants = source.wants()
    known: dict[str, Any] = {
        "addresses": wants.addresses,
        "processing": source.process.model_dump(mode="json", exclude_none=True),
    }
    quick = source.model_copy(update={"tries": 1} if hasattr(source, "tries") else {})
    try:
        known |= _sizes(quick) if _is_download(source) else _axes(quick, experiment)
        unknown = list(wants.unknown)
    except TercileError as error:
        unknown = [*wants.unknown, f"bytes, grid and chunks: {error}"]
    if source.process.years is not None and "first" not in known:
        known |= dict(zip(("first", "last"), map(str, source.process.years), strict=True))
    if _is_download(source):
        unknown += ["grid and chunks: the files say so once they are here"]
    return GroupPlan(group, source.kind, unknown=list(dict.fromkeys(unknown)), **known)


def _is_download(source: Source) -> bool:
    """Whether opening it would fetch whole files."""
    return isinstance(source, CdsSource | HttpSource) or (isinstance(source, NoaaSource) and source.access == "http")


def _sizes(source: Source) -> dict[str, Any]:
    """Bytes of files that would be downloaded, as their server tells them."""
    plain = source.transport() if isinstance(source, NoaaSource) else source
    if not isinstance(plain, HttpSource):
        return {}
    sizes = [download.size() for download in plain.downloads()]
    if None in sizes:
        silent = plain.addresses()[sizes.index(None)]
        raise TercileError(f"{silent} does not answer with a size")
    return {"fetched_bytes": sum(size for size in sizes if size is not None)}


def _axes(source: Source, experiment: Experiment) -> dict[str, Any]:
    """What opening tells of a source that is read lazily."""
    raw, data = source.open(), source.read(experiment.described())
    names = field_names(data)
    steps = steps_per_chunk(data)
    return {
        "fetched_bytes": _selected_bytes(raw, data, names),
        "first": label_text(data["time"].values[0]),
        "last": label_text(data["time"].values[-1]),
        "shapes": {name: list(data[name].shape) for name in names},
        "chunks": {
            name: [min(steps, size) if dim == "time" else size for dim, size in data[name].sizes.items()]
            for name in names
        },
    }


def _selected_bytes(raw: xr.Dataset, data: xr.Dataset, names: list[str]) -> int:
    """Bytes of the wanted variables on the source's grid, before compression."""
    per_cell = sum(4 * raw.sizes.get("level", 1) if "level" in data[name].dims else 4 for name in names)
    cells = raw.sizes.get("latitude", 1) * raw.sizes.get("longitude", 1) * raw.sizes.get("realization", 1)
    return per_cell * cells * raw.sizes.get("time", 1)
