"""Report: the worked questions, the scorecard and the pictures on one page that needs no network."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xarray as xr
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.experiment import BEST, Experiment
from flows.plan import remember
from flows.progress import Reporter
from flows.system import System
from flows.verify import is_calibrated, opened
from pipeline.answers.issued import ask
from pipeline.ensembles import lacking_at
from pipeline.errors import TercileError
from pipeline.events.errors import QuestionError
from pipeline.judging.evidence import read_evidence
from pipeline.products import read_issue
from pipeline.reporting.report import Report, Source, write_report
from pipeline.sources.base import SourceConfig
from pipeline.workspace import Workspace, write_whole

BECAUSE = {
    True: "it had the least CRPS on hindcasts of years it had not seen, allowing for the fewer years of their fits",
    False: "the experiment names it",
}
"""Why a model issues, by whether it was chosen."""


@flow(name="report", validate_parameters=False)
def report_flow(experiment: Experiment, workspace: Workspace, todo: list[str], reporter: Reporter) -> None:
    """Answer the experiment's questions and write the page."""
    report_task(experiment, workspace, reporter)


def make_report(experiment: Experiment, workspace: Workspace, reporter: Reporter) -> Path:
    """Write ``reports/index.html`` and ``reports/answers.json``; nothing is left half-written.

    Raises:
        TercileError: Questions that this forecast cannot answer; the page is there, with the others and why.
    """
    system = System(experiment, workspace)
    made_from = system.report_hash  # first: another run may draw or learn meanwhile
    answers, refused = _answers(experiment, workspace)
    headlines = [f"{answer['question']['reads_as']}\n  {answer['headline']['text']}" for answer in answers.values()]
    content = {"headlines": headlines, "answers": answers}
    write_whole(workspace.reports / "answers.json", json.dumps(content, indent=2, default=str))
    contents = _contents(system, list(answers.values()), refused, reporter)
    page = write_report(workspace.reports / "index.html", report=contents)
    if refused:
        raise TercileError(f"{page} is written without what could not be answered.\n  " + "\n  ".join(refused))
    remember(workspace, report=made_from)
    return page


def _answers(experiment: Experiment, workspace: Workspace) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Answers by name, and a sentence for each question that is refused."""
    answers, refused = {}, []
    for name, text in experiment.events.items():
        try:
            answers[name] = ask(workspace, text).to_json()
        except QuestionError as error:
            refused.append(f"events.{name}: {error}")
    return answers, refused


report_task = task(name="write report", cache_policy=NO_CACHE)(make_report)


def _contents(system: System, answers: list[dict[str, Any]], refused: list[str], reporter: Reporter) -> Report:
    experiment, issue, issuing = system.experiment, read_issue(system.workspace), system.issuing
    calibrated = is_calibrated(system, issuing)
    evidence, members = system.workspace.reports / "evidence.nc", opened(system, issuing, calibrated=calibrated)
    return Report(
        title=experiment.title,
        experiment=experiment.name,
        purpose=experiment.description,
        sources=[_source(name, source) for name, source in experiment.sources.items()],
        ensembles={issuing: members},
        record=_record(system),
        reference=experiment.reference.years,
        issuing=issuing,
        because=BECAUSE[experiment.forecast.model == BEST],
        scorecard=json.loads((system.workspace.reports / "scorecard.json").read_text()),
        answers=answers,
        cards=[_card(system, name) for name in experiment.models],
        warnings=[
            *refused,
            *_own_pathways(issue["pathways"]),
            *(found["text"] for found in issue.get("extrapolated", {}).values()),
            *lacking_at(members.isel(init_time=-1)).values(),
            *_lost_snapshots(system),
        ],
        points=experiment.points,
        record_name="climate model run" if experiment.forecast.scenarios else "observations",
        evidence=read_evidence(evidence),
        issued_evidence=read_evidence(evidence, kind="calibrated").get(issuing, {}) if calibrated else {},
        stage_seconds=reporter.times,
        provenance={
            "archive snapshot": system.workspace.snapshot("archive"),
            "ensembles snapshot": system.workspace.snapshot("ensembles"),
            **{f"data of {group}": extent for group, extent in issue["data"].items()},
            **{name: version(name) for name in ("tercile", "torch", "diffusers", "xarray", "icechunk", "prefect")},
        },
    )


def _source(name: str, source: SourceConfig) -> Source:
    about = source.model_dump()
    words = {key: str(about.get(key) or "") for key in ("attribution", "licence", "link", "producer")}
    return Source(name, **words)


def _record(system: System) -> xr.Dataset:
    groups = system.experiment.forecast.scenarios
    names = list(system.experiment.variables)
    if not groups:
        return system.start_fields(system.experiment.lead_group, "forecast")[names]
    records = [system.start_fields(group, "forecast")[names] for group in groups]
    return xr.concat(records, xr.Variable("scenario", groups), join="outer")


def _own_pathways(labels: Mapping[str, str | None]) -> list[str]:
    return [f"{group}: its warming pathway is its own ('{label}')." for group, label in labels.items() if label]


def _lost_snapshots(system: System) -> list[str]:
    """Models whose training data cannot be read back."""
    snapshots = {name: system.card(name)["archive_snapshot"] for name in system.experiment.models}
    return [
        f"{name} was trained on snapshot {snapshot} of the archive, which is no longer kept: its training data cannot "
        "be read back."
        for name, snapshot in snapshots.items()
        if not system.workspace.keeps("archive", snapshot)
    ]


def _card(system: System, name: str) -> dict[str, Any]:
    card = system.card(name)
    return {**card, "kind": card["config"]["kind"], "parameters": card["notes"].get("parameters")}
