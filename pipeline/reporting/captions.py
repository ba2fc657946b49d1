"""What the figures of a report share: their setting, their caption and table, and how numbers and dates are written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import xarray as xr
from matplotlib.figure import Figure

from pipeline.reporting.figures import Look, encode_svg
from pipeline.reporting.summaries import Subject

Held = TypeVar("Held", xr.DataArray, xr.Dataset)


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
        no_skill: By subject and scenario, the cells without shown skill and a sentence on them.
        look: Style of each model, the same in every figure.
    """

    model: str
    reference: tuple[int, int]
    leads: tuple[int, int]
    quantile: float
    lead: str
    record: str
    no_skill: Mapping[tuple[str, str], tuple[xr.DataArray, str]]
    look: Look

    @property
    def years(self) -> str:
        """The reference years as text."""
        return f"{self.reference[0]}–{self.reference[1]}"

    @property
    def limit(self) -> str:
        """The threshold of the exceedance maps in words."""
        name = "maximum" if self.quantile == 1 else f"{100 * self.quantile:g}th percentile"
        return f"{name} of {self.years}"


def illustrate(figure: Figure, *name: str, caption: str, table: Table | None = None) -> Illustration:
    """A drawn figure with its caption; ``name`` is made of its parts, as ``fan-tas-area-mean``."""
    slug = "-".join(_slug(part) for part in name if part)
    return Illustration(slug, encode_svg(figure, name=slug, alt=caption), caption, table)


def scenarios_of(subject: Subject) -> list[str]:
    """Names of the scenarios; one empty name in an unforced system."""
    return [str(name) for name in subject.forecast["scenario"].values] if "scenario" in subject.forecast.dims else [""]


def of_scenario(array: Held, scenario: str) -> Held:
    """The array or data set under one scenario, or as it is where it has none."""
    return array.sel(scenario=scenario, drop=True) if "scenario" in array.dims else array


def under(scenario: str) -> str:
    """The scenario as part of a sentence."""
    return f" under {scenario}" if scenario else ""


def lead_unit(subject: Subject) -> str:
    """Unit of the leads."""
    return str(subject.forecast["lead_time"].attrs.get("units", "steps"))


def is_annual(subject: Subject) -> bool:
    """Whether leads are years."""
    return lead_unit(subject) == "years"


def date_text(date: xr.DataArray, unit: str) -> str:
    """A date as finely as the unit of its steps needs."""
    form = {"years": "%Y", "months": "%Y-%m", "days": "%Y-%m-%d"}.get(unit, "%Y-%m-%d %H:%M")
    return str(date.dt.strftime(form).item())


def span_text(valid_time: xr.DataArray, unit: str) -> str:
    """First and last of some valid times."""
    first, last = (date_text(valid_time[place], unit) for place in (0, -1))
    if first == last:
        return first
    return f"{first}–{last}" if unit == "years" else f"{first} to {last}"


def amount(value: float) -> str:
    """A number with as many decimals as its size deserves."""
    return f"{value:.{2 if abs(value) < 1 else 1 if abs(value) < 100 else 0}f}"


def signed(value: float) -> str:
    """The same with its sign, minus as a minus; what rounds to zero has none."""
    text = amount(abs(value))
    return text if float(text) == 0 else f"{'−' if value < 0 else '+'}{text}"


def in_percent(skill: float) -> str:
    """A skill as a signed percentage; what rounds to zero has no sign."""
    text = f"{abs(100 * skill):.{1 if abs(skill) < 0.0995 else 0}f}"
    return text if float(text) == 0 else f"{'−' if skill < 0 else '+'}{text}"


def _slug(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text.lower()).strip("-")
