"""The futures in figures: maps of change and exceedance, fans through time and exceedance curves, with numbers."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.answers.headline import minus
from pipeline.grid import area_weights
from pipeline.reporting.captions import (
    Illustration,
    Setting,
    Table,
    date_text,
    illustrate,
    is_annual,
    lead_unit,
    of_scenario,
    scenarios_of,
    signed,
    span_text,
    under,
)
from pipeline.reporting.figures import Curve, FanChart, exceedance_curves, fan_chart, field_map
from pipeline.reporting.palette import Classes, change_classes, probability_classes
from pipeline.reporting.summaries import (
    Subject,
    at_place,
    base_band,
    exceedance_curve,
    fan,
    window_change,
    window_exceedance,
)

Place = tuple[float, float] | None
"""Latitude and longitude of a point, or None for the area mean."""


def change_maps(subject: Subject, setting: Setting) -> list[Illustration]:
    """A map of the mean change in the window for each scenario, all in the same classes."""
    change = window_change(subject.forecast, setting.leads).compute()
    classes = change_classes(change.values, is_wetness=subject.is_wetness)
    quantity = f"mean change from {setting.years} ({subject.units})"
    maps = []
    for name in scenarios_of(subject):
        field = of_scenario(change, name)
        mean, low, high = (signed(float(value)) for value in (at_place(field, None), field.min(), field.max()))
        caption = (
            f"Mean change of {subject.label} in {_when(subject, setting)}{under(name)}, against {setting.years}, over "
            f"{subject.forecast.sizes['member']} members of {setting.model}. Area mean {mean} {subject.units}; cells "
            f"from {low} to {high}."
        )
        drawn, numbers = _map(subject, setting, name, field, classes, quantity)
        caption += _hatched(subject, setting, name)
        maps.append(illustrate(drawn, "change", subject.name, name, caption=caption, table=numbers))
    return maps


def exceedance_maps(subject: Subject, setting: Setting) -> list[Illustration]:
    """A map of the share of members and steps above the reference's threshold for each scenario."""
    share = window_exceedance(
        subject.forecast, subject.reference, quantile=setting.quantile, leads=setting.leads
    ).compute()
    quantity = f"share above the {setting.limit} (%)"
    usual = f"base rate {100 - 100 * setting.quantile:.0f} %"
    usual = "none of the reference years lies above it" if setting.quantile == 1 else usual
    each = _each(subject)
    maps = []
    for name in scenarios_of(subject):
        field = of_scenario(share, name)
        caption = (
            f"Share of members and {each}s in {_when(subject, setting)}{under(name)} with {subject.label} above each "
            f"cell's {setting.limit} ({usual}). Area mean {at_place(field, None):.0f} %. All {each}s are pooled: this "
            f"is not the chance that some {each} exceeds it."
        )
        drawn, numbers = _map(subject, setting, name, field, probability_classes(), quantity)
        caption += _hatched(subject, setting, name)
        maps.append(illustrate(drawn, "exceedance", subject.name, name, caption=caption, table=numbers))
    return maps


def fan_of(subject: Subject, setting: Setting, where: str, place: Place) -> Illustration:
    """A fan chart of the area mean or of the cell that holds a point, with the record before and after the start."""
    names, valid_time = scenarios_of(subject), subject.forecast["valid_time"]
    bands = fan(at_place(subject.forecast, place)).compute()
    x, past, later, dates = _positions(subject, at_place(subject.record, place).compute())
    chart = FanChart(
        x=x,
        fans={name: of_scenario(bands, name).values for name in names},
        base=base_band(at_place(subject.reference, place), valid_time).compute().values,
        past=past,
        later=later,
        quantity=f"{subject.name}, {where}: change from {setting.years} ({subject.units})",
        time={"years": "year", "months": "month", "days": "day"}.get(lead_unit(subject), "time"),
        dates=dates,
        record=setting.record,
    )
    ends = [(name, [signed(value) for value in of_scenario(bands, name).values[:, -1]]) for name in names]
    last = "; ".join(
        f"{name + ': ' if name else ''}median {values[2]} {subject.units}, 5–95 % {values[0]} to {values[4]}"
        for name, values in ends
    )
    when = date_text(valid_time[-1], lead_unit(subject))
    caption = f"{subject.label.capitalize()}, {where}, as change from {setting.years}. By {when} {last}."
    return illustrate(fan_chart(chart), "fan", subject.name, where, caption=caption, table=_fan_table(subject, bands))


def curve_of(subject: Subject, setting: Setting, where: str, place: Place) -> Illustration:
    """Exceedance curves of all scenarios and of the reference years, for the area mean or a point."""
    window = at_place(subject.forecast, place).sel(lead_time=slice(*setting.leads)).compute()
    lines = {name: exceedance_curve(of_scenario(window, name).values.ravel()) for name in scenarios_of(subject)}
    base = exceedance_curve(at_place(subject.reference, place).values)
    quantity = f"{subject.name}, {where}: change from {setting.years} ({subject.units})"
    one_in_ten = ", ".join(f"{_exceeded(line, 10)} {subject.units}{under(name)}" for name, line in lines.items())
    each = _each(subject)
    caption = (
        f"Share of members in which {subject.label}, {where}, exceeds a value in any one {each} of "
        f"{_when(subject, setting)} ({each}s pooled), beside that of {setting.years}. Exceeded one time in ten: "
        f"{one_in_ten}; in {setting.years} {_exceeded(base, 10)} {subject.units}."
    )
    columns = [f"{name or 'forecast'} ({subject.units})" for name in lines] + [f"{setting.years} ({subject.units})"]
    rows = [
        (f"{chance} %", *[_exceeded(line, chance) for line in (*lines.values(), base)])
        for chance in (95, 90, 66, 50, 33, 10, 5)
    ]
    figure = exceedance_curves(lines, base=base, quantity=quantity)
    numbers = Table(("share", *columns), tuple(rows))
    return illustrate(figure, "curve", subject.name, where, caption=caption, table=numbers)


def _map(
    subject: Subject, setting: Setting, scenario: str, field: xr.DataArray, classes: Classes, quantity: str
) -> tuple[Figure, Table]:
    title = ", ".join(part for part in (subject.name, scenario, _when(subject, setting)) if part)
    hatched = setting.no_skill.get((subject.name, scenario))
    figure = field_map(field, classes=classes, quantity=quantity, title=title, hatched=hatched and hatched[0])
    return figure, _class_table(field, classes, quantity)


def _hatched(subject: Subject, setting: Setting, scenario: str) -> str:
    """What the hatch of a map says, where it has one."""
    hatched = setting.no_skill.get((subject.name, scenario))
    return f" {hatched[1]}" if hatched else ""


def _class_table(field: xr.DataArray, classes: Classes, quantity: str) -> Table:
    """Share of the area in each class of a map."""
    weights = area_weights(field).where(field.notnull()).values
    place = np.clip(np.digitize(field.values, classes.breaks[1:-1]), 0, len(classes.colours) - 1)
    shares = [100 * np.nansum(weights[place == index]) / np.nansum(weights) for index in range(len(classes.colours))]
    rows = [
        (minus(f"{low:g} to {high:g}"), f"{share:.0f} %")
        for low, high, share in zip(classes.breaks, classes.breaks[1:], shares, strict=False)
    ]
    return Table((quantity, "share of the area"), tuple(rows))


def _fan_table(subject: Subject, bands: xr.DataArray) -> Table:
    """Quantiles at about ten leads and at the last one."""
    names, valid_time = scenarios_of(subject), subject.forecast["valid_time"]
    every = max(1, valid_time.size // 10)
    shown = sorted({*range(every - 1, valid_time.size, every), valid_time.size - 1})
    rows = [
        (name, date_text(valid_time[lead], lead_unit(subject)), *map(signed, of_scenario(bands, name).values[:, lead]))
        for name in names
        for lead in shown
    ]
    columns = ("scenario", "time", *[f"{level} % ({subject.units})" for level in (5, 25, 50, 75, 95)])
    first = 0 if names != [""] else 1
    return Table(columns[first:], tuple(row[first:] for row in rows))


def _positions(
    subject: Subject, record: xr.DataArray
) -> tuple[NDArray[np.float64], Curve, dict[str, Curve], dict[int, str]]:
    """Where leads and record lie on the axis: at their year, or at their count of steps from the start."""
    valid_time, unit = subject.forecast["valid_time"], lead_unit(subject)
    before = int((record["time"].values < valid_time.values[0]).sum())
    leads, times = valid_time.size, record["time"].size
    dates: dict[int, str] = {}
    if is_annual(subject):
        first = 0
        x, where = valid_time.dt.year.values.astype(float), record["time"].dt.year.values.astype(float)
    else:
        first = max(0, before - max(2 * leads, 24))
        x, where = np.arange(1.0, leads + 1), np.arange(1.0 - before, times - before + 1)
        dates = {int(where[i]): date_text(record["time"][i], unit) for i in range(first, before)}
        dates |= {int(x[i]): date_text(valid_time[i], unit) for i in range(leads)}
    known = slice(before, min(times, before + leads))
    judged = [name for name in scenarios_of(subject) if _has(record, name)] if known.stop > before else []
    later = {name: (where[known], of_scenario(record, name).values[known]) for name in judged}
    shared = record.isel(scenario=0) if "scenario" in record.dims else record
    return x, (where[first:before], shared.values[first:before]), later, dates


def _has(record: xr.DataArray, scenario: str) -> bool:
    """Whether the record can say what came later under a scenario."""
    return scenario in record["scenario"].values if "scenario" in record.dims else not scenario


def _exceeded(curve: Curve, chance: float) -> str:
    """The value that is exceeded with a chance in %."""
    values, chances = curve
    return signed(float(np.interp(chance, chances[::-1], values[::-1])))


def _when(subject: Subject, setting: Setting) -> str:
    return span_text(subject.forecast["valid_time"].sel(lead_time=slice(*setting.leads)), lead_unit(subject))


def _each(subject: Subject) -> str:
    return "year" if is_annual(subject) else "step"
