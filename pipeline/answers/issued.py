"""Questions to the forecast that a workspace issues: everything an answer needs is in its stores."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from pipeline.answers.answer import LEVEL, Answer, answer
from pipeline.answers.catalogue import Catalogue
from pipeline.answers.explain import explain
from pipeline.answers.probability import Inquiry
from pipeline.answers.remembered import recall, remember
from pipeline.archive import open_archive
from pipeline.direct import calibrated_direct, open_direct, readers_of
from pipeline.ensembles import Kind, in_order, open_background
from pipeline.errors import NothingIssuedError, TercileError
from pipeline.events import parse, question_id
from pipeline.events.geojson import with_files_read
from pipeline.events.parse import parse_region
from pipeline.events.tree import Question, model_references
from pipeline.names import by_level
from pipeline.pinned import PinnedWorkspace, committed, states_of
from pipeline.places.geojson import FILE as GEOJSON
from pipeline.places.geojson import areas_of_geojson
from pipeline.places.regions import Area, area_of
from pipeline.products import CALIBRATION, REFERENCE, open_calibration, read_issue
from pipeline.workspace import Workspace

Skill = Literal["now", "pending", "everywhere"]
PENDING = {"verdict": "pending", "reason": "This question is being replayed on past forecasts."}


@dataclass(frozen=True)
class Issued:
    """The issued forecast of a workspace, opened at one state of its stores.

    Attributes:
        workspace: Where.
        snapshots: Ids of the states of the stores, and the version of the software: what an answer depends on.
        issue: What the products say of the model that issues.
        ensemble: Its members, lazy; calibrated ones where a calibration has been learnt.
        raw: The members as they were drawn, where ``ensemble`` is calibrated.
        refits: The members as calibrations learnt without one part of the hindcasts each would have them.
        reference: The record that says what is usual, lazy.
        catalogue: Names, provenance and calibration state.
    """

    workspace: Workspace
    snapshots: Mapping[str, str]
    issue: Mapping[str, Any]
    ensemble: xr.Dataset
    raw: xr.Dataset | None
    refits: tuple[xr.Dataset, ...]
    reference: xr.Dataset
    catalogue: Catalogue

    def ask(
        self,
        question: str | Question,
        *,
        level: float = LEVEL,
        partial: bool = False,
        skill: Skill = "now",
        progress: Callable[[float], None] = lambda share: None,
    ) -> Answer:
        """As :func:`ask`; ``progress`` is told how much of a map's track record is done."""

        def track_record(inquiry: Inquiry) -> Mapping[str, Any] | None:
            return self.track_record(inquiry, level=level, skill=skill)

        asked = parse(question) if isinstance(question, str) else question
        calibration: dict[str, Any] = {"raw": self.raw, "refits": self.refits, "hindcasts": self._compared(asked)}
        found = answer(asked, **self.setting, **calibration, level=level, partial=partial, skill=track_record)
        if found.inquiry.question.ask != "map" or skill != "everywhere" or self.hindcasts is None:
            return found
        return self._with_skill(found, level, progress)

    def explain(self, question: str | Question, *, partial: bool = False) -> dict[str, Any]:
        """As :func:`explain_question`."""
        asked = parse(question) if isinstance(question, str) else question
        return explain(asked, **self.setting, hindcasts=next(iter(self._compared(asked)), None), partial=partial)

    @property
    def setting(self) -> dict[str, Any]:
        """What an answer is made from."""
        return {"ensemble": self.ensemble, "reference": self.reference, "catalogue": self.catalogue}

    @property
    def hindcasts(self) -> xr.Dataset | None:
        """The stored hindcasts of the model that issues, if there are any, calibrated as the forecast is."""
        return next(iter(self._hindcasts), None)

    @cached_property
    def _hindcasts(self) -> tuple[xr.Dataset, ...]:
        """The stored hindcasts in each kind that there is of members: as they are asked, raw, and of each refit."""
        drawn = _stored(self.workspace, self.issue, "hindcast")
        if drawn is None or self.raw is None:
            return () if drawn is None else (by_level(drawn),)
        own, *refits = _calibrated(self.workspace, self.issue, "hindcast", drawn)
        return tuple(by_level(each) for each in (own, drawn, *refits))

    def _compared(self, question: Question) -> tuple[xr.Dataset, ...]:
        """The hindcasts, where a question compares members with them."""
        return self._hindcasts if model_references(*question.parts) else ()

    def track_record(self, inquiry: Inquiry, *, level: float, skill: Skill) -> Mapping[str, Any] | None:
        """The skill of a ``prob`` question, from the cache if it was measured before; None where no hindcast is."""
        if inquiry.question.ask != "prob" or self.hindcasts is None:
            return None
        key = self._key(inquiry, level)
        if skill == "pending":
            return recall(self.workspace, "skill", key) or PENDING
        return remember(self.workspace, "skill", key, lambda: self._replayed(inquiry, level))

    def _key(self, inquiry: Inquiry, level: float) -> dict[str, Any]:
        """All that a track record depends on."""
        return {
            "question": question_id(inquiry.question),
            "init_time": inquiry.init_time,
            "level": level,
            "partial": inquiry.members.partial,
            "calibration": inquiry.members.catalogue.calibration,
            **self.snapshots,
        }

    def _replayed(self, inquiry: Inquiry, level: float) -> dict[str, Any]:
        from pipeline.answers.replay import not_measured, replay

        try:
            past = self._past(inquiry)
        except TercileError as error:
            return not_measured(str(error))
        return replay(inquiry, **past, level=level)

    def _with_skill(self, found: Answer, level: float, progress: Callable[[float], None]) -> Answer:
        """The answer to a map with the skill of each cell, where it can be measured."""
        from pipeline.answers.replay import not_measured
        from pipeline.answers.skill_field import VERDICTS, skill_field, with_skill

        inquiry = found.inquiry
        try:
            past = self._past(inquiry)
            by_cell = remember(
                self.workspace,
                "skill",
                self._key(inquiry, level),
                lambda: skill_field(inquiry, **past, level=level, progress=progress),
            )
        except TercileError as error:
            return replace(found, payload={**found.payload, "skill": not_measured(str(error))})
        flags = [int(flag) for row in by_cell["skill_verdict"] for flag in row]
        skill = {"verdict": "by_cell", "cells": {word: flags.count(place) for place, word in enumerate(VERDICTS)}}
        return replace(found, payload={**found.payload, "skill": skill}, members=with_skill(found.members, by_cell))

    def _past(self, inquiry: Inquiry) -> dict[str, Any]:
        """The hindcasts to replay a question on, and what happened.

        Raises:
            TercileError: They are of another scenario.
        """
        hindcasts, group = self.hindcasts, str(self.issue["reference"]["group"])
        if hindcasts is None:
            raise TercileError("There is no hindcast to replay a question on.")
        if "scenario" in hindcasts.dims:
            names = [str(name) for name in hindcasts["scenario"].values]
            shared = [name for name in inquiry.scenarios if name in names] or (names if len(names) == 1 else [])
            if not shared:
                raise TercileError(f"The hindcasts are of {', '.join(names)}, not of {', '.join(inquiry.scenarios)}.")
            hindcasts, group = hindcasts.sel(scenario=shared[0], drop=True), shared[0]
        as_of = self.issue.get("as_of")
        truth = by_level(open_archive(self.workspace, group=group, as_of=as_of and datetime.fromisoformat(as_of)))
        if "realization" in truth.dims:
            run = self.issue.get("hindcast_run", truth["realization"].values[0])
            truth = truth.sel(realization=run, drop=True)
        return {"hindcasts": hindcasts, "truth": truth, "folds": self.catalogue.calibration.get("folds", [])}


def ask(
    workspace: Workspace | str | Path,
    question: str | Question,
    *,
    level: float = LEVEL,
    partial: bool = False,
    skill: Skill = "now",
    as_of: datetime | None = None,
) -> Answer:
    """Answer a question from the issued ensemble.

    Args:
        workspace: Where a forecast has been issued, as a workspace or its folder.
        question: Text in the question language, or its tree.
        level: Coverage of the intervals.
        partial: Whether the part of a region that lies on the grid will do.
        skill: ``now`` replays the question on the stored hindcasts where nobody has yet; ``pending`` does not wait for
            that, and the answer may then not say that its number is a probability; ``everywhere`` also judges each
            cell of a map, which takes longest.
        as_of: Answer from what was committed at that time, as ``provenance.as_of`` of an earlier answer says it.

    Raises:
        QuestionError: It cannot be answered as it was put; the error says what would do.
        NothingIssuedError: Nothing has been issued yet.
    """
    asked = read_question(question)
    return open_issued(workspace, as_of=as_of).ask(asked, level=level, partial=partial, skill=skill)


def explain_question(
    workspace: Workspace | str | Path, question: str | Question, *, partial: bool = False
) -> dict[str, Any]:
    """A question restated in plain words with everything resolved; reads no member; ``partial`` as in :func:`ask`."""
    return open_issued(workspace).explain(read_question(question), partial=partial)


def read_question(question: str | Question) -> Question:
    """A question as a person at this machine puts it: as text or as its tree, with the files that it names read.

    Raises:
        QuestionError: Text that cannot be read, or a file that holds no polygon.
    """
    return with_files_read(parse(question) if isinstance(question, str) else question)


def open_issued(workspace: Workspace | str | Path, *, as_of: datetime | None = None) -> Issued:
    """The issued forecast as it was last committed, or as it was at a time; opened once for each state of the stores.

    Raises:
        NothingIssuedError: Nothing has been issued yet.
    """
    workspace = workspace if isinstance(workspace, Workspace) else Workspace(Path(workspace))
    states = states_of(workspace, as_of=as_of)
    own = workspace.root / GEOJSON
    regions = hashlib.sha256(own.read_bytes()).hexdigest()[:16] if own.exists() else ""
    return _opened(PinnedWorkspace(workspace.root, states), regions)


def _stored(workspace: Workspace, issue: Mapping[str, Any], kind: Kind) -> xr.Dataset | None:
    found = open_direct(workspace.reader("ensembles"), f"{issue['model']}/{issue['fingerprint']}/{kind}")
    return None if found is None else in_order(found, found)


@lru_cache(maxsize=4)
def _opened(workspace: PinnedWorkspace, regions: str) -> Issued:
    issue = read_issue(workspace)
    drawn, reference = _stored(workspace, issue, "forecast"), open_direct(workspace.reader("products"), REFERENCE)
    if drawn is None or reference is None:
        text = f"{workspace.root}: what '{issue['model']}' issued is not there. Run `tercile forecast`."
        raise NothingIssuedError(text)
    learnt = open_calibration(workspace, model=issue["model"], fingerprint=issue["fingerprint"])
    kinds = [drawn] if learnt is None else _calibrated(workspace, issue, "forecast", drawn)
    ensemble, *refits = [by_level(each) for each in kinds]
    own = areas_of_geojson((workspace.root / GEOJSON).read_text()) if regions else {}
    own_regions = {"regions": regions} if regions else {}
    snapshots = {**dict(workspace.states), **own_regions, "software": version("tercile")}
    as_of = committed(Workspace(workspace.root), workspace.states)
    catalogue = _catalogue(issue, ensemble, snapshots, as_of, _state(learnt), own)
    raw = None if learnt is None else by_level(drawn)
    return Issued(workspace, snapshots, issue, ensemble, raw, tuple(refits), by_level(reference), catalogue)


def _calibrated(workspace: Workspace, issue: Mapping[str, Any], kind: Kind, drawn: xr.Dataset) -> list[xr.Dataset]:
    """The calibrated members; after them, those of each calibration that was learnt without a part of the hindcasts.

    Raises:
        TercileError: The background they were drawn about is not stored.
    """
    path = f"{issue['model']}/{issue['fingerprint']}"
    learnt = open_direct(workspace.reader("products"), f"{CALIBRATION}/{path}")
    if learnt is None:
        raise TercileError(f"ensembles: '{path}' has no calibration.")
    trained = {"model": issue["model"], "fingerprint": issue["fingerprint"]}
    background = open_background(workspace, **trained, kind=kind, with_dask=False)
    readers = readers_of(drawn, background, learnt)
    folds = [None, *(int(fold) for fold in learnt["fold"].values if fold >= 0)]
    return [calibrated_direct(drawn, background, learnt, fold=fold, readers=readers) for fold in folds]


def _state(learnt: xr.Dataset | None) -> dict[str, Any]:
    """The calibration as answers tell it."""
    if learnt is None:
        return {"state": "uncalibrated"}
    about = learnt.attrs["about"]
    return {
        "state": "calibrated",
        "method": "member by member: mean and spread changed by what hindcasts taught",
        "fitted_on": f"{about['hindcasts']} hindcasts",
        "folds": about["folds"],
        "id": about["content"],
    }


def _catalogue(
    issue: dict[str, Any],
    ensemble: xr.Dataset,
    snapshots: Mapping[str, str],
    as_of: str,
    calibration: Mapping[str, Any],
    own: Mapping[str, Area],
) -> Catalogue:
    nowhere = Catalogue.of(ensemble)
    named = {name: _titled(name, area_of(parse_region(text), nowhere)) for name, text in issue["regions"].items()}
    years = issue["reference"]["years"]
    model = {
        "name": issue["model"],
        "checkpoint": issue["fingerprint"],
        **{key: issue[key] for key in ("kind", "version")},
    }
    return Catalogue.of(
        ensemble,
        aliases={name: tuple(row["aliases"]) for name, row in issue["variables"].items()},
        valid_ranges={
            name: tuple(row["valid_range"]) for name, row in issue["variables"].items() if "valid_range" in row
        },
        regions={**named, **own},
        reference=f"{issue['reference']['group']}:{years[0]}-{years[1]}",
        calibration=calibration,
        extrapolated=issue.get("extrapolated", {}),
        provenance={
            "experiment": issue["experiment"],
            "model": model,
            "snapshot": snapshots["ensembles"],
            "as_of": as_of,
            "software": version("tercile"),
            "data": issue["data"],
            "pathways": issue["pathways"],
            "seed_root": issue["seed"],
            "attribution": issue["attributions"],
        },
    )


def _titled(name: str, area: Area) -> Area:
    return Area(f"{name} ({area.title})", area.version, area.polygons)
