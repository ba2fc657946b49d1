"""An ensemble before its judges: every score, map and diagnostic of one ensemble, and the card that they add up to.

``judge`` reads an ensemble a few initial times at a time and keeps sums that merge: a hindcast too large to keep is
judged as it is drawn and dropped, and ``merge_evidence`` adds the parts. ``judged_card`` turns the evidence on several
models into what ``scorecard.json`` says of them.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np
import xarray as xr

from pipeline.errors import TercileError
from pipeline.grid import area_weights
from pipeline.judging.card_rows import Row
from pipeline.judging.categories import TERCILES, category_edges
from pipeline.judging.diagnostics import diagnose
from pipeline.judging.matching import at_valid_times
from pipeline.judging.patterns import TAILS, pattern_card, sum_patterns
from pipeline.judging.scorecard import scorecard
from pipeline.judging.skill_maps import paired_maps
from pipeline.judging.terciles import count_terciles, tercile_card
from pipeline.judging.verification import merge, score_ensemble, split
from pipeline.seasons import by_season

LIMITS = (TAILS[0], *TERCILES, TAILS[1])
"""Levels of the climate that part its thirds and its tails."""
ALL = "all"
"""What the whole area is called among regions."""
IN_MEMORY = 2**30
"""Bytes of an ensemble up to which it is held in memory while it is judged."""

Fields = Mapping[str, xr.DataArray]


@dataclass(frozen=True)
class Benchmark:
    """What an ensemble is judged by, each by variable and laid out as the ensemble without its members.

    Attributes:
        truth: What happened, NaN where it is unknown or not to be used.
        normal: Mean of the reference climate at that time of year.
        edges: Limits of the middle third, dims ``(edge, ...)``.
        tails: Where the lowest and highest tenth begin, dims ``(edge, ...)``.
    """

    truth: Fields
    normal: Fields
    edges: Fields
    tails: Fields


@dataclass(frozen=True)
class Evidence:
    """What one ensemble was seen to do.

    Attributes:
        statistics: Sums of ``verification.score_ensemble``.
        terciles: Tables of ``terciles.count_terciles``.
        patterns: Sums of ``patterns.sum_patterns``; empty where not diagnosed.
        maps: Sums of ``skill_maps.paired_maps`` against the reference, dim ``variable`` first; empty for itself.
        realism: Rows of ``diagnostics.diagnose`` by variable; empty where not diagnosed.
        spectra: Of ``diagnostics.diagnose``.
    """

    statistics: xr.Dataset
    terciles: xr.Dataset
    patterns: xr.Dataset
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
    """Truth with the climate that anomalies, thirds and tails are counted from.

    Thirds and tails are those of the reference record at that time of year. In a forced system nearly every year is
    above them, so there they are those of the reference model's members, that is: given the scenario's warming.

    Args:
        truth: From ``lay_out``.
        record: The reference record, ``(time, [level], latitude, longitude)``.
        reference: Ensemble of the reference model.
    """
    valid = reference["valid_time"].compute()
    record = record[list(truth)].load()
    forced = "scenario" in reference.dims
    limits = {
        name: _member_limits(reference[name]) if forced else _at_seasons(record[name], valid, "limits")
        for name in truth
    }
    return Benchmark(
        truth,
        normal={name: _at_seasons(record[name], valid, "mean") for name in truth},
        edges={name: values.isel(edge=[1, 2]) for name, values in limits.items()},
        tails={name: values.isel(edge=[0, 3]) for name, values in limits.items()},
    )


def judge(
    ensemble: xr.Dataset,
    against: Benchmark,
    *,
    reference: xr.Dataset | None,
    regions: xr.DataArray | None = None,
    lead_blocks: int | None = None,
    diagnosed: bool = True,
) -> Evidence:
    """Every score, map and diagnostic of one ensemble.

    Args:
        ensemble: As ``open_ensemble`` gives it: raw or calibrated, forecast or hindcast.
        against: From ``benchmark``.
        reference: Ensemble of the reference model, for maps; None for the reference itself.
        regions: Area weights of regions that are scored beside the whole, ``(region, latitude, longitude)``.
        lead_blocks: Leads pooled on maps, as for ``scorecard.scorecard``.
        diagnosed: Whether trajectories and patterns are diagnosed too; calibration changes little about the first, and
            its members depend on each other, which fair scores of patterns would reward.

    Raises:
        TercileError: As ``verification.score_ensemble``.
    """
    ensemble = resident(ensemble[list(against.truth)])
    weights = area_weights(ensemble)
    parts = weights.expand_dims(region=[ALL])
    parts = parts if regions is None else xr.concat([parts, regions], "region")
    truth = against.truth
    rows, spectra = diagnose(ensemble, truth, against.normal) if diagnosed else ({}, xr.Dataset())
    maps = xr.Dataset()
    if reference is not None:
        each = {
            name: paired_maps(ensemble[name], reference[name], truth[name], lead_blocks=lead_blocks) for name in truth
        }
        maps = xr.concat(list(each.values()), xr.Variable("variable", list(each)), join="outer")
    scored = [
        score_ensemble(ensemble[name], truth[name], weights=parts, climatology=against.normal[name]) for name in truth
    ]
    counted = [count_terciles(ensemble[name], truth[name], against.edges[name], weights=weights) for name in truth]
    patterns = xr.Dataset()
    if diagnosed:
        summed = [sum_patterns(ensemble[name], truth[name], against.tails[name], weights=weights) for name in truth]
        patterns = xr.concat(summed, "variable", join="outer", fill_value=0.0)
    return Evidence(
        statistics=merge(*scored).compute(),
        terciles=xr.concat(counted, "variable", join="outer", fill_value=0.0),
        patterns=patterns,
        maps=maps,
        realism=rows,
        spectra=spectra,
    )


def judged_card(evidence: Mapping[str, Evidence], *, reference: str, lead_blocks: int | None = None) -> dict[str, Any]:
    """What the scorecard says of some models' ensembles of one kind.

    Args:
        evidence: By the name of the model, the reference among them.
        reference: Name of the model that skill is measured against.
        lead_blocks: As for ``scorecard.scorecard``.

    Returns:
        ``scorecard.scorecard``'s content; ``overall``, the same rows with all leads pooled; ``parts``, these by
        region, season and year where there are several; ``terciles`` and ``patterns``, as ``terciles.tercile_card`` and
        ``patterns.pattern_card`` give them; and ``realism``, rows by model and variable.

    Raises:
        TercileError: The reference is not among the models.
    """
    if reference not in evidence:
        raise TercileError(f"reference: {reference!r} is not among the models {sorted(evidence)}.")
    statistics = {model: each.statistics.sel(region=[ALL]) for model, each in evidence.items()}
    leads = statistics[reference].sizes["lead_time"]
    terciles = {model: each.terciles for model, each in evidence.items()}
    patterns = {model: each.patterns for model, each in evidence.items() if each.patterns.data_vars}
    return {
        **scorecard(statistics, reference=reference, lead_blocks=lead_blocks),
        "lead_blocks": lead_blocks,
        "overall": scorecard(statistics, reference=reference, lead_blocks=leads)["models"],
        "parts": {
            by: scorecard(
                {model: _parted(each.statistics, by) for model, each in evidence.items()},
                reference=reference,
                lead_blocks=leads,
                versus_all=False,
            )["models"]
            for by in _partings(evidence[reference].statistics)
        },
        "terciles": tercile_card(terciles, reference=reference, lead_blocks=lead_blocks),
        "patterns": pattern_card(patterns, reference=reference, lead_blocks=lead_blocks),
        "realism": {model: dict(each.realism) for model, each in evidence.items()},
    }


def merge_evidence(*parts: Evidence) -> Evidence:
    """The evidence on all initial times of several parts, each judged on its own.

    Sums are added. What is not a sum, the diagnostics of trajectories and their spectra, is that of the first part.
    """
    first = parts[0]
    return Evidence(
        statistics=merge(*(part.statistics for part in parts)),
        terciles=_added([part.terciles for part in parts]),
        patterns=_added([part.patterns for part in parts]),
        maps=reduce(operator.add, (part.maps for part in parts)),
        realism=first.realism,
        spectra=first.spectra,
    )


def _added(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Sums of cases side by side, those of one case added."""
    bare = [part.drop_vars([name for name in part.coords if name not in part.indexes]) for part in parts]
    return reduce(operator.add, xr.align(*bare, join="outer", fill_value=0.0))


Parting = Literal["region", "season", "year"]


def _partings(statistics: xr.Dataset) -> list[Parting]:
    """By what the cases of these statistics can be parted."""
    valid = statistics["valid_time"].dt
    found: list[Parting] = ["region"] if statistics.sizes["region"] > 1 else []
    found += ["season"] if np.unique(valid.season).size > 1 else []
    return found + (["year"] if statistics.sizes["init_time"] > 1 and np.unique(valid.year).size > 1 else [])


def _parted(statistics: xr.Dataset, by: Parting) -> xr.Dataset:
    if by == "region":
        return statistics.sel(region=statistics["region"] != ALL)
    return split(statistics.sel(region=[ALL]), by=by)


def resident(ensemble: xr.Dataset) -> xr.Dataset:
    """The ensemble in memory if it is small, so that it is decoded once; lazy as it was if it is not."""
    ensemble = ensemble.assign_coords(valid_time=ensemble["valid_time"].compute())
    return ensemble.load() if ensemble.nbytes <= IN_MEMORY else ensemble


def _at_seasons(record: xr.DataArray, valid_time: xr.DataArray, what: str) -> xr.DataArray:
    """Mean or limits of a record at the time of year of each valid time, ``([edge], init_time, lead_time, ...)``."""

    def statistic(years: xr.DataArray) -> xr.DataArray:
        if what == "mean":
            return years.mean("time", skipna=False)
        return category_edges(years, levels=LIMITS).transpose(..., "edge")

    valid_time = valid_time.transpose("init_time", "lead_time")
    flat = xr.DataArray(valid_time.values.ravel(), dims="case", coords={"case": np.arange(valid_time.size)})
    found = by_season(record, flat, statistic).transpose("case", ...)
    dims = ("init_time", "lead_time", *found.dims[1:])
    coords = {name: coord for name, coord in found.coords.items() if "case" not in coord.dims and name in found.dims}
    coords |= {dim: valid_time[dim] for dim in dims[:2]}
    return xr.DataArray(found.values.reshape(*valid_time.shape, *found.shape[1:]), dims=dims, coords=coords)


def _member_limits(members: xr.DataArray) -> xr.DataArray:
    """Limits of thirds and tails among the members at each initial time, lead and cell."""
    return xr.apply_ufunc(
        lambda values: np.moveaxis(np.quantile(values, LIMITS, axis=-1), 0, -1),
        members.chunk(member=-1) if members.chunks else members,
        input_core_dims=[["member"]],
        output_core_dims=[["edge"]],
        dask="parallelized",
        output_dtypes=[float],
        dask_gufunc_kwargs={"output_sizes": {"edge": len(LIMITS)}},
    ).assign_coords(edge=list(LIMITS))
