"""Questions to the forecast that a workspace issues: everything an answer needs is in its stores."""

from typing import Any

import xarray as xr

from pipeline.answers import Answer, answer
from pipeline.catalogue import Catalogue
from pipeline.ensembles import open_ensemble
from pipeline.events.parse import parse_region
from pipeline.events.tree import Question
from pipeline.explain import explain
from pipeline.products import open_reference, read_issue
from pipeline.regions import Area, area_of
from pipeline.workspace import Workspace


def ask(workspace: Workspace, question: str | Question, *, level: float = 0.9, partial: bool = False) -> Answer:
    """Answer a question from the issued ensemble.

    Args:
        workspace: Where a forecast has been issued.
        question: Text in the question language, or its tree.
        level: Coverage of the intervals.
        partial: Whether the part of a region that lies on the grid will do.

    Raises:
        QuestionError: It cannot be answered as it was put; the error says what would do.
        TercileError: Nothing has been issued yet.
    """
    return answer(question, **_setting(workspace), level=level, partial=partial)


def explain_question(workspace: Workspace, question: str | Question) -> dict[str, Any]:
    """A question restated in plain words with everything resolved; no member is read."""
    return explain(question, **_setting(workspace))


def _setting(workspace: Workspace) -> dict[str, Any]:
    issue = read_issue(workspace)
    ensemble = open_ensemble(workspace, model=issue["model"], fingerprint=issue["fingerprint"])
    catalogue = _catalogue(workspace, issue, ensemble)
    return {"ensemble": ensemble, "reference": open_reference(workspace), "catalogue": catalogue}


def _catalogue(workspace: Workspace, issue: dict[str, Any], ensemble: xr.Dataset) -> Catalogue:
    nowhere = Catalogue.of(ensemble)
    years = issue["reference"]["years"]
    model = {
        "name": issue["model"],
        "checkpoint": issue["fingerprint"],
        **{key: issue[key] for key in ("kind", "version")},
    }
    return Catalogue.of(
        ensemble,
        aliases={name: tuple(row["aliases"]) for name, row in issue["variables"].items()},
        regions={name: _titled(name, area_of(parse_region(text), nowhere)) for name, text in issue["regions"].items()},
        reference=f"{issue['reference']['group']}:{years[0]}-{years[1]}",
        provenance={
            "experiment": issue["experiment"],
            "model": model,
            "snapshot": workspace.snapshot("ensembles"),
            "data": issue["data"],
            "pathways": issue["pathways"],
            "seed_root": issue["seed"],
            "attribution": issue["attributions"],
        },
    )


def _titled(name: str, area: Area) -> Area:
    return Area(f"{name} ({area.title})", area.version, area.polygons)
