"""What is still to be done, resolved from what the stores hold, before torch or Prefect is imported."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import zarr

from flows.demands import check_demands
from flows.experiment import Experiment
from flows.starts import Starts, forecasts, hindcasts
from flows.system import System, origins_of, source_hash
from models.card import has_card
from pipeline.products import find_issue, open_calibration
from pipeline.workspace import Workspace, write_whole

Pending = Callable[[Experiment, Workspace], list[str]]


def pending_ingest(experiment: Experiment, workspace: Workspace) -> list[str]:
    """Groups whose source is not what the archive was last filled from; none where an earlier archive is asked for."""
    if experiment.as_of is not None:
        return []
    held = workspace.groups("archive")
    if not held:
        return list(experiment.sources)
    root = zarr.open_group(workspace.reader("archive"), mode="r")
    last = {group: json.loads(str(root[group].attrs["provenance"]))[-1]["source_hash"] for group in held}
    sources = {group: source_hash(experiment, group, origins_of(experiment, group)) for group in experiment.sources}
    return [group for group, now in sources.items() if last.get(group) != now]


def pending_train(experiment: Experiment, workspace: Workspace) -> list[str]:
    """Models without a card for today's configuration and training data."""
    system = System(experiment, workspace)
    check_demands(system)
    return [name for name in experiment.models if not has_card(system.model_folder(name))]


def pending_hindcast(experiment: Experiment, workspace: Workspace) -> list[str]:
    """Models whose hindcasts lack a piece or had other inputs."""
    system = System(experiment, workspace)
    sets = {name: hindcasts(system, name) for name in experiment.hindcast_models}
    return [name for name, starts in sets.items() if starts and _lacks_pieces(system, name, starts)]


def pending_calibrate(experiment: Experiment, workspace: Workspace) -> list[str]:
    """Models whose calibration was learnt from other hindcasts or another truth."""
    system, found = System(experiment, workspace), []
    for name in experiment.hindcast_models:
        starts = hindcasts(system, name)
        learnt = open_calibration(workspace, model=name, fingerprint=system.fingerprint(name))
        if starts and (learnt is None or learnt.attrs["about"]["content"] != system.calibration_hash(starts, name)):
            found.append(name)
    return found


def pending_forecast(experiment: Experiment, workspace: Workspace) -> list[str]:
    """Models whose ensemble lacks a piece or had other inputs; ``publish`` where the pointer is old."""
    system = System(experiment, workspace)
    starts = forecasts(system)
    found = [name for name in experiment.models if _lacks_pieces(system, name, starts)]
    if found or find_issue(workspace) != json.loads(json.dumps(system.issue())):
        found.append("publish")
    return found


def pending_verify(experiment: Experiment, workspace: Workspace) -> list[str]:
    """The scorecard, where it was made from other ensembles, truth or settings."""
    wanted = System(experiment, workspace).verify_hash
    are_there = all((workspace.reports / name).exists() for name in ("scorecard.json", "evidence.nc"))
    return [] if are_there and manifest(workspace).get("verify") == wanted else ["scorecard"]


def pending_report(experiment: Experiment, workspace: Workspace) -> list[str]:
    """The report, where it was made from other scores or questions."""
    wanted = System(experiment, workspace).report_hash
    return (
        []
        if manifest(workspace).get("report") == wanted and (workspace.reports / "index.html").exists()
        else ["report"]
    )


STAGES: Mapping[str, Pending] = {
    "ingest": pending_ingest,
    "train": pending_train,
    "hindcast": pending_hindcast,
    "calibrate": pending_calibrate,
    "forecast": pending_forecast,
    "verify": pending_verify,
    "report": pending_report,
}
"""The stages of the road in order, each with what tells whether it has work to do."""


def manifest(workspace: Workspace) -> dict[str, Any]:
    """Hashes of what the files in ``reports/`` were made from."""
    path = Path(workspace.reports / "manifest.json")
    return dict(json.loads(path.read_text())) if path.exists() else {}


def remember(workspace: Workspace, **made_from: str) -> None:
    """Note what a file in ``reports/`` was made from."""
    write_whole(workspace.reports / "manifest.json", json.dumps({**manifest(workspace), **made_from}, indent=2))


def _lacks_pieces(system: System, model: str, starts: Starts) -> bool:
    writer = system.writer(model, starts)
    return bool(writer.missing()) or writer.stale(system.inputs_hashes(starts, model), starts.fold.tolist())
