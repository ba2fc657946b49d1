"""Export: members as one CF NetCDF file that any tool of the field reads."""

from pathlib import Path

import numpy as np

from pipeline.ensembles import Kind, open_ensemble
from pipeline.periods import ENCODING
from pipeline.products import open_calibration, read_issue
from pipeline.workspace import Workspace, whole_file

_OWN = ("done", "inputs_hash")
"""Book-keeping of the store, of no use outside of it."""


def export_members(
    workspace: Workspace,
    destination: Path,
    *,
    model: str | None = None,
    kind: Kind = "forecast",
    calibrated: bool | None = None,
) -> Path:
    """Write an ensemble as NetCDF-4, whole or not at all; members are read and written piece by piece.

    Args:
        workspace: Where a forecast has been issued.
        destination: The file to write.
        model: Which model; by default the one that issues.
        kind: ``forecast`` or ``hindcast``.
        calibrated: Members as calibration changes them; by default where it has been learnt.

    Returns:
        The file: variables as of ``open_ensemble``, leads of several hours, days, months or years in units such as
        ``6 hours``.

    Raises:
        TercileError: No such ensemble, or no calibration of it.
    """
    issue = read_issue(workspace)
    name = model or str(issue["model"])
    fingerprint = str(issue["fingerprint"]) if name == issue["model"] else None
    ensemble = open_ensemble(workspace, model=name, kind=kind, fingerprint=fingerprint)
    learnt = open_calibration(workspace, model=name, fingerprint=ensemble.attrs["fingerprint"])
    if learnt is not None if calibrated is None else calibrated:
        ensemble = open_ensemble(workspace, model=name, kind=kind, fingerprint=fingerprint, calibrated=True)
    about = ensemble.attrs.pop("calibration", None)
    ensemble = ensemble.drop_vars(_OWN).assign_attrs(
        Conventions="CF-1.11",
        title=str(issue["title"]),
        source=f"tercile, model {name} {ensemble.attrs['fingerprint']}",
        members="calibrated" if about else "as drawn",
        references="; ".join(issue["attributions"]),
    )
    lead = ensemble["lead_time"].attrs
    if lead["step"] != 1:  # the store counts periods; to other tools a lead of "hours" would be that many hours
        lead["units"] = f"{lead['step']} {lead['units']}"
    encoding: dict[str, dict[str, object]] = {
        str(variable): {"zlib": True, "complevel": 4, "shuffle": True, "_FillValue": np.float32(np.nan)}
        for variable, array in ensemble.data_vars.items()
        if "member" in array.dims
    }
    encoding |= {time: dict(ENCODING) for time in ("init_time", "valid_time", "valid_time_bnds", "issued_at")}
    with whole_file(destination) as partial:
        ensemble.drop_encoding().to_netcdf(partial, engine="netcdf4", encoding=encoding)
    return destination
