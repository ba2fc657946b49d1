"""Ingest: sources through the gates into the archive."""

import json
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.experiment import Experiment
from flows.progress import Reporter
from flows.system import known_extent, origins_of, source_hash
from pipeline.archive import Ingested, ingest
from pipeline.errors import InputRefusedError, SourceChangedError
from pipeline.intake.checks import Checks
from pipeline.intake.provenance import with_spans
from pipeline.workspace import Workspace, write_whole


@flow(name="ingest", validate_parameters=False)
def ingest_flow(experiment: Experiment, workspace: Workspace, groups: list[str], reporter: Reporter) -> list[Ingested]:
    """Bring the groups up to date, each in a transaction of its own."""
    done = []
    for position, group in enumerate(groups):
        done.append(ingest_task(experiment, workspace, group))
        reporter.update("groups", position + 1, len(groups))
        reporter.say(
            f"  {group}: {done[-1].added} steps added, {done[-1].corrected} corrected, {done[-1].unchanged} unchanged"
        )
    return done


def ingest_group(experiment: Experiment, workspace: Workspace, group: str) -> Ingested:
    """Read one source, put it through the gates, and bring its group of the archive up to date.

    Raises:
        InputRefusedError: A gate blocks; nothing was kept.
        SourceChangedError: The source changed while it was read; nothing was kept.
    """
    source, variables = experiment.sources[group], experiment.described()
    checks = Checks(variables, experiment.gates, source=group)
    origins = origins_of(experiment, group)
    dataset = source.read(variables)
    record = {
        "source_hash": source_hash(experiment, group, origins),
        "kind": source.kind,
        "attribution": source.attribution,
        "extent": known_extent(dataset),
        "processing": source.process.model_dump(mode="json", exclude_none=True),
        "origins": with_spans(origins, dataset),
    }

    def confirm() -> None:
        if origins_of(experiment, group) != origins:
            raise SourceChangedError(f"{group}: the source changed while it was read. Run the same command again.")

    try:
        return ingest(workspace, dataset, group=group, provenance=[record], checks=checks, confirm=confirm)
    except SourceChangedError:
        raise  # confirmed already
    except InputRefusedError:
        confirm()  # a gate may have found nothing but two states of one source
        raise
    finally:
        _report(workspace, group, checks)


def _report(workspace: Workspace, group: str, checks: Checks) -> None:
    """Keep what the gates found of the last attempt, refused or not."""
    path = workspace.reports / "gates.json"
    earlier: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    write_whole(path, json.dumps({**earlier, group: checks.report()}, indent=2))


ingest_task = task(name="ingest group", task_run_name="ingest {group}", cache_policy=NO_CACHE)(ingest_group)
