"""Products: the reference climatology, and the pointer that says which model issues.

The reference record is the only source of anomalies, percentiles and base rates, so that every answer of a workspace
means the same by "normal".
"""

import json
from collections.abc import Mapping
from typing import Any

import xarray as xr
import zarr

from pipeline.errors import TercileError
from pipeline.periods import ENCODING, dates
from pipeline.workspace import Workspace

REFERENCE = "reference"


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
        encoding = {name: {**ENCODING, "calendar": calendar} for name in ("time", "time_bnds")}
        plain.load().to_zarr(
            session.store, group=REFERENCE, mode="w", consolidated=False, zarr_format=3, encoding=encoding
        )
        session.commit(f"reference: {group} {plain.attrs['period']}")


def open_reference(workspace: Workspace) -> xr.Dataset:
    """The reference record, lazily.

    Raises:
        TercileError: There is none yet.
    """
    if REFERENCE not in workspace.groups("products"):
        raise TercileError(f"{workspace.root} has no reference climatology yet. Run `tercile forecast`.")
    coder = xr.coders.CFDatetimeCoder(time_unit="s")
    return xr.open_zarr(workspace.reader("products"), group=REFERENCE, consolidated=False, decode_times=coder)


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


def read_issue(workspace: Workspace) -> dict[str, Any]:
    """What ``publish_issue`` wrote last.

    Raises:
        TercileError: Nothing has been issued yet.
    """
    text = zarr.open_group(workspace.reader("products"), mode="r").attrs.get("issue")
    if text is None:
        raise TercileError(f"{workspace.root} has issued nothing yet. Run `tercile forecast`.")
    return dict(json.loads(str(text)))
