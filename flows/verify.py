"""Verify: score every stored ensemble against what happened, and write the scorecard with its evidence."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import reduce
from typing import Any

import numpy as np
import xarray as xr
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.experiment import Experiment
from flows.findings import failure_findings
from flows.plan import remember
from flows.progress import Reporter
from flows.system import System
from pipeline.answers.catalogue import Catalogue
from pipeline.ensembles import open_ensemble
from pipeline.events import parse_region
from pipeline.judging.evidence import save_evidence
from pipeline.judging.failures import Finding
from pipeline.judging.judgement import Evidence, benchmark, judge, judged_card, lay_out, resident
from pipeline.periods import infer_cadence, seconds
from pipeline.places.regions import region_weights
from pipeline.products import open_calibration
from pipeline.reporting.scoreboard import summary
from pipeline.workspace import Workspace, write_whole

KINDS = ("raw", "calibrated")
"""Members as they were drawn, and as calibration changes them."""


@flow(name="verify", validate_parameters=False)
def verify_flow(experiment: Experiment, workspace: Workspace, todo: list[str], reporter: Reporter) -> None:
    """Score all models on the test years, and keep the scorecard."""
    card = verify_task(experiment, workspace, reporter)
    create_markdown_artifact(markdown=summary(card), key=f"{experiment.name}-scorecard", description="Skill by model")


def verify(experiment: Experiment, workspace: Workspace, reporter: Reporter) -> dict[str, Any]:
    """Score all models on the test years; ``scorecard.json`` and ``evidence.nc`` are each written whole.

    Returns:
        The scorecard. Where no forecast has met its truth yet it holds no model and says so.
    """
    system = System(experiment, workspace)
    made_from = system.verify_hash  # first: of what another run draws meanwhile only a part may be scored
    evidence = judge_models(system, reporter)
    reference, blocks = experiment.verify.reference, lead_blocks(system)
    cards = {kind: judged_card(found, reference=reference, lead_blocks=blocks) for kind, found in evidence.items()}
    card = cards.get("raw") or {
        "reference": reference,
        "models": {},
        "reason": "no forecast of the test years has met its truth yet",
    }
    card |= {"calibrated": cards["calibrated"]} if "calibrated" in cards else {}
    card |= _about(system) | _checked(system)
    write_whole(workspace.reports / "scorecard.json", json.dumps(card, indent=2))
    save_evidence(workspace.reports / "evidence.nc", evidence)
    remember(workspace, verify=made_from)
    return card


verify_task = task(name="verify", cache_policy=NO_CACHE)(verify)


def judge_models(system: System, reporter: Reporter) -> dict[str, dict[str, Evidence]]:
    """Evidence by kind on each model whose ensemble is there and has met its truth.

    All are measured against the raw members of the reference model, which is what calibration goes back to, from the
    starts that all of them hold: one that was trained anew has none of those that the others issued before.
    """
    base, blocks = system.experiment.verify.reference, lead_blocks(system)
    starts = shared_starts(system)
    if not starts.size:
        return {}
    reference = resident(_at(opened(system, base, calibrated=False), starts))
    truth = lay_out(judging_truth(system), reference)
    if truth is None:
        return {}
    against = benchmark(truth, system.reference(), reference)
    regions = judged_regions(system, reference)
    known = judge(reference, against, reference=None, regions=regions)
    found = {kind: {base: known} for kind in KINDS}
    others = [(kind, name) for kind in KINDS for name in system.experiment.models if name != base]
    for position, (kind, name) in enumerate(others, start=1):
        if kind == "raw" or is_calibrated(system, name):
            raw = kind == "raw"
            ensemble = _at(opened(system, name, calibrated=not raw), starts)
            found[kind][name] = judge(
                ensemble, against, reference=reference, regions=regions, lead_blocks=blocks, diagnosed=raw
            )
        reporter.update("models", position, len(others))
    return {kind: judged for kind, judged in found.items() if kind == "raw" or len(judged) > 1}


def is_calibrated(system: System, model: str) -> bool:
    """Whether a calibration of the model has been learnt."""
    return open_calibration(system.workspace, model=model, fingerprint=system.fingerprint(model)) is not None


def opened(system: System, model: str, *, calibrated: bool) -> xr.Dataset:
    """A model's forecasts, raw or calibrated."""
    fingerprint = system.fingerprint(model)
    return open_ensemble(system.workspace, model=model, fingerprint=fingerprint, calibrated=calibrated, with_dask=False)


def shared_starts(system: System) -> np.ndarray:
    """Initial times that every model's ensemble holds, as ``pipeline.periods.seconds``."""
    held = [seconds(opened(system, name, calibrated=False)["init_time"]) for name in system.experiment.models]
    return reduce(np.intersect1d, held)


def _at(ensemble: xr.Dataset, starts: np.ndarray) -> xr.Dataset:
    """The ensemble from these starts."""
    wanted = np.isin(seconds(ensemble["init_time"]), starts)
    return ensemble if wanted.all() else ensemble.isel(init_time=np.flatnonzero(wanted))


def judging_truth(system: System) -> Mapping[str, xr.DataArray]:
    """By variable, what judges forecasts: NaN outside the test years."""
    groups, found = system.experiment.forecast.scenarios, {}
    for name in system.experiment.variables:
        truth = system.truth(name)
        found[name] = (
            xr.concat(list(truth.values()), xr.Variable("scenario", groups), join="outer")
            if groups
            else next(iter(truth.values()))
        )
    return found


def judged_regions(system: System, ensemble: xr.Dataset) -> xr.DataArray | None:
    """Area weights of the experiment's regions; None where it names none."""
    named = {name: parse_region(text) for name, text in system.experiment.regions.items()}
    return region_weights(named, ensemble, Catalogue.of(ensemble)) if named else None


def lead_blocks(system: System) -> int | None:
    """Leads pooled into one row: years of a projection, single leads otherwise."""
    if not system.experiment.forecast.scenarios:
        return None
    cadence = infer_cadence(system.groups[system.experiment.lead_group]["time"])
    return max(1, round(system.experiment.verify.years_per_block * cadence.per_year))


def _about(system: System) -> dict[str, Any]:
    """What the scorecard is of."""
    experiment = system.experiment
    groups = experiment.forecast.scenarios or [experiment.lead_group]
    return {
        "schema_version": 1,
        "experiment": experiment.name,
        "test": [span.model_dump(mode="json") for span in experiment.split.test],
        "labels": {group: system.pathway_label(group) for group in groups},
    }


def _told(finding: Finding) -> dict[str, Any]:
    """As plain values; JSON has no word for a value that is not finite."""
    return asdict(finding) | {"value": finding.value if np.isfinite(finding.value) else None}


def _checked(system: System) -> dict[str, Any]:
    """Checks of generative failure by model, and a sentence for each one that was raised."""
    checks = {
        name: failure_findings(system, name, opened(system, name, calibrated=False))
        for name in system.experiment.models
    }
    return {
        "checks": {name: [_told(finding) for finding in found] for name, found in checks.items()},
        "models_warnings": {
            name: [f"{finding.name}: {finding.meaning}." for finding in found if finding.raised]
            for name, found in checks.items()
        },
    }
