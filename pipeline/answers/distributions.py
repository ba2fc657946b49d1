"""``dist``, ``value`` and ``level`` questions: the numbers themselves, and the values with a given chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.answers.headline import amounts, members_or_samples, percent, share_of_members
from pipeline.answers.intervals import effective_trials, quantile_interval
from pipeline.answers.probability import Inquiry, among_given, check_known
from pipeline.answers.quantities import possible
from pipeline.answers.thresholds import quantiles
from pipeline.answers.warnings import thin_warnings
from pipeline.answers.windows import resolve
from pipeline.events.errors import QuestionError
from pipeline.events.kinds import kind_of
from pipeline.events.tree import Each, First

if TYPE_CHECKING:
    from pipeline.answers.extremes import Level

Array = NDArray[np.float64]
Payload = dict[str, Any]

FEW_BEYOND = 5


def answer_distribution(inquiry: Inquiry, *, level: float) -> tuple[Payload, xr.Dataset]:
    """Answer a ``dist``, ``value`` or ``level`` question.

    Args:
        inquiry: The question before its data.
        level: Coverage of intervals.

    Returns:
        The answer's own fields, and each member's values.

    Raises:
        QuestionError: ``too_few_members``, or ``members_unknown``.
    """
    values = inquiry.values(inquiry.question.subject).known()[..., 0, 0]
    known, considered = among_given(inquiry, ~np.isnan(values))
    check_known(known[considered])
    values = np.where(known, values * inquiry.measure(inquiry.question.subject).shown[0], np.nan)
    parts = [_one(inquiry, values[index], level) for index in range(values.shape[0])]
    for scenario, part in zip(inquiry.scenarios, parts, strict=False):
        part["scenario"] = scenario
    members = _members(inquiry, values)
    warnings = thin_warnings(inquiry, known, considered)
    if len(parts) == 1:
        return {**parts[0], "warnings": [*warnings, *parts[0]["warnings"]]}, members
    warnings += [
        {**warning, "text": f"Under {part['scenario']}: {warning['text']}"}
        for part in parts
        for warning in part.pop("warnings")
    ]
    text = " ".join(
        f"Under {scenario}: {part['headline']['text']}" for scenario, part in zip(inquiry.scenarios, parts, strict=True)
    )
    head = {"text": text, "source": "members", "value": None, "likelihood_term": None}
    return {"headline": head, "scenarios": parts, "warnings": warnings}, members


def _one(inquiry: Inquiry, values: Array, level: float) -> Payload:
    """The answer under one scenario; ``values`` are ``(member, sample)``."""
    known = values[~np.isnan(values)]
    question = inquiry.question
    if kind_of(question.subject).quantity == "date":
        return _passage(inquiry, known, level)
    if question.ask == "value":
        return _value(inquiry, values, known, level)
    if question.ask == "level":
        return _level(inquiry, values, level)
    units = inquiry.measure(inquiry.question.subject).shown[1]
    spread = quantiles(known)
    low, middle, high = amounts([spread["5"], spread["50"], spread["95"]])
    what = members_or_samples(values.shape[1])
    text = f"Median {middle} {units}; nine in ten {what} from {low} to {high} {units}."
    return {**_told(text, spread["50"]), **_distribution(inquiry, known), "warnings": []}


def _value(inquiry: Inquiry, values: Array, known: Array, level: float) -> Payload:
    """The value that is exceeded with a given chance."""
    chance = chance_asked(inquiry)
    members = int((~np.isnan(values)).any(axis=1).sum())
    beyond = min(chance, 1 - chance)
    check_resolved(chance, known.size)
    found = float(np.quantile(known, 1 - chance, method="weibull"))
    trials = int(effective_trials(values > found, ~np.isnan(values)))
    ends = quantile_interval(known, 1 - chance, trials=trials, level=level)
    units = inquiry.measure(inquiry.question.subject).shown[1]
    said, interval = _said(found, ends.low, ends.high, level)
    what = members_or_samples(values.shape[1])
    text = f"{said} {units} is {_tied(known, found, what) or f'exceeded by {percent(chance)} of {what}'} ({interval})."
    warnings = []
    if beyond * known.size < FEW_BEYOND:
        count = np.count_nonzero(known > found if chance <= 0.5 else known < found)
        text_few = f"{f'Only {count}' if count else 'None'} of {known.size} samples lie beyond this value."
        warnings.append({"code": "few_beyond", "text": text_few})
    return {
        **_told(text, found),
        "value": {
            "value": found,
            "low": ends.low,
            "high": ends.high,
            "units": units,
            "exceeded": chance,
            "level": level,
            "method": "order statistics",
            "effective": trials,
            "members": members,
        },
        **_distribution(inquiry, known),
        "warnings": warnings,
    }


def _level(inquiry: Inquiry, values: Array, level: float) -> Payload:
    """The value that is exceeded once in so many years on average."""
    # They load scipy.stats, which takes longer than any other answer.
    from pipeline.answers.extremes import return_level

    years = int(inquiry.question.return_years or 0)
    units = inquiry.measure(inquiry.question.subject).shown[1]
    fitted = return_level(values, years, level=level)
    if fitted is None:
        raise _no_level(values[~np.isnan(values)], years, units)
    found, beyond = _held(inquiry, fitted)
    how = "extrapolated by a fitted tail" if found.extrapolated else "counted"
    said, interval = _said(found.value, found.low, found.high, level)
    tied = _tied(values[~np.isnan(values)], found.value, "samples")
    once = f"{tied}; it is the level of {years} years" if tied else f"exceeded once in {years} years on average"
    text = f"{said} {units} is {once} ({interval}; {how})."
    return {
        **_told(text, found.value),
        "value": {**_level_fields(found), "units": units, "return_years": years, "level": level},
        **_distribution(inquiry, values[~np.isnan(values)]),
        "warnings": [*_level_warnings(inquiry, values, found, units), *beyond],
    }


def _no_level(known: Array, years: int, units: str) -> QuestionError:
    """Why no level can be read from these samples."""
    from pipeline.answers.extremes import CASES, fewest_samples, most_tied

    samples, least = known.size, fewest_samples(years)
    text = f"A level with a return period of {years} years cannot be read from {samples} samples"
    if samples < least:
        text += f"; {least} are needed. Pool more years (each …), or ask for a shorter period."
        return QuestionError("too_few_members", text)
    value, tied = most_tied(known)
    text += (
        f": {tied} of them are {value:.4g} {units}, and no tail can be fitted to values that are so often the same. "
        f"Ask for at most {samples // CASES} years, which can be counted."
    )
    return QuestionError("too_few_members", text, try_=(f"return {samples // CASES} years",))


def _held(inquiry: Inquiry, fitted: Level) -> tuple[Level, list[dict[str, str]]]:
    """A level that is no further than what can be, and a warning where a fitted tail goes beyond that."""
    factor, units = inquiry.measure(inquiry.question.subject).shown
    ends = possible(inquiry.question.subject, inquiry.members.catalogue, inquiry.timeline)
    least, most = (factor * end for end in ends)
    value, low, high = (min(max(one, least), most) for one in fitted[:3])
    if not fitted.extrapolated or (value, low, high) == fitted[:3]:
        return fitted, []
    text = f"The fitted tail goes beyond what can be, {least:.4g} to {most:.4g} {units}: level and interval end there."
    return fitted._replace(value=value, low=low, high=high), [{"code": "level_held", "text": text}]


def _level_fields(found: Level) -> Payload:
    return {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "extrapolated": found.extrapolated,
        "method": found.method,
        "fit_p_value": found.fit,
    }


def _level_warnings(inquiry: Inquiry, values: Array, found: Level, units: str) -> list[dict[str, str]]:
    from pipeline.answers.extremes import mean_change

    warnings = []
    change, is_trend = mean_change(values)
    each = kind_of(inquiry.question.subject).each
    if is_trend and isinstance(each, Each):
        verb = "rises" if change > 0 else "falls"
        text = (
            f"The mean {verb} {abs(change):.2g} {units} inside {each.first}..{each.last}; a level with a return period "
            "is an average over the window."
        )
        warnings.append({"code": "stationarity", "text": text})
    if found.fit is not None and found.fit < 0.05:
        text = f"The fitted tail does not suit these values well (Kolmogorov-Smirnov p = {found.fit:.2g})."
        warnings.append({"code": "poor_fit", "text": text})
    return warnings


def _passage(inquiry: Inquiry, known: Array, level: float) -> Payload:
    """When something first happens; members that never get there stay in the count."""
    timeline = inquiry.timeline
    node = inquiry.question.subject
    final = resolve(node.window, timeline).span[1] - 1 if isinstance(node, First) else timeline.size - 1
    reached = known[np.isfinite(known)].astype(int)
    share = reached.size / known.size
    steps, counts = np.unique(reached, return_counts=True)
    by_step = {timeline.name(int(step)): int(count) for step, count in zip(steps, counts, strict=True)}
    end = timeline.name(final)
    if share >= 0.5:
        middle = timeline.name(int(np.sort(known)[(known.size - 1) // 2]))
        text = f"Half of the members get there by {middle}; {share_of_members(share)} by {end}."
    else:
        middle = None
        text = f"{share_of_members(share).capitalize()} of {known.size} members get there by {end}."
    return {
        **_told(text, None),
        "passage": {"median": middle, "reached": share, "never": 1 - share, "by_step": by_step, "members": known.size},
        "warnings": [],
    }


def _distribution(inquiry: Inquiry, known: Array) -> Payload:
    """Quantiles of members, ``known`` as they are said, and of the reference."""
    factor, units = inquiry.measure(inquiry.question.subject).shown
    found = {"units": units, "quantiles": quantiles(known)}
    try:
        usual = factor * inquiry.climate.sample(inquiry.question.subject, None).values.ravel()
    except QuestionError as error:
        return {"distribution": {**found, "reference_reason": error.text}}
    usual = usual[~np.isnan(usual)]
    return {
        "distribution": {
            **found,
            "mean": float(known.mean()),
            "reference_quantiles": quantiles(usual) if usual.size else None,
            "reference": inquiry.members.catalogue.reference,
        }
    }


def _told(text: str, value: float | None) -> Payload:
    return {"headline": {"text": text, "source": "members", "value": value, "likelihood_term": None}}


def _tied(known: Array, value: float, what: str) -> str:
    """What is true of a value that several samples have, where a chance of exceeding it would not be; else nothing."""
    if np.count_nonzero(known == value) < 2:
        return ""
    reached, exceeded = (share_of_members(float(np.mean(beyond))) for beyond in (known >= value, known > value))
    return f"reached by {reached} of the {what} and exceeded by {exceeded}"


def _said(value: float, low: float | None, high: float | None, level: float) -> tuple[str, str]:
    """A value and its interval in words."""
    said, *ends = amounts([value, low, high])
    return said, f"{100 * level:g} % interval {' to '.join(ends)}"


def chance_asked(inquiry: Inquiry) -> float:
    """The chance that a ``value`` question names."""
    return float(inquiry.question.exceeded or 50.0) / 100


def check_resolved(chance: float, samples: int) -> None:
    """Refuse a value that is exceeded too rarely, or too often, for so many samples.

    Raises:
        QuestionError: ``too_few_members``.
    """
    if min(chance, 1 - chance) >= 1 / (samples + 1):
        return
    years, commoner = 1 / min(chance, 1 - chance), FEW_BEYOND / samples
    could = f"exceeded with {100 * (commoner if chance < 0.5 else 1 - commoner):.2g} %"
    raise QuestionError(
        "too_few_members",
        f"A 1-in-{years:.0f} value cannot be read from {samples} samples: the rarest that they resolve is about 1 in "
        f"{samples}, and 5 cases would need {5 * years:.0f}. Try a commoner value, or pool years (each …).",
        try_=(could,) if commoner <= 0.5 else (),
    )


def _members(inquiry: Inquiry, values: Array) -> xr.Dataset:
    coords = {"scenario": list(inquiry.scenarios)} if inquiry.scenarios else {}
    array = xr.DataArray(values, dims=("scenario", "member", "sample"), coords=coords, name="value")
    array.attrs["units"] = inquiry.measure(inquiry.question.subject).shown[1]
    array = array.squeeze([dim for dim in ("scenario", "sample") if array.sizes[dim] == 1])
    return _led(array, inquiry) if kind_of(inquiry.question.subject).quantity == "date" else array.to_dataset()


def _led(steps: xr.DataArray, inquiry: Inquiry) -> xr.Dataset:
    """Steps of a first passage as the leads that a store counts from 1, infinite where never, and by name."""
    names = [inquiry.timeline.name(int(step)) if np.isfinite(step) else "" for step in steps.values.ravel()]
    leads = (steps + 1).assign_attrs(units="1", long_name="lead of the first time, infinite where there is none")
    return leads.to_dataset().assign_coords(date=(steps.dims, np.reshape(names, steps.shape)))
