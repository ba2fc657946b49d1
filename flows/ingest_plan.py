"""What an ingest would fetch, without fetching it: addresses, bytes, range of time, and the chunks it would fill.

Servers are asked for sizes and axes. Where none answers, a record that is published in a fixed layout is still known.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from flows.experiment import Experiment
from pipeline.errors import TercileError
from pipeline.intake.archive_writer import field_names, steps_per_chunk
from pipeline.intake.field_checks import label_text
from pipeline.intake.processing import narrowed, process
from pipeline.names import DIMENSIONS, Variable, canonical, find_fields
from pipeline.sources import CdsSource, HttpSource, Source
from pipeline.sources.noaa import NoaaSource

LOCAL = ("files", "sample")
"""Kinds of sources that are here: what refuses them now would refuse the ingest."""

SHOWN = 3
"""Addresses that are told to people; machines get all of them."""


@dataclass(frozen=True)
class GroupPlan:
    """What one group would take.

    Attributes:
        group: Name.
        kind: Of its source.
        addresses: Files, URLs or requests.
        processing: What would be done to the data.
        basis: Where the figures come from: ``files``, ``server``, ``published layout``, or ``nothing``.
        unknown: What cannot be said now, and why.
        refused: Why an ingest would be refused, if that is known.
        fetched_bytes: Bytes of the files, or of the chunks of the selection before compression.
        first: First label after processing, or the first year that is asked for.
        last: Last label, or the last year.
        shapes: Variable → shape in the archive.
        dims: Variable → names of its dimensions.
        chunks: Variable → shape of a chunk of the archive.
    """

    group: str
    kind: str
    addresses: list[str]
    processing: dict[str, Any]
    basis: str = "nothing"
    unknown: list[str] = field(default_factory=list)
    refused: str | None = None
    fetched_bytes: int | None = None
    first: str | None = None
    last: str | None = None
    shapes: dict[str, list[int]] = field(default_factory=dict)
    dims: dict[str, list[str]] = field(default_factory=dict)
    chunks: dict[str, list[int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"{self.group}: {self.kind}"
        for address in self.addresses[:SHOWN]:
            yield f"  from      {address}"
        if len(self.addresses) > SHOWN:
            yield f"            … and {len(self.addresses) - SHOWN} more, {len(self.addresses)} in all"
        for step, setting in self.processing.items():
            yield f"  {step:9} {_told(setting)}"
        if self.fetched_bytes is not None:
            about = "about " if self.basis == "published layout" else ""
            yield f"  fetches   {about}{_size(self.fetched_bytes)}"
        if self.first is not None:
            yield f"  time      {self.first} to {self.last}"
        for name, shape in self.shapes.items():
            axes = ", ".join(f"{dim} {size}" for dim, size in zip(self.dims[name], shape, strict=True))
            chunk = dict(zip(self.dims[name], self.chunks[name], strict=True))
            in_all, each = (_size(4 * int(np.prod(sizes))) for sizes in (shape, self.chunks[name]))
            yield f"  writes    {name} ({axes}), {in_all}, in chunks of {chunk['time']} steps, {each} each"
        if self.basis == "published layout":
            yield "  known     from the layout that the record is published in"
        for what in self.unknown:
            yield f"  unknown   {what}"
        if self.refused is not None:
            yield f"  refused   {self.refused}"


def plan_ingest(experiment: Experiment) -> list[GroupPlan]:
    """What an ingest of each group would fetch and write; servers are asked for sizes and axes, and need not answer."""
    return [_plan(experiment, group) for group in experiment.sources]


def _plan(experiment: Experiment, group: str) -> GroupPlan:
    source, variables = experiment.sources[group], experiment.described()
    wants = source.wants()
    known = _years(source) | _published(source, variables)
    quick = source.model_copy(update={"tries": 1} if hasattr(source, "tries") else {})
    unknown, refused = list(wants.unknown), None
    try:
        known |= _sizes(quick) if _is_download(source) else _axes(quick, variables)
    except TercileError as error:
        if source.kind in LOCAL:
            refused = str(error)
        else:
            unknown.append(f"what is there now: {str(error).removeprefix('source: ')}")
    if not known.get("shapes") and not refused:
        unknown.append("grid and chunks: the data say so once they are here")
    processing = source.process.model_dump(mode="json", exclude_defaults=True)
    return GroupPlan(group, source.kind, wants.addresses, processing, unknown=unknown, refused=refused, **known)


def _years(source: Source) -> dict[str, Any]:
    years = source.process.years
    return {} if years is None else dict(zip(("first", "last"), map(str, years), strict=True))


def _published(source: Source, variables: Mapping[str, Variable]) -> dict[str, Any]:
    """What is known of a record that is published in a fixed layout."""
    raw = source.outline()
    if raw is None:
        return {}
    read = raw if _is_download(source) else narrowed(raw, source.process)
    data = process(canonical(raw, variables=variables, spelling={}), source.process, accumulated=source.accumulated)
    stored = _stored_bytes(read, {name: name for name in variables}, variables)
    return {"basis": "published layout", "fetched_bytes": stored} | _shapes(data)


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
    return {"basis": "server", "fetched_bytes": sum(size for size in sizes if size is not None)}


def _axes(source: Source, variables: Mapping[str, Variable]) -> dict[str, Any]:
    """What opening tells of a source that is read lazily."""
    raw = source.open()
    data = source.prepared(raw, variables)
    fields = find_fields(raw, variables=variables, spelling=source.spelling)
    basis = "files" if source.kind in LOCAL else "server"
    return {"basis": basis, "fetched_bytes": _stored_bytes(raw, fields, variables)} | _shapes(data)


def _shapes(data: xr.Dataset) -> dict[str, Any]:
    """Range of time, shapes and chunks that a processed data set has in the archive."""
    names, steps = field_names(data), steps_per_chunk(data)
    sizes = {name: dict(data[name].sizes) for name in names}
    return {
        "first": label_text(data["time"].values[0]),
        "last": label_text(data["time"].values[-1]),
        "shapes": {name: list(sizes[name].values()) for name in names},
        "dims": {name: [str(dim) for dim in sizes[name]] for name in names},
        "chunks": {
            name: [min(steps, size) if dim == "time" else size for dim, size in sizes[name].items()] for name in names
        },
    }


def _stored_bytes(raw: xr.Dataset, fields: Mapping[str, str], variables: Mapping[str, Variable]) -> int:
    """Bytes of the chunks that hold the wanted fields, as the source stores them, before compression."""
    found = 0
    for name, stored in fields.items():
        field = raw[stored]
        if variables[name].level is not None and "level" in field.dims:
            field = field.isel(level=slice(max(1, _levels_at_once(field))))
        found += field.size * np.dtype(field.encoding.get("dtype", "float32")).itemsize
    return found


def _levels_at_once(field: xr.DataArray) -> int:
    """Levels that one chunk of the source holds."""
    chunks = field.encoding.get("preferred_chunks", {})
    return next((size for dim, size in chunks.items() if str(dim).lower() in DIMENSIONS["level"]), 1)


def _told(setting: Any) -> str:
    """A setting of the processing in words."""
    if isinstance(setting, dict):
        return ", ".join(f"{key} {_told(value)}" for key, value in setting.items())
    if isinstance(setting, list) and len(setting) == 2:
        return f"{setting[0]} to {setting[1]}"
    return ", ".join(map(str, setting)) if isinstance(setting, list) else str(setting)


def _size(count: float) -> str:
    """Bytes, as people say them."""
    power = min(4, int(np.log10(max(1.0, count)) // 3))
    return f"{count / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
