"""Checks of generative failure at verification: each model's drawn fields against held-out and training ones.

All fields are standardised anomalies about the model's own background, so that a warming pathway is no drift.
"""

import numpy as np
import xarray as xr
from safetensors.numpy import load_file

from flows.system import System
from pipeline.background import Background
from pipeline.grid import area_weights
from pipeline.judging.failures import Finding, check_coverage, check_drift, check_memorisation, check_spread
from pipeline.periods import dates, season_phase

FIELDS = 300
"""Fields of a kind that are looked at."""
ELEMENTS = 4000
"""Cells of all variables that are looked at."""
FEWEST_HELD_OUT = 20
"""Independent held-out fields that a check needs: neighbouring ones count for less than one."""
LONG_ROLLOUT = 40
"""Leads from which a forecast counts as a long rollout: before that its spread is still growing, as it should."""

_STARTS, _ROLLOUTS = 24, 20

Fields = np.ndarray


def failure_findings(system: System, model: str, ensemble: xr.Dataset) -> list[Finding]:
    """Spread and pattern collapse, drift and, for networks, memorisation; those that there are fields enough for.

    A model that draws past years again holds training fields by design, so only networks are checked for copies.
    """
    background = read_background(system, model)
    rollouts = _rollouts(system, background, ensemble)
    steps, generated = len(rollouts), _some(rollouts[len(rollouts) // 2 :].reshape(-1, rollouts.shape[-1]))
    findings = [check_drift(rollouts)] if steps >= LONG_ROLLOUT and rollouts.shape[1] > 1 else []
    held_out = _observed(system, background, "test")
    if _independent(held_out) < FEWEST_HELD_OUT or not np.isfinite(generated).all():
        return findings
    held_out = _some(held_out)
    findings += [check_spread(generated, held_out), check_coverage(generated, held_out)]
    if not system.experiment.models[model].is_quick:
        trained = _some(_observed(system, background, "train"))
        findings.append(check_memorisation(generated, trained, held_out))
    return findings


def read_background(system: System, model: str) -> Background:
    """The background of a trained model, without loading the model."""
    folder = system.model_folder(model)
    arrays = load_file(folder / "weights.safetensors")
    mine = {name.removeprefix("background."): array for name, array in arrays.items() if name.startswith("background.")}
    return Background.from_arrays(mine, transforms=system.card(model)["transforms"])


def _rollouts(system: System, background: Background, ensemble: xr.Dataset) -> Fields:
    """Members of some starts, ``(lead, member, element)``; the members of all scenarios and starts side by side."""
    groups = list(ensemble["scenario"].values) if "scenario" in ensemble.dims else [system.experiment.lead_group]
    starts = ensemble.sizes["init_time"]
    chosen = np.unique(np.linspace(0, starts - 1, min(_STARTS, starts)).astype(int))
    wanted = max(_ROLLOUTS, 2 * FIELDS // ensemble.sizes["lead_time"])
    each = min(ensemble.sizes["member"], max(2, wanted // (len(groups) * len(chosen))))
    found = []
    for group in groups:
        of_group = ensemble.sel(scenario=group) if "scenario" in ensemble.dims else ensemble
        for start in chosen:
            members = of_group.isel(init_time=start, member=slice(each)).load().transpose("member", "lead_time", ...)
            bounds = members["valid_time_bnds"].rename(lead_time="time")
            found.append(_elements(system, background, members, bounds, str(group)))
    return np.concatenate(found).swapaxes(0, 1)


def _observed(system: System, background: Background, role: str) -> Fields:
    """Fields of the record in the years of a role, ``(field, element)``, without a trend that the background missed."""
    found = []
    for span in getattr(system.experiment.split, role):
        inside = np.flatnonzero(system.mask(span.group, [span]))
        inside = inside[np.unique(np.linspace(0, len(inside) - 1, min(FIELDS, len(inside))).astype(int))]
        record = system.fields(span.group, span.realizations).isel(time=inside)
        record = record.isel(realization=0, drop=True) if "realization" in record.dims else record
        found.append(_detrended(_elements(system, background, record, record["time_bnds"], span.group)))
    fields = np.concatenate(found)
    return np.asarray(fields[np.isfinite(fields).all(axis=1)])


def _elements(system: System, background: Background, fields: xr.Dataset, bounds: xr.DataArray, group: str) -> Fields:
    """Standardised anomalies ``([member], time, element)``: all valid cells in a row, times the root of their area."""
    phase, covariates = season_phase(bounds), system.covariates(group, dates(bounds))
    area = np.sqrt(area_weights(fields).values)
    rows = []
    for name in background.transforms:
        anomaly = background.standardise(name, fields[name].values, phase, covariates)
        valid = np.isfinite(background.mean[name]).all(axis=0) & np.isfinite(background.variance[name]).all(axis=0)
        rows.append((anomaly * area)[..., valid])
    flat = np.concatenate(rows, axis=-1)
    return flat[..., :: -(-flat.shape[-1] // ELEMENTS)]


def _independent(fields: Fields) -> float:
    """About how many independent fields neighbouring ones amount to, by their correlation with the one before."""
    if len(fields) < 2:
        return 0.0
    memory = float(np.clip((fields[1:] * fields[:-1]).sum() / (fields**2).sum(), 0, 0.99))
    return len(fields) * (1 - memory) / (1 + memory)


def _detrended(fields: Fields) -> Fields:
    """Fields without their mean and linear trend along the record, where they are many enough to tell."""
    if len(fields) < FEWEST_HELD_OUT:
        return fields
    steps = np.linspace(-1, 1, len(fields))
    return fields - fields.mean(axis=0) - np.outer(steps, steps @ fields / (steps @ steps))


def _some(fields: Fields) -> Fields:
    """At most ``FIELDS`` of the fields, drawn without order."""
    if len(fields) <= FIELDS:
        return fields
    return fields[np.sort(np.random.default_rng(0).choice(len(fields), FIELDS, replace=False))]
