"""Where a model is better than another: paired scores summed at each cell, and maps that say what chance would not.

A case is one initial time, or one valid time where several leads are pooled. ``paired_maps`` keeps five sums over the
cases for each cell, so parts merge by addition; ``finish_maps`` turns them into skill and its significance. One test a
cell finds skill somewhere by chance alone, so the share of false discoveries is controlled over each whole map.
"""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import false_discovery_control
from scipy.stats import t as student

from pipeline.batches import start_batches
from pipeline.judging.card_rows import lead_rows
from pipeline.judging.matching import SPACE, at_valid_times
from pipeline.judging.scores import crps_ensemble
from pipeline.judging.significance import FEWEST_CASES

FALSE_DISCOVERIES = 0.1
"""Share of the cells called better or worse that may be so by chance.

Source: Wilks (2016), doi:10.1175/BAMS-D-15-00267.1.
"""

_SUMS = ("cases", "own", "other", "square", "lagged")
_LONGEST_MEMORY = 0.97

Floats = NDArray[np.float64]


def paired_maps(
    forecast: xr.DataArray, reference: xr.DataArray, observation: xr.DataArray, *, lead_blocks: int | None = None
) -> xr.Dataset:
    """Sums over the cases of two ensembles' CRPS and of their difference, at each cell.

    The plain CRPS where both have as many members, else the fair one. Initial times are read a few at a time.

    Args:
        forecast: As for ``verification.score_ensemble``.
        reference: Another ensemble with the same initial and lead times, on the same grid.
        observation: As for ``score_ensemble``; a case that it or a member lacks is left out of that cell.
        lead_blocks: Leads pooled, as for ``scorecard.scorecard``.

    Returns:
        ``cases``, ``own`` and ``other`` (CRPS), ``square`` of the difference, and ``lagged``, its product with that of
        the case before; dims ``(lead, [scenario], [level], latitude, longitude)``.
    """
    if "time" in observation.dims:
        observation = at_valid_times(observation, forecast["valid_time"].compute())
    pools = lead_rows(forecast, lead_blocks)
    sums: list[Floats | float] = [0.0] * len(pools)
    last: list[Floats | float] = [0.0] * len(pools)
    for own, other in _batches(forecast, reference, observation):
        for place, (block, _) in enumerate(pools):
            part, last[place] = _sum_cases(own[:, block], other[:, block], last[place])
            sums[place] = sums[place] + part
    rest = [dim for dim in forecast.dims if dim not in ("init_time", "lead_time", "member")]
    coords = {dim: forecast[dim] for dim in rest if dim in forecast.coords} | {
        name: ("lead", [span[name] for _, span in pools]) for name in ("lead", "lead_first", "lead_last")
    }
    maps = xr.DataArray(np.array(sums), dims=("lead", "sum", *rest), coords={**coords, "sum": list(_SUMS)})
    return maps.astype("float32").to_dataset("sum").transpose("lead", ..., *SPACE)


def finish_maps(maps: xr.Dataset) -> xr.Dataset:
    """Skill at each cell and whether it can be told from none.

    A t-test of the mean difference with as many independent cases as its memory leaves; NaN below ten cases.

    Args:
        maps: From ``paired_maps``, summed over whatever shall be pooled.

    Returns:
        ``skill`` (above 0 is better than the reference), ``p_value`` and ``verdict``: 1 better, -1 worse, 0 no
        difference shown, NaN where there are too few cases.

    Source:
        Zwiers and von Storch (1995), doi:10.1175/1520-0442(1995)008<0336:TSCIAI>2.0.CO;2, for the independent cases;
        Benjamini and Hochberg (1995), doi:10.1111/j.2517-6161.1995.tb02031.x; Wilks (2016).
    """
    maps = maps.astype(float)
    cases = maps["cases"].where(maps["cases"] >= FEWEST_CASES)
    mean = (maps["own"] - maps["other"]) / cases
    power = (maps["square"] - cases * mean**2).clip(min=0)
    memory = ((maps["lagged"] - cases * mean**2) / power.where(power > 0)).clip(0, _LONGEST_MEMORY).fillna(0)
    independent = (cases * (1 - memory) / (1 + memory)).clip(min=2)
    variance = power / (cases - 1) / independent
    ratio = abs(mean) / variance.where(variance > 0) ** 0.5
    p_value = xr.apply_ufunc(lambda x, n: 2 * student.sf(x, n - 1), ratio, independent)
    p_value = p_value.fillna(1.0).where(cases.notnull())
    level = xr.apply_ufunc(_discoveries, p_value, input_core_dims=[SPACE], output_core_dims=[SPACE], vectorize=True)
    verdict = (
        (mean < 0).astype(float).where(mean < 0, -1.0).where(level <= FALSE_DISCOVERIES, 0.0).where(cases.notnull())
    )
    skill = 1 - maps["own"] / maps["other"].where(maps["other"] > 0)
    return xr.Dataset({"skill": skill.where(maps["cases"] > 0), "p_value": p_value, "verdict": verdict})


def _batches(
    forecast: xr.DataArray, reference: xr.DataArray, observation: xr.DataArray
) -> Iterator[tuple[Floats, Floats]]:
    """CRPS fields of both for a few initial times, ``(init_time, lead_time, ...)``, NaN where either is not known."""
    fair = forecast.sizes["member"] != reference.sizes["member"]
    rest = [dim for dim in forecast.dims if dim not in ("init_time", "lead_time", "member")]
    for few in start_batches(forecast):
        truth = observation.isel(few).compute()
        both = [crps_ensemble(part.isel(few), truth, fair=fair) for part in (forecast, reference)]
        own, other = (score.transpose("init_time", "lead_time", *rest).values for score in both)
        known = np.isfinite(own) & np.isfinite(other)
        yield np.where(known, own, np.nan), np.where(known, other, np.nan)


def _sum_cases(own: Floats, other: Floats, last: Floats | float) -> tuple[Floats, Floats]:
    """The five sums over some cases, ``(init_time, lead_time, ...)``, and the difference in the last of them."""
    first, second = (part.reshape(-1, *part.shape[2:]) for part in (own, other))
    difference = np.nan_to_num(first - second)
    before = np.concatenate([np.broadcast_to(last, difference[:1].shape), difference[:-1]])
    terms = (np.isfinite(first), np.nan_to_num(first), np.nan_to_num(second), difference**2, difference * before)
    return np.stack([term.sum(axis=0, dtype=float) for term in terms]), difference[-1]


def _discoveries(p_values: Floats) -> Floats:
    """Smallest rate of false discoveries at which each cell of a map would be called, NaN where not tested."""
    found = np.full(p_values.shape, np.nan)
    tested = np.isfinite(p_values)
    if tested.any():
        found[tested] = false_discovery_control(p_values[tested])
    return found
