"""From data to captioned figures: each says in a sentence what it shows, and carries its numbers as a table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from pipeline.figures import (
    Curve,
    FanChart,
    Look,
    encode_svg,
    exceedance_curves,
    fan_chart,
    field_map,
    lead_chart,
    loss_curves,
    rank_histogram,
    reliability_diagram,
)
from pipeline.grid import area_weights
from pipeline.palette import Classes, change_classes, probability_classes
from pipeline.scoreboard import Score, pooled_ranks
from pipeline.summaries import (
    Subject,
    at_place,
    base_band,
    event_reliability,
    exceedance_curve,
    fan,
    window_change,
    window_exceedance,
)

_NAN = float("nan")
Places = Mapping[str, tuple[float, float] | None]


@dataclass(frozen=True)
class Table:
    """Numbers of a figure, as text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Illustration:
    """A figure as the page holds it.

    Attributes:
        name: Unique in the page.
        svg: An ``<svg>`` element whose title is the caption.
        caption: What it shows, in a sentence or two.
        table: Its numbers.
    """

    name: str
    svg: str
    caption: str
    table: Table | None = None


@dataclass(frozen=True)
class Setting:
    """What all figures of a report have in common.

    Attributes:
        model: The model that issues.
        reference: First and last reference year.
        leads: First and last lead of the window that maps and curves show.
        quantile: Of the reference, for maps of exceedance; 1 is its highest value.
        lead: What a lead of the scorecard is, with its unit.
        record: What to call the record, as "observations".
        no_skill: By subject, True where hindcasts showed no skill.
        judged: By scenario, first and last year that no fit has seen; its name is empty in an unforced system.
        look: Style of each model, the same in every figure.
    """

    model: str
    reference: tuple[int, int]
    leads: tuple[int, int]
    quantile: float
    lead: str
    record: str
    no_skill: Mapping[str, xr.DataArray]
    judged: Mapping[str, tuple[int, int]]
    look: Look

    @property
    def years(self) -> str:
        """The reference years as text."""
        return f"{self.reference[0]}–{self.reference[1]}"

    @property
    def limit(self) -> str:
        """The threshold of the exceedance maps in words."""
        return f"maximum of {self.years}" if self.quantile == 1 else f"{100 * self.quantile:g}th percentile of {self.years}"


def scenarios_of(subject: Subject) -> list[str]:
    """Names of the scenarios; one empty name in an unforced system."""
    return [str(name) for name in subject.forecast["scenario"].values] if "scenario" in subject.forecast.dims else [""]


def under(name: str) -> str:
    """The scenario as part of a sentence."""
    return f" under {name}" if name else ""


def span_text(valid_time: xr.DataArray) -> str:
    """First and last label of some valid times: years, months, days or hours, as finely as they need."""
    first, last = (_date_text(valid_time[place], valid_time) for place in (0, -1))
    return first if first == last else f"{first}–{last}" if len(first) == 4 else f"{first} to {last}"


def is_annual(subject: Subject) -> bool:
    """Whether leads are years."""
    return _unit(subject) == "years"


def change_maps(subject: Subject, setting: Setting) -> list[Illustration]:
    """A map of the mean change in the window for each scenario, all in the same classes."""
    change = window_change(subject.forecast, setting.leads).compute()
    classes = change_classes(change.values, is_wetness=subject.is_wetness)
    when = span_text(_window(subject, setting))
    maps = []
    for name in scenarios_of(subject):
        field = _of(change, name)
        words = (
            f"Mean change of {subject.label} in {when}{under(name)}, against {setting.years}: mean of "
            f"{subject.forecast.sizes['member']} members of {setting.model}. Area mean "
            f"{signed(float(at_place(field, None)))} {subject.units}; cells from {signed(float(field.min()))} to "
            f"{signed(float(field.max()))}."
        )
        quantity = f"mean change from {setting.years} ({subject.units})"
        maps.append(_map("change", subject, setting, name, field, classes, quantity, words))
    return maps


def exceedance_maps(subject: Subject, setting: Setting) -> list[Illustration]:
    """A map of the share of members and steps above the reference's threshold for each scenario."""
    share = window_exceedance(
        subject.forecast, subject.reference, quantile=setting.quantile, leads=setting.leads
    ).compute()
    when = span_text(_window(subject, setting))
    base = "none of the reference years lies above it" if setting.quantile == 1 else f"base rate {100 - 100 * setting.quantile:.0f} %"
    each = "year" if is_annual(subject) else "step"
    maps = []
    for name in scenarios_of(subject):
        field = _of(share, name)
        words = (
            f"Share of members and {each}s in {when}{under(name)} with {subject.label} above "
            f"each cell's {setting.limit} ({base}). Area mean {at_place(field, None):.0f} %. "
            f"All {each}s are pooled: this is not the chance that some {each} exceeds it."
        )
        maps.append(_map("exceedance", subject, setting, name, field, probability_classes(), f"share above the {setting.limit} (%)", words))
    return maps


def fan_charts(subject: Subject, setting: Setting, places: Places) -> list[Illustration]:
    """A fan chart for each place: the area mean where the place is None, else the cell that holds the point."""
    return [_fan(subject, setting, name, place) for name, place in places.items()]


def curves(subject: Subject, setting: Setting, places: Places) -> list[Illustration]:
    """Exceedance curves of all scenarios and of the reference years for each place."""
    return [_curves(subject, setting, name, place) for name, place in places.items()]


def skill_charts(scores: Sequence[Score], setting: Setting, *, reference: str) -> list[Illustration]:
    """Skill, and spread against skill, by lead, for each variable and scenario."""
    found = []
    for variable, scenario in dict.fromkeys((score.variable, score.scenario) for score in scores):
        mine = [score for score in scores if (score.variable, score.scenario) == (variable, scenario)]
        about = f"{variable}{under(scenario)}"
        others = [score for score in mine if score.model != reference]
        caption = f"CRPS skill of {about} against {reference}: above 0 is better. A bar that crosses 0 shows no difference."
        quantity = f"{about}: CRPS skill against {reference}"
        found.append(_by_lead("skill", others, setting, lambda score: score.skill, caption, quantity, 0.0))
        caption = f"Spread over error of {about}: 1 is right, below it the ensemble is too sure of itself, above it too unsure."
        quantity = f"{about}: spread over error (1 = right)"
        found.append(_by_lead("spread", mine, setting, lambda score: (score.spread_skill, _NAN, _NAN), caption, quantity, 1.0))
    return found


def rank_histograms(scores: Sequence[Score], setting: Setting) -> list[Illustration]:
    """One for each variable, scenario and model, pooled over leads."""
    found = []
    groups = dict.fromkeys((score.variable, score.scenario) for score in scores)
    for key in [(*group, model) for group in groups for model in dict.fromkeys(score.model for score in scores)]:
        frequency = pooled_ranks([score for score in scores if (score.variable, score.scenario, score.model) == key])
        if frequency.size:
            variable, scenario, model = key
            outside = 100 * (frequency[0] + frequency[-1])
            caption = (
                f"{model}, {variable}{under(scenario)}: the truth lay outside of all {frequency.size - 1} members in "
                f"{outside:.1f} % of cases; {200 / frequency.size:.1f} % is expected."
            )
            figure = rank_histogram(frequency, colour=setting.look[model].colour)
            found.append(_illustrate(figure, _slug("ranks", *key), caption))
    return found


def reliability_diagrams(by_model: Mapping[str, Sequence[Subject]], setting: Setting) -> list[Illustration]:
    """For each variable and judged scenario, all models in one diagram; none where no truth is known."""
    found = []
    for place, subject in enumerate(by_model[setting.model]):
        for scenario, years in setting.judged.items():
            tables = {
                model: table
                for model, mine in by_model.items()
                if (table := event_reliability(mine[place], scenario or None, quantile=setting.quantile, years=years)) is not None
            }
            if tables:
                found.append(_reliability(subject, setting, scenario, tables))
    return found


def loss_charts(cards: Sequence[Mapping]) -> list[Illustration]:
    """A loss curve for each model card that has one."""
    found = []
    for card in cards:
        rows = card.get("curve") or []
        if rows:
            steps = np.array([row["step"] for row in rows], dtype=float)
            lines = {
                name: (steps, np.array([_float(row.get(name)) for row in rows]))
                for name in ("train", "validate")
                if any(row.get(name) is not None for row in rows)
            }
            ends = "; ".join(f"{name} ends at {y[np.isfinite(y)][-1]:.3g}" for name, (_, y) in lines.items())
            caption = f"Loss of {card['name']} in training: {ends}."
            found.append(_illustrate(loss_curves(lines), _slug("loss", str(card["name"])), caption))
    return found


def amount(value: float) -> str:
    """A number with as many decimals as its size deserves."""
    return f"{value:.{2 if abs(value) < 1 else 1 if abs(value) < 100 else 0}f}"


def signed(value: float) -> str:
    """The same with its sign, minus as a minus; what rounds to zero has none."""
    text = amount(abs(value))
    return text if float(text) == 0 else f"{'−' if value < 0 else '+'}{text}"


def _fan(subject: Subject, setting: Setting, where: str, place: tuple[float, float] | None) -> Illustration:
    valid_time = subject.forecast["valid_time"]
    bands = fan(at_place(subject.forecast, place)).compute()
    record = at_place(subject.record, place).compute()
    x, past, later, dates = _positions(subject, record)
    chart = FanChart(
        x=x,
        fans={name: _of(bands, name).values for name in scenarios_of(subject)},
        base=base_band(at_place(subject.reference, place), valid_time).compute().values,
        past=past,
        later=later,
        quantity=f"{subject.label}, change from {setting.years} ({subject.units})",
        time={"years": "year", "months": "month", "days": "day"}.get(_unit(subject), "time"),
        dates=dates,
        record=setting.record,
    )
    last = {name: _of(bands, name).values[:, -1] for name in scenarios_of(subject)}
    ends = "; ".join(
        f"{name + ': ' if name else ''}median {signed(values[2])} {subject.units}, 5–95 % {signed(values[0])} to {signed(values[4])}"
        for name, values in last.items()
    )
    caption = f"{subject.label.capitalize()}, {where}, as change from {setting.years}. By {span_text(valid_time[-1:])} {ends}."
    return _illustrate(fan_chart(chart), _slug("fan", subject.name, where), caption, _fan_table(subject, bands))


def _fan_table(subject: Subject, bands: xr.DataArray) -> Table:
    leads = bands.sizes["lead_time"]
    shown = sorted({*range(max(1, leads // 10) - 1, leads, max(1, leads // 10)), leads - 1})
    rows = [
        (*([name] if name else []), _date_text(subject.forecast["valid_time"][lead], subject.forecast["valid_time"]),
         *[signed(value) for value in _of(bands, name).values[:, lead]])
        for name in scenarios_of(subject) for lead in shown
    ]  # fmt: skip
    head = ["scenario"] if scenarios_of(subject) != [""] else []
    return Table((*head, "time", *[f"{level} % ({subject.units})" for level in (5, 25, 50, 75, 95)]), tuple(rows))


def _curves(subject: Subject, setting: Setting, where: str, place: tuple[float, float] | None) -> Illustration:
    window = at_place(subject.forecast, place).sel(lead_time=slice(*setting.leads)).compute()
    lines = {name: exceedance_curve(_of(window, name).values.ravel()) for name in scenarios_of(subject)}
    base = exceedance_curve(at_place(subject.reference, place).values)
    when = span_text(_window(subject, setting))
    figure = exceedance_curves(
        lines, base=base, quantity=f"{subject.name}, change from {setting.years} ({subject.units})"
    )
    one_in_ten = ", ".join(
        f"{signed(np.interp(10, chance[::-1], values[::-1]))} {subject.units}{under(name)}" for name, (values, chance) in lines.items()
    )
    each = "year" if is_annual(subject) else "step"
    caption = (
        f"Chance that {subject.label}, {where}, exceeds a value in any one {each} of {when} (members and {each}s pooled), beside that of "
        f"{setting.years}. Exceeded one time in ten: {one_in_ten}; in {setting.years} {signed(np.interp(10, base[1][::-1], base[0][::-1]))} {subject.units}."
    )
    head = ("chance", *[name or "forecast" for name in lines], setting.years)
    rows = [
        (f"{chance} %", *[signed(np.interp(chance, y[::-1], v[::-1])) for v, y in [*lines.values(), base]])
        for chance in (95, 90, 66, 50, 33, 10, 5)
    ]
    return _illustrate(figure, _slug("curve", subject.name, where), caption, Table((head[0], *[f"{name} ({subject.units})" for name in head[1:]]), tuple(rows)))


def _reliability(
    subject: Subject, setting: Setting, scenario: str, tables: Mapping[str, xr.Dataset]
) -> Illustration:
    caption = (
        f"{subject.label.capitalize()}{under(scenario)} above each cell's {setting.limit}: how often it came true for each share "
        f"of members that said so, over all cells and the years {'–'.join(map(str, setting.judged[scenario]))}. It came true in {100 * float(next(iter(tables.values()))['base_rate']):.0f} % "
        "of cases. Below the diagonal the members say it too often."
    )
    rows = tuple(
        (name, *[amount(float(table[score])) for score in ("brier", "miscalibration", "discrimination", "roc_area")])
        for name, table in tables.items()
    )
    figure = reliability_diagram(tables, banded=setting.model, look=setting.look)
    columns = ("model", "Brier score", "miscalibration", "discrimination", "ROC area")
    return _illustrate(figure, _slug("reliability", subject.name, scenario), caption, Table(columns, rows))


def _map(
    kind: str, subject: Subject, setting: Setting, scenario: str, field: xr.DataArray, classes: Classes, quantity: str, caption: str
) -> Illustration:
    title = ", ".join(part for part in (subject.name, scenario, span_text(_window(subject, setting))) if part)
    hatched = setting.no_skill.get(subject.name)
    figure = field_map(field, classes=classes, quantity=quantity, title=title, no_skill=hatched)
    weights = area_weights(field).where(field.notnull()).values
    place = np.clip(np.digitize(field.values, classes.breaks[1:-1]), 0, len(classes.colours) - 1)
    shares = [100 * np.nansum(weights[place == index]) / np.nansum(weights) for index in range(len(classes.colours))]
    rows = [
        (f"{low:g} to {high:g}", f"{share:.0f} %") for low, high, share in zip(classes.breaks, classes.breaks[1:], shares, strict=False)
    ]
    return _illustrate(figure, _slug(kind, subject.name, scenario), caption, Table((quantity, "share of the area"), tuple(rows)))


def _positions(subject: Subject, record: xr.DataArray) -> tuple[np.ndarray, Curve, dict[str, Curve], dict[int, str]]:
    """Where leads and record lie on the axis: at their year, or at their count of steps from the start."""
    valid_time = subject.forecast["valid_time"]
    before = int((record["time"].values < valid_time.values[0]).sum())
    leads, times = valid_time.size, record["time"].size
    first = 0 if is_annual(subject) else max(0, before - max(2 * leads, 24))
    if is_annual(subject):
        x, where = valid_time.dt.year.values.astype(float), record["time"].dt.year.values.astype(float)
        dates = {}
    else:
        x, where = np.arange(1.0, leads + 1), np.arange(1.0 - before, times - before + 1)
        dates = {int(n): _date_text(record["time"][i], valid_time) for i, n in enumerate(where)}
        dates |= {int(n): _date_text(valid_time[i], valid_time) for i, n in enumerate(x)}
    known = min(times, before + leads)
    first_run = _of(record, scenarios_of(subject)[0])
    later = {
        name: (where[before:known], _of(record, name).values[before:known]) for name in scenarios_of(subject) if known > before
    }
    return x, (where[first:before], first_run.values[first:before]), later, dates


def _by_lead(
    kind: str,
    scores: Sequence[Score],
    setting: Setting,
    pick: Callable[[Score], tuple[float, float, float]],
    caption: str,
    quantity: str,
    neutral: float,
) -> Illustration:
    leads = list(dict.fromkeys(score.lead for score in scores))
    cells = {(score.model, score.lead): pick(score) for score in scores}
    names = dict.fromkeys(score.model for score in scores)
    values = {name: np.array([cells.get((name, lead), (_NAN,) * 3) for lead in leads]).T for name in names}
    figure = lead_chart(values, leads=leads, axis=setting.lead, quantity=quantity, neutral=neutral, look=setting.look)
    return _illustrate(figure, _slug(kind, scores[0].variable, scores[0].scenario), caption)


def _of(array: xr.DataArray, scenario: str) -> xr.DataArray:
    return array.sel(scenario=scenario, drop=True) if "scenario" in array.dims else array


def _window(subject: Subject, setting: Setting) -> xr.DataArray:
    return subject.forecast["valid_time"].sel(lead_time=slice(*setting.leads))


def _unit(subject: Subject) -> str:
    return str(subject.forecast["lead_time"].attrs.get("units", "steps"))


def _date_text(date: xr.DataArray, among: xr.DataArray) -> str:
    units = among["lead_time"].attrs.get("units") if "lead_time" in among.coords else "years"
    form = {"years": "%Y", "months": "%Y-%m", "days": "%Y-%m-%d"}.get(str(units), "%Y-%m-%d %H:%M")
    return str(date.dt.strftime(form).item())


def _illustrate(figure, name: str, caption: str, table: Table | None = None) -> Illustration:
    return Illustration(name, encode_svg(figure, name=name, alt=caption), caption, table)


def _slug(*parts: str) -> str:
    return "-".join("".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in part.lower()).strip("-") for part in parts if part)


def _float(value: object) -> float:
    return float("nan") if value is None else float(str(value))
