"""Is a trajectory of the ensemble like the one that came about: the diagnostics of ``realism`` on both, in a table.

All is measured on anomalies from the reference climate at that time of year, at the leads whose truth is known, for
some members and starts, so that the cost does not grow with an ensemble. Each diagnostic of the truth gets its place
among those of the members; a place below 5 % or above 95 % happens by chance for one diagnostic in ten.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import cast

import numpy as np
import xarray as xr

from pipeline.grid import area_weights
from pipeline.judging.card_rows import Row, number_or_none
from pipeline.judging.matching import SPACE
from pipeline.judging.realism import (
    annual_cycle,
    autocorrelation,
    box_index,
    joint_exceedance,
    place_among,
    spell_lengths,
    tail_quantiles,
    trend,
    zonal_spectrum,
)

MEMBERS = 20
"""Members that are looked at: enough for their 5–95 % range."""
STARTS = 12
"""Initial times that are looked at, evenly."""
FEWEST_LEADS = 10
"""Judged leads that a diagnostic in time needs."""

_TAILS = (0.01, 0.99)
_SPELL, _LONGEST = 0.8, 12
_NINO34 = {"latitude": (-5.0, 5.0), "longitude": (190.0, 240.0)}
_FEWEST_MONTHS = 4  # of the year, that a cycle needs

Diagnostics = dict[str, xr.DataArray]
Pair = tuple[xr.DataArray, xr.DataArray]
"""Members and truth of one start."""


def diagnose(
    forecast: xr.Dataset, truth: Mapping[str, xr.DataArray], normal: Mapping[str, xr.DataArray]
) -> tuple[dict[str, list[Row]], xr.Dataset]:
    """Diagnostics of an ensemble's trajectories beside those of the truth.

    Args:
        forecast: An ensemble, variables ``([scenario], init_time, lead_time, member, [level], latitude, longitude)``.
        truth: By variable, laid out as the ensemble without ``member``, NaN where unknown.
        normal: By variable, what anomalies are taken from, broadcast against the truth.

    Returns:
        By variable a list of rows (``diagnostic, units, observed, low, median, high, place, starts`` and scenario and
        level where there are some), and the spectra along the parallels: ``observed``, ``low``, ``median``, ``high``
        with dims ``(variable, [scenario], [level], wavenumber)``, squared units.
    """
    few = forecast.isel(member=slice(MEMBERS))
    rows: dict[str, list[Row]] = {name: [] for name in truth}
    spectra = []
    for label in _labels(few[list(truth)]):
        pairs = {name: dict(_anomalies(few[name], truth[name], normal[name], label)) for name in truth}
        for name, pair in pairs.items():
            if not pair:
                continue
            units = str(forecast[name].attrs.get("units", ""))
            measured = _average([(_measure(members), _measure(observed)) for members, observed in pair.values()])
            spectrum = place_among(*measured.pop("spectrum"))
            about = {"variable": name, **label}
            spectra.append(
                spectrum.drop_vars("place").drop_attrs().expand_dims({dim: [one] for dim, one in about.items()})
            )
            rows[name] += [
                _row(what, _units(what, units), *both, starts=len(pair), label=label) for what, both in measured.items()
            ]
        for first, second in combinations([name for name, pair in pairs.items() if pair], 2):
            rows[first] += _joint(second, pairs[first], pairs[second], label)
    return {name: found for name, found in rows.items() if found}, _joined(spectra)


def _labels(dataset: xr.Dataset) -> list[dict[str, object]]:
    """Each scenario and level, as something to select by."""
    dims = [dim for dim in ("scenario", "level") if dim in dataset.dims]
    shape = [dataset.sizes[dim] for dim in dims]
    return [{dim: dataset[dim][n].item() for dim, n in zip(dims, at, strict=True)} for at in np.ndindex(*shape)]


def _anomalies(
    forecast: xr.DataArray, truth: xr.DataArray, normal: xr.DataArray, label: dict[str, object]
) -> Iterator[tuple[int, Pair]]:
    """Some starts: members ``(lead_time, member, latitude, longitude)`` and truth, over the leads that are judged."""
    forecast, truth, normal = (
        part.sel({dim: one for dim, one in label.items() if dim in part.dims}, drop=True)
        for part in (forecast, truth, normal)
    )
    known = truth.notnull().any(SPACE).compute()
    starts = np.flatnonzero(known.any("lead_time").values)
    for start in starts[np.unique(np.linspace(0, len(starts) - 1, min(STARTS, len(starts))).astype(int))]:
        judged = {"init_time": start, "lead_time": np.flatnonzero(known[start].values)}
        usual = normal.isel({dim: at for dim, at in judged.items() if dim in normal.dims}, drop=True)
        observed = truth.isel(judged, drop=True).compute() - usual
        members = forecast.isel(judged, drop=True).compute() - usual
        if "valid_time" in forecast.coords:
            time = forecast["valid_time"].isel(judged, drop=True).variable
            observed, members = (part.assign_coords(valid_time=time) for part in (observed, members))
        valid = observed.notnull().all("lead_time") & members.notnull().all(("lead_time", "member"))
        if valid.any():
            yield int(start), (members.where(valid).astype("float32"), observed.where(valid).astype("float32"))


def _measure(anomaly: xr.DataArray) -> Diagnostics:
    """All diagnostics of trajectories ``(lead_time, [member], latitude, longitude)``, each ``([member], …)``."""
    area = area_weights(anomaly)
    weights = area.where(anomaly.notnull().all([dim for dim in anomaly.dims if dim not in SPACE]), 0.0)
    found = {"spectrum": zonal_spectrum(anomaly).mean("lead_time")}
    long = anomaly.sizes["lead_time"] >= FEWEST_LEADS
    if long:
        slope = trend(anomaly)
        steps = xr.DataArray(np.arange(anomaly.sizes["lead_time"], dtype="float32"), dims="lead_time")
        found["trend of the area mean"] = _mean(slope, weights)
        anomaly = anomaly - anomaly.mean("lead_time", skipna=False) - slope * (steps - steps.mean())
    found["variance at a cell"] = _mean((anomaly**2).mean("lead_time", skipna=False), weights)
    found["variance of the area mean"] = (_mean(anomaly, weights) ** 2).mean("lead_time")
    tails = tail_quantiles(_stacked(anomaly), levels=_TAILS, dims=["lead_time", "cell"])
    for place, level in enumerate(_TAILS):
        found[f"{100 * level:.0f} % quantile"] = tails.isel(level=place, drop=True)
    if long:
        found["correlation with the step before"] = _mean(
            autocorrelation(anomaly, lags=[1]).isel(lag=0, drop=True), weights
        )
        found["length of spells"] = _spells(anomaly)
        found |= _seasonal(_mean(anomaly, weights)) | _el_nino(anomaly)
    return found


def _seasonal(series: xr.DataArray) -> Diagnostics:
    """Size of the annual cycle that is left in a series of anomalies, where its steps are parts of the year."""
    if "valid_time" not in series.coords or np.unique(series["valid_time"].dt.month).size < _FEWEST_MONTHS:
        return {}
    cycle = annual_cycle(series.drop_vars("valid_time"), series["valid_time"])["mean"]
    return {"annual cycle left in the area mean": cycle.std("month")}


def _el_nino(anomaly: xr.DataArray) -> Diagnostics:
    """Variance and memory of Niño 3.4, where the grid has it."""
    index = box_index(anomaly, **_NINO34)
    if index.isnull().any():
        return {}
    memory = autocorrelation(index, lags=[1]).isel(lag=0, drop=True)
    return {
        "variance of Niño 3.4": (index**2).mean("lead_time"),
        "correlation of Niño 3.4 with the step before": memory,
    }


def _spells(anomaly: xr.DataArray) -> xr.DataArray:
    """Mean number of steps that a cell stays in its own upper fifth."""
    cells = _stacked(anomaly)
    limit = xr.apply_ufunc(lambda values: np.quantile(values, _SPELL, axis=-1), cells, input_core_dims=[["lead_time"]])
    counts = spell_lengths(cells > limit, longest=_LONGEST).sum("cell")
    return (counts * counts["length"]).sum("length") / counts.sum("length")


def _stacked(anomaly: xr.DataArray) -> xr.DataArray:
    """The known cells in a row."""
    flat = anomaly.stack(cell=SPACE).reset_index("cell").drop_vars([*SPACE], errors="ignore")
    return flat.isel(cell=np.flatnonzero(flat.notnull().all([dim for dim in flat.dims if dim != "cell"]).values))


def _mean(field: xr.DataArray, weights: xr.DataArray) -> xr.DataArray:
    return field.fillna(0.0).weighted(weights).mean(SPACE)


def _average(pairs: list[tuple[Diagnostics, Diagnostics]]) -> dict[str, tuple[xr.DataArray, xr.DataArray]]:
    """Means over the starts, of members and truth, of what every start could tell."""
    shared = [name for name in pairs[0][0] if all(name in members for members, _ in pairs)]
    return {
        name: (
            xr.concat([members[name] for members, _ in pairs], "start").mean("start"),
            xr.concat([observed[name] for _, observed in pairs], "start").mean("start"),
        )
        for name in shared
    }


def _joint(second: str, one: Mapping[int, Pair], other: Mapping[int, Pair], label: dict[str, object]) -> list[Row]:
    """How often both variables are in their own upper tenth together, in the starts and cells that both have."""
    both = []
    for start in (start for start in one if start in other):
        parts = [
            [_stacked(a.where(b.notnull())), _stacked(b.where(a.notnull()))]
            for a, b in zip(one[start], other[start], strict=True)
        ]
        if all(part.size for pair in parts for part in pair):
            found = [joint_exceedance(*pair, level=0.9, dims=["lead_time", "cell"]) for pair in parts]
            both.append(({"joint": found[0]}, {"joint": found[1]}))
    if not both:
        return []
    what = f"upper tenth together with {second}"
    return [_row(what, "1", *_average(both)["joint"], starts=len(both), label=label)]


def _row(
    what: str, units: str, members: xr.DataArray, observed: xr.DataArray, *, starts: int, label: dict[str, object]
) -> Row:
    among = place_among(members, observed)
    numbers = {name: number_or_none(among[name].item()) for name in ("observed", "low", "median", "high", "place")}
    return {**label, "diagnostic": what, "units": units, **numbers, "starts": starts}


def _units(what: str, units: str) -> str:
    if "variance" in what:
        return f"({units})²" if " " in units else f"{units}²"
    return {"trend of the area mean": f"{units} a step", "length of spells": "steps"}.get(
        what, "1" if "correlation" in what else units
    )


def _joined(spectra: list[xr.Dataset]) -> xr.Dataset:
    known = [spectrum for spectrum in spectra if spectrum["observed"].notnull().all()]
    return cast(xr.Dataset, xr.combine_by_coords(known)) if known else xr.Dataset()
