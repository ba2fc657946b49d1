"""What is still to be done, resolved from what the stores hold, before torch or Prefect is imported."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import zarr

from flows.experiment import Experiment
from flows.system import System, source_hash
from pipeline.products import read_issue
from pipeline.workspace import Workspace, write_whole

Pending = Callable[[Experiment, Workspace], list[str]]


def pending_ingest(experiment: Experiment, workspace: Workspace) -> list[str]:
    """Groups whose source is not what the archive was last filled from."""
    held = workspace.groups("archive")
    if not held:
        return list(experiment.sources)
    root = zarr.open_group(workspace.reader("archive"), mode="r")
    last = {group: json.loads(str(root[group].attrs["provenance"]))[-1]["source_hash"] for group in held}
    return [group for group in experiment.sources if last.get(group) != source_hash(experiment, group)]


def pending_train(experiment: Experiment, workspace: Workspace) -> list[str]:
    """Models without a card for today's configuration and training data."""
    system = System(experiment, workspace)
    system.check_split()
    return [name for name in experiment.models if not (system.model_folder(name) / "card.json").exists()]


def pending_forecast(experiment: Experiment, workspace: Workspace) -> list[str]:
    """Models whose ensemble lacks a piece or had other inputs; ``publish`` where the pointer is old."""
    system = System(experiment, workspace)
    found = []
    for name in experiment.models:
        writer, history = system.writer(name), system.history(name)
        hashes = [system.inputs_hash(init, history=history) for init in writer.layout.init_times]
        if writer.missing() or writer.stale(hashes):
            found.append(name)
    if found or not workspace.exists("products") or read_issue(workspace) != json.loads(json.dumps(system.issue())):
        found.append("publish")
    return found


def pending_verify(experiment: Experiment, workspace: Workspace) -> list[str]:
    """The scorecard, where it was made from other ensembles, truth or settings."""
    wanted = System(experiment, workspace).verify_hash
    return (
        []
        if manifest(workspace).get("verify") == wanted and (workspace.reports / "scorecard.json").exists()
        else ["scorecard"]
    )


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
