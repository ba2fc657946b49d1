"""Whether stated probabilities come true: reliability diagram, Brier decomposition, ROC and value, from one table.

``tabulate`` sums cases by the probability that was stated for them (to the nearest 0.0001). Tables of parts add up with
``merge_tables``; everything else here is a function of the table. A case without probability or outcome is left out
and counted in the attribute ``missing``.
"""

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from pipeline.errors import TercileError

Floats = NDArray[np.float64]
_STEPS = 10_000  # distinct probabilities kept


def tabulate(probability: xr.DataArray, outcome: xr.DataArray, *, weights: xr.DataArray | float = 1.0) -> xr.Dataset:
    """Weight, events and number of cases by stated probability.

    Args:
        probability: Of the event, 0 to 1.
        outcome: 1 where the event happened, 0 where not, NaN where unknown; dims as ``probability``.
        weights: Of each case, as cell areas; broadcast.

    Returns:
        Dim ``probability``: ``weight``, ``events`` (weight of cases where it happened) and ``cases``.

    Raises:
        TercileError: Probabilities outside 0 to 1, outcomes that are neither 0 nor 1, or no case.
    """
    stated, happened, weight = (
        array.values.ravel().astype(float)
        for array in xr.broadcast(*xr.align(probability, outcome, xr.DataArray(weights), join="exact"))
    )
    known = np.isfinite(stated) & np.isfinite(happened) & (weight > 0)
    stated, happened, weight = stated[known], happened[known], weight[known]
    _check_cases(stated, happened)
    place = np.rint(stated * _STEPS).astype(int)
    columns = {"weight": weight, "events": weight * happened, "cases": np.ones_like(weight)}
    rows = {name: np.bincount(place, values, minlength=_STEPS + 1) for name, values in columns.items()}
    used = rows["cases"] > 0
    table = xr.Dataset({name: ("probability", values[used]) for name, values in rows.items()})
    grid = np.arange(_STEPS + 1)[used] / _STEPS
    return table.assign_coords(probability=grid).assign_attrs(missing=int(known.size - known.sum()))


def merge_tables(first: xr.Dataset, second: xr.Dataset) -> xr.Dataset:
    """The table of the cases of both."""
    left, right = xr.align(first, second, join="outer", fill_value=0.0)
    return (left + right).assign_attrs(missing=first.attrs["missing"] + second.attrs["missing"])


def reliability(
    table: xr.Dataset, *, independent: float | None = None, draws: int = 1000, seed: int = 0, confidence: float = 0.9
) -> xr.Dataset:
    """Reliability diagram by isotonic regression (CORP) with consistency band, Brier decomposition and ROC area.

    Neighbouring cells do not happen independently, so the number of cases overstates what is known: say with
    ``independent`` how many there are (as the number of initial times times regions), or the band comes too narrow.

    Args:
        table: From ``tabulate``.
        independent: Number of independent cases; by default all count as independent.
        draws: Simulations of the band.
        seed: Of the simulations.
        confidence: Probability inside the band.

    Returns:
        By ``probability``: ``recalibrated`` (how often it happened, made non-decreasing), ``band_low`` and
        ``band_high`` (where that would lie were the probabilities reliable), ``weight``, ``cases``. Scalars:
        ``brier = miscalibration - discrimination + uncertainty``, ``base_rate``, ``roc_area``.

    Source:
        Dimitriadis, Gneiting and Jordan (2021), doi:10.1073/pnas.2016191118.
    """
    weight, events = table["weight"].values, table["events"].values
    stated = table["probability"].values
    total = weight.sum()
    base_rate = events.sum() / total
    recalibrated = _isotonic(events / weight, weight)
    uncertainty = base_rate * (1 - base_rate)
    brier = _mean_brier(stated, weight, events)
    residual = _mean_brier(recalibrated, weight, events)
    band = _consistency_band(stated, weight, independent or table["cases"].sum().item(), draws, seed, confidence)
    lines = {"recalibrated": recalibrated, "band_low": band[0], "band_high": band[1]}
    return table[["weight", "cases"]].assign(
        {name: ("probability", values) for name, values in lines.items()}
        | {"brier": brier, "miscalibration": brier - residual, "discrimination": uncertainty - residual}
        | {"uncertainty": uncertainty, "base_rate": base_rate, "roc_area": roc_area(table)}
    )


def roc(table: xr.Dataset) -> xr.Dataset:
    """Hit rate and false-alarm rate of warning wherever the stated probability is at least ``threshold``.

    NaN where the event always or never happened. The last row, a threshold above 1, never warns.

    Returns:
        Dim ``threshold``, ascending: ``hit_rate``, ``false_alarm_rate``.
    """
    events = table["events"].values
    others = table["weight"].values - events
    rates = [np.append(np.cumsum(part[::-1])[::-1], 0.0) / (part.sum() or np.nan) for part in (events, others)]
    thresholds = np.append(table["probability"].values, np.inf)
    data = {"hit_rate": ("threshold", rates[0]), "false_alarm_rate": ("threshold", rates[1])}
    return xr.Dataset(data, coords={"threshold": thresholds})


def roc_area(table: xr.Dataset) -> float:
    """Area under the ROC curve: the chance that an event had the higher probability than a non-event (ties half).

    0.5 is no discrimination, 1 is perfect; NaN where the event always or never happened.

    Source:
        Mason and Graham (2002), doi:10.1256/003590002320603584.
    """
    curve = roc(table)
    return float(np.trapezoid(curve["hit_rate"].values[::-1], curve["false_alarm_rate"].values[::-1]))


def relative_economic_value(table: xr.Dataset, cost_loss: Floats) -> xr.DataArray:
    """What acting on the probabilities saves, against the base rate (0) and perfect knowledge (1); higher is better.

    The user protects where the probability is at least the cost–loss ratio, which is the best rule for reliable ones.

    Args:
        table: From ``tabulate``.
        cost_loss: Cost of protection over the loss it prevents, increasing, each between 0 and 1.

    Returns:
        Dim ``cost_loss``.

    Source:
        Richardson (2000), doi:10.1002/qj.49712656313.
    """
    from scores.probability import relative_economic_value_from_rates  # takes a second to load

    ratios = np.asarray(cost_loss, float)
    base_rate = xr.DataArray(float(table["events"].sum() / table["weight"].sum()))
    curve = roc(table)
    at = np.searchsorted(curve["threshold"].values, ratios - 0.5 / _STEPS)
    curve = curve.drop_vars("threshold")
    value = relative_economic_value_from_rates(
        curve["hit_rate"], curve["false_alarm_rate"], base_rate, list(ratios), cost_loss_dim="cost_loss"
    )
    return value.isel(
        threshold=xr.DataArray(at, dims="cost_loss"), cost_loss=xr.DataArray(np.arange(ratios.size), dims="cost_loss")
    )


def _check_cases(stated: Floats, happened: Floats) -> None:
    if not stated.size:
        raise TercileError("probability: no case has a probability, an outcome and a weight above 0.")
    if stated.min() < 0 or stated.max() > 1:
        raise TercileError(f"probability: runs from {stated.min()} to {stated.max()}; give fractions, not per cent.")
    if not np.isin(happened, (0.0, 1.0)).all():
        raise TercileError("outcome: holds values other than 0 and 1; state whether the event happened.")


def _isotonic(frequency: Floats, weight: Floats) -> Floats:
    return np.asarray(isotonic_regression(frequency, weights=weight).x)


def _mean_brier(probability: Floats, weight: Floats, events: Floats) -> float:
    squares = events * (1 - probability) ** 2 + (weight - events) * probability**2
    return float(squares.sum() / weight.sum())


def _consistency_band(
    stated: Floats, weight: Floats, independent: float, draws: int, seed: int, confidence: float
) -> Floats:
    """Ends of where the recalibrated curve of reliable probabilities lies, ``(2, probability)``."""
    rng = np.random.default_rng(seed)
    cases = np.maximum(np.rint(weight / weight.sum() * independent), 1).astype(int)
    curves = np.array([_isotonic(rng.binomial(cases, stated) / cases, cases.astype(float)) for _ in range(draws)])
    tail = (1 - confidence) / 2
    return np.asarray(np.quantile(curves, [tail, 1 - tail], axis=0))
