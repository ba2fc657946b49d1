"""Ingest: sources through the gates into the archive."""

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.experiment import Experiment
from flows.progress import Reporter
from flows.system import known_extent, source_hash
from pipeline.archive import Ingested, ingest, open_archive
from pipeline.checks import check
from pipeline.names import canonical
from pipeline.periods import with_bounds
from pipeline.workspace import Workspace


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
    """Read one source, put it through the gates, and bring its group of the archive up to date."""
    source, variables = experiment.sources[group], experiment.described()
    dataset = with_bounds(canonical(source.open(), variables=variables, spelling=source.spelling))
    held = open_archive(workspace, group=group) if group in workspace.groups("archive") else None
    warnings = check(dataset, variables=variables, held=held)
    record = {
        "source_hash": source_hash(experiment, group),
        "kind": source.kind,
        "attribution": source.attribution,
        "extent": known_extent(dataset),
        "origins": [origin.record() for origin in source.origins()],
        "warnings": [f"[{finding.gate}] {finding.message}" for finding in warnings],
    }
    return ingest(workspace, dataset, group=group, provenance=[record])


ingest_task = task(name="ingest group", task_run_name="ingest {group}", cache_policy=NO_CACHE)(ingest_group)
