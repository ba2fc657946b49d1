"""Products: the reference climatology, what calibration has learnt, and the pointer that says which model issues.

The reference record is the only source of anomalies, percentiles and base rates, so that every answer of a workspace
means the same by "normal".
"""

import json
import warnings
from collections.abc import Hashable, Mapping
from typing import Any

import xarray as xr
import zarr

from pipeline.errors import NothingIssuedError
from pipeline.periods import ENCODING, dates
from pipeline.workspace import CODEC, Workspace

REFERENCE = "reference"
CALIBRATION = "calibration"


STORED = {"level": 1, "latitude": 16, "longitude": 64}
"""Cells of one chunk of the reference, which holds all of its times: questions read few cells and every year."""

LEARNT = {"lead_time": 1, "level": 1, "latitude": 32, "longitude": 64}
"""Leads and cells of one chunk of a calibration: questions read few leads, and every fold for an interval."""


def publish_reference(workspace: Workspace, record: xr.Dataset, *, group: str, content: str) -> None:
    """Store the reference record, ``(time, [level], latitude, longitude)``, unless it is there already.

    Args:
        workspace: Where.
        record: Fields over the reference years, with ``time_bnds``.
        group: Group of the archive it was taken from.
        content: Hash of the record; equal means nothing to do.
    """
    with workspace.committing("products"):
        session = workspace.repository("products").writable_session("main")
        root = zarr.open_group(session.store, mode="r+")
        if REFERENCE in root and root[REFERENCE].attrs.get("content") == content:
            return
        calendar = str(dates(record["time"])[0].calendar)
        plain = record.drop_encoding()
        year = plain["time"].dt.year.values
        plain.attrs = {"group": group, "period": f"{year[0]}-{year[-1]}", "content": content}
        plain["time"].attrs = {"standard_name": "time", "bounds": "time_bnds"}
        encoding: dict[Hashable, dict[str, Any]] = {
            name: {**ENCODING, "calendar": calendar} for name in ("time", "time_bnds")
        }
        for name, field in plain.data_vars.items():
            if "latitude" in field.dims:
                encoding[name] = {"chunks": _chunks(field, STORED), "compressors": (CODEC,)}
        plain.load().to_zarr(
            session.store, group=REFERENCE, mode="w", consolidated=False, zarr_format=3, encoding=encoding
        )
        session.commit(f"reference: {group} {plain.attrs['period']}")


def _chunks(field: xr.DataArray, most: Mapping[str, int]) -> tuple[int, ...]:
    """Whole axes but for those named, which have at most so many places in a chunk."""
    return tuple(min(size, most.get(str(dim), size)) for dim, size in field.sizes.items())


def publish_calibration(
    workspace: Workspace, coefficients: xr.Dataset, *, model: str, fingerprint: str, about: Mapping[str, Any]
) -> None:
    """Store what was learnt on a model's hindcasts, in place of what was learnt before.

    Args:
        workspace: Where.
        coefficients: By variable, as ``pipeline.calibration`` learns them, the variable's ``transform`` an attribute.
        model: Name of the model.
        fingerprint: Of its training.
        about: What it was learnt from, and ``content``, the hash of all that.
    """
    plain = coefficients.drop_encoding().assign_attrs(about=json.dumps(about))
    with workspace.committing("products"):
        session = workspace.repository("products").writable_session("main")
        with warnings.catch_warnings():
            # Names of coefficients are text, for which Zarr 3 has no settled spelling yet; all readers we use agree.
            warnings.filterwarnings("ignore", module="zarr")
            plain.to_zarr(
                session.store,
                group=f"{CALIBRATION}/{model}/{fingerprint}",
                mode="w",
                consolidated=False,
                zarr_format=3,
                encoding={
                    name: {"chunks": _chunks(field, LEARNT), "compressors": (CODEC,)}
                    for name, field in plain.data_vars.items()
                },
            )
        session.commit(f"calibration: {model}")


def open_calibration(workspace: Workspace, *, model: str, fingerprint: str) -> xr.Dataset | None:
    """What ``publish_calibration`` stored last for a training of a model, lazily; None where there is nothing."""
    if fingerprint not in workspace.groups("products", under=f"{CALIBRATION}/{model}"):
        return None
    group = f"{CALIBRATION}/{model}/{fingerprint}"
    found = xr.open_zarr(workspace.reader("products"), group=group, consolidated=False)
    return found.assign_attrs(about=json.loads(found.attrs["about"]))


def publish_issue(workspace: Workspace, issue: Mapping[str, Any]) -> None:
    """Point to the model that issues, with all that answers need to say of it; equal content makes no snapshot."""
    text = json.dumps(issue, sort_keys=True)
    with workspace.committing("products"):
        session = workspace.repository("products").writable_session("main")
        root = zarr.open_group(session.store, mode="r+")
        if root.attrs.get("issue") == text:
            return
        root.attrs["issue"] = text
        session.commit(f"issue: {issue['model']}")


def find_issue(workspace: Workspace) -> dict[str, Any] | None:
    """What ``publish_issue`` wrote last; None where nothing has been issued yet."""
    if not workspace.exists("products"):
        return None
    text = zarr.open_group(workspace.reader("products"), mode="r").attrs.get("issue")
    return None if text is None else dict(json.loads(str(text)))


def read_issue(workspace: Workspace) -> dict[str, Any]:
    """What ``publish_issue`` wrote last.

    Raises:
        NothingIssuedError: Nothing has been issued yet.
    """
    found = find_issue(workspace)
    if found is None:
        raise NothingIssuedError(
            f"{workspace.root} has issued nothing yet. Run `tercile run NAME --workspace {workspace.root}`."
        )
    return found
