"""Verify: score every stored ensemble against what happened, and write the scorecard."""

import json
from typing import Any

import numpy as np
import xarray as xr
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.experiment import Experiment
from flows.plan import remember
from flows.progress import Reporter
from flows.system import System
from pipeline.ensembles import open_ensemble
from pipeline.grid import area_weights
from pipeline.periods import infer_cadence
from pipeline.verification import merge, score_ensemble, scorecard
from pipeline.workspace import Workspace, write_whole


@flow(name="verify", validate_parameters=False)
def verify_flow(experiment: Experiment, workspace: Workspace, todo: list[str], reporter: Reporter) -> None:
    """Score all models on the test years, and keep the scorecard."""
    card = verify_task(experiment, workspace, reporter)
    create_markdown_artifact(markdown=summary(card), key=f"{experiment.name}-scorecard", description="Skill by model")


def verify(experiment: Experiment, workspace: Workspace, reporter: Reporter) -> dict[str, Any]:
    """Score all models on the test years; ``scorecard.json`` is written whole.

    Returns:
        The scorecard. Where no forecast has met its truth yet it holds no model and says so.
    """
    system = System(experiment, workspace)
    statistics = {}
    for position, name in enumerate(experiment.models):
        parts = [part for variable in experiment.variables if (part := _statistics(system, name, variable)) is not None]
        if parts:
            statistics[name] = merge(*parts).compute()
        reporter.update("models", position + 1, len(experiment.models))
    if experiment.verify.reference in statistics:
        card = scorecard(statistics, reference=experiment.verify.reference, lead_blocks=_lead_blocks(system))
    else:
        card = {"reference": experiment.verify.reference, "models": {}, "reason": "no forecast has met its truth yet"}
    groups = experiment.forecast.scenarios or [experiment.lead_group]
    card |= {
        "schema_version": 1,
        "experiment": experiment.name,
        "test": [span.model_dump(mode="json") for span in experiment.split.test],
        "labels": {group: system.pathway_label(group) for group in groups},
    }
    write_whole(workspace.reports / "scorecard.json", json.dumps(card, indent=2))
    remember(workspace, verify=system.verify_hash)
    return card


verify_task = task(name="verify", cache_policy=NO_CACHE)(verify)


def summary(card: dict[str, Any]) -> str:
    """A table of skill by model, variable and lead for the run's page."""
    rows = [
        f"| {model} | {variable} | {row.get('scenario', '')} | {row['lead_first']}–{row['lead_last']} | {_skill(row)} |"
        for model, by_variable in card["models"].items()
        for variable, table in by_variable.items()
        for row in table
    ]
    head = [f"CRPS skill against {card['reference']}", "", "| model | variable | scenario | lead | skill |"]
    return "\n".join([*head, "|---|---|---|---|---|", *rows])


def _statistics(system: System, model: str, variable: str) -> xr.Dataset | None:
    ensemble = open_ensemble(system.workspace, model=model, fingerprint=system.fingerprint(model))
    truth = system.truth(variable)
    groups = system.experiment.forecast.scenarios
    observation = (
        xr.concat(list(truth.values()), xr.Variable("scenario", groups)) if groups else next(iter(truth.values()))
    )
    known = observation["time"].values[observation.notnull().any([d for d in observation.dims if d != "time"]).values]
    if not np.isin(ensemble["valid_time"].values, known).any():
        return None
    return score_ensemble(ensemble[variable], observation.load(), weights=area_weights(ensemble))


def _lead_blocks(system: System) -> int | None:
    """Leads pooled into one row: years of a projection, single leads otherwise."""
    if not system.experiment.forecast.scenarios:
        return None
    cadence = infer_cadence(system.groups[system.experiment.lead_group]["time"])
    per_year = {"years": 1, "months": 12, "days": 365, "hours": 8766}[cadence.unit] / cadence.step
    return max(1, round(system.experiment.verify.years_per_block * per_year))


def _skill(row: dict[str, Any]) -> str:
    value, low, high = (row.get(name) for name in ("crps_skill", "crps_skill_low", "crps_skill_high"))
    if value is None:
        return "–"
    return f"{value:.3f}" if low is None else f"{value:.3f} ({low:.3f} to {high:.3f})"
