"""An ensemble before its judges: every score, map and diagnostic of one ensemble, and the card that they add up to.

``judge`` reads an ensemble once, a few initial times at a time, and keeps sums that merge: a hindcast too large to keep
is judged as it is drawn and dropped, and ``merge_evidence`` adds the parts. ``judged_card`` turns the evidence on
several models into what ``scorecard.json`` says of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from pipeline.categories import TERCILES, category_edges
from pipeline.diagnostics import diagnose
from pipeline.grid import area_weights
from pipeline.matching import at_valid_times
from pipeline.skill_maps import paired_maps
from pipeline.summaries import by_season
from pipeline.terciles import count_terciles, tercile_card
from pipeline.verification import Row, merge, score_ensemble, scorecard

IN_MEMORY = 2**29
"""Bytes of an ensemble up to which it is held in memory while it is judged."""

Fields = Mapping[str, xr.DataArray]


@dataclass(frozen=True)
class Benchmark:
    """What an ensemble is judged by, each by variable and laid out as the ensemble without its members.

    Attributes:
        truth: What happened, NaN where it is unknown or not to be used.
        normal: Mean of the reference climate at that time of year.
        edges: Limits of the middle third, dims ``(edge, ...)``.
    """

    truth: Fields
    normal: Fields
    edges: Fields


@dataclass(frozen=True)
class Evidence:
    """What one ensemble was seen to do.

    Attributes:
        statistics: Sums of ``verification.score_ensemble``.
        terciles: Tables of ``terciles.count_terciles``.
        maps: Sums of ``skill_maps.paired_maps`` against the reference, dim ``variable`` first; empty for itself.
        realism: Rows of ``diagnostics.diagnose`` by variable; empty where not diagnosed.
        spectra: Of ``diagnostics.diagnose``.
    """

    statistics: xr.Dataset
    terciles: xr.Dataset
    maps: xr.Dataset
    realism: Mapping[str, list[Row]]
    spectra: xr.Dataset


def lay_out(truth: Fields, ensemble: xr.Dataset) -> dict[str, xr.DataArray] | None:
    """The truth at the ensemble's valid times; None where none of it is known.

    Args:
        truth: By variable, ``([scenario], time, [level], latitude, longitude)``, or laid out already.
        ensemble: As ``open_ensemble`` gives it.
    """
    valid = ensemble["valid_time"].compute()
    found = {}
    for name, values in truth.items():
        laid = values
        if "time" in values.dims:
            if not np.isin(valid.values, values["time"].values).any():
                return None
            laid = at_valid_times(values, valid)
        dims = [dim for dim in ensemble[name].dims if dim in laid.dims]
        found[name] = laid.transpose(*dims).compute()
    return found if any(bool(values.notnull().any()) for values in found.values()) else None


def benchmark(truth: Fields, record: xr.Dataset, reference: xr.Dataset) -> Benchmark:
    """Truth with the climate that anomalies and thirds are counted from.

    Thirds are those of the reference record at that time of year. In a forced system nearly every year is above them,
    so there they are the thirds of the reference model's members, that is: given the scenario's warming.

    Args:
        truth: From ``lay_out``.
        record: The reference record, ``(time, [level], latitude, longitude)``.
        reference: Ensemble of the reference model.
    """
    valid = reference["valid_time"].compute()
    record = record[list(truth)].load()
    normal = {name: _at_seasons(record[name], valid, "mean") for name in truth}
    if "scenario" in reference.dims:
        return Benchmark(truth, normal, {name: _member_thirds(reference[name]) for name in truth})
    return Benchmark(truth, normal, {name: _at_seasons(record[name], valid, "thirds") for name in truth})


def judge(
    ensemble: xr.Dataset,
    against: Benchmark,
    *,
    reference: xr.Dataset | None,
    lead_blocks: int | None = None,
    diagnosed: bool = True,
) -> Evidence:
    """Every score, map and diagnostic of one ensemble.

    Args:
        ensemble: As ``open_ensemble`` gives it: raw or calibrated, forecast or hindcast.
        against: From ``benchmark``.
        reference: Ensemble of the reference model, for maps; None for the reference itself.
        lead_blocks: Leads pooled on maps, as for ``verification.scorecard``.
        diagnosed: Whether trajectories are diagnosed too; calibration changes little about them.

    Raises:
        TercileError: As ``verification.score_ensemble``.
    """
    ensemble = resident(ensemble[list(against.truth)])
    weights = area_weights(ensemble)
    truth = against.truth
    rows, spectra = diagnose(ensemble, truth, against.normal) if diagnosed else ({}, xr.Dataset())
    maps = xr.Dataset()
    if reference is not None:
        each = {
            name: paired_maps(ensemble[name], reference[name], truth[name], lead_blocks=lead_blocks) for name in truth
        }
        maps = xr.concat(list(each.values()), xr.Variable("variable", list(each)), join="outer")
    scored = [
        score_ensemble(ensemble[name], truth[name], weights=weights, climatology=against.normal[name]) for name in truth
    ]
    return Evidence(
        statistics=merge(*scored).compute(),
        terciles=xr.concat(
            [count_terciles(ensemble[name], truth[name], against.edges[name], weights=weights) for name in truth],
            "variable",
            join="outer",
            fill_value=0.0,
        ),
        maps=maps,
        realism=rows,
        spectra=spectra,
    )


def judged_card(evidence: Mapping[str, Evidence], *, reference: str, lead_blocks: int | None = None) -> dict[str, Any]:
    """What the scorecard says of some models' ensembles of one kind.

    Args:
        evidence: By the name of the model, the reference among them.
        reference: Name of the model that skill is measured against.
        lead_blocks: As for ``verification.scorecard``.

    Returns:
        ``verification.scorecard``'s content; ``overall``, the same rows with all leads pooled; ``terciles``, as
        ``terciles.tercile_card`` gives it; and ``realism``, rows by model and variable.

    Raises:
        TercileError: The reference is not among the models.
    """
    statistics = {model: each.statistics for model, each in evidence.items()}
    leads = statistics[reference].sizes["lead_time"] if reference in statistics else None
    card = scorecard(statistics, reference=reference, lead_blocks=lead_blocks)
    return {
        **card,
        "lead_blocks": lead_blocks,
        "overall": scorecard(statistics, reference=reference, lead_blocks=leads)["models"],
        "terciles": tercile_card(
            {model: each.terciles for model, each in evidence.items()}, reference=reference, lead_blocks=lead_blocks
        ),
        "realism": {model: dict(each.realism) for model, each in evidence.items()},
    }


def resident(ensemble: xr.Dataset) -> xr.Dataset:
    """The ensemble in memory if it is small, so that it is decoded once; lazy as it was if it is not."""
    ensemble = ensemble.assign_coords(valid_time=ensemble["valid_time"].compute())
    return ensemble.load() if ensemble.nbytes <= IN_MEMORY else ensemble


def _at_seasons(record: xr.DataArray, valid_time: xr.DataArray, what: str) -> xr.DataArray:
    """Mean or thirds of a record at the time of year of each valid time, ``([edge], init_time, lead_time, ...)``."""

    def statistic(years: xr.DataArray) -> xr.DataArray:
        if what == "mean":
            return years.mean("time", skipna=False)
        return category_edges(years, levels=TERCILES).transpose(..., "edge")

    valid_time = valid_time.transpose("init_time", "lead_time")
    flat = xr.DataArray(valid_time.values.ravel(), dims="case", coords={"case": np.arange(valid_time.size)})
    found = by_season(record, flat, statistic).transpose("case", ...)
    dims = ("init_time", "lead_time", *found.dims[1:])
    coords = {name: coord for name, coord in found.coords.items() if "case" not in coord.dims and name in found.dims}
    coords |= {dim: valid_time[dim] for dim in dims[:2]}
    return xr.DataArray(found.values.reshape(*valid_time.shape, *found.shape[1:]), dims=dims, coords=coords)


def _member_thirds(members: xr.DataArray) -> xr.DataArray:
    """Thirds of the members at each initial time, lead and cell."""
    return xr.apply_ufunc(
        lambda values: np.moveaxis(np.quantile(values, TERCILES, axis=-1), 0, -1),
        members.chunk(member=-1) if members.chunks else members,
        input_core_dims=[["member"]],
        output_core_dims=[["edge"]],
        dask="parallelized",
        output_dtypes=[float],
        dask_gufunc_kwargs={"output_sizes": {"edge": 2}},
    ).assign_coords(edge=list(TERCILES))
