"""Quality gates: what must hold before data may enter the archive.

A gate looks at a canonical data set, at each block of its values on their way in, and where it matters at what the
archive already holds. What it finds blocks the ingest, with nothing written, or warns; either way it becomes a line of
a stored report. Its severity and its limit can be set in the experiment.

Three gates stand before these and always block, since nothing could be read otherwise: ``known_variable``,
``known_units`` and ``known_grid`` speak when a source is put into canonical form.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import xarray as xr
from pydantic import BaseModel, ConfigDict

from pipeline.errors import InputRefusedError
from pipeline.intake.field_checks import FieldCheck, Place, place_text
from pipeline.intake.held import Held
from pipeline.names import SAME_DEGREES, Variable, nearest, same_centres
from pipeline.periods import dates, infer_cadence, seconds

CALENDARS = ("standard", "gregorian", "proleptic_gregorian", "noleap", "365_day", "360_day")

Severity = Literal["block", "warn", "off"]


class GateConfig(BaseModel):
    """How one gate is set; what is not given stays as it is.

    Attributes:
        severity: ``block`` stops the ingest, ``warn`` goes into the report, ``off`` does not look.
        limit: How much of what the gate looks for is tolerated, in the gate's own unit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    severity: Severity | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Gate:
    """A gate as it stands.

    Attributes:
        severity: What a finding does.
        limit: How much is tolerated.
        what: What must hold, and the unit of the limit.
    """

    severity: Severity
    limit: float
    what: str


GATES: Mapping[str, Gate] = {
    "standard_calendar": Gate("block", 0, f"the calendar is one of {', '.join(CALENDARS)}"),
    "time_increases": Gate("block", 0, "labels increase strictly, at a cadence that is known"),
    "constant_cadence": Gate("block", 0, "all periods are one cadence long; limit: number of others"),
    "no_gaps": Gate("block", 0, "each period begins where the one before it ends; limit: number of gaps"),
    "regular_axes": Gate("block", 0, "latitudes and longitudes are finite, increasing and on the globe"),
    "same_grid": Gate("block", SAME_DEGREES, "the grid is the archive's; limit: degrees between centres"),
    "same_calendar": Gate("block", 0, "the calendar is the archive's"),
    "same_cadence": Gate("block", 0, "periods are as long, and labels lie in them, as in the archive; limit: seconds"),
    "accumulation": Gate("block", 0, "a flux is no sum, and what a value is over its period is as in the archive"),
    "no_empty_fields": Gate("block", 0, "no step is missing as a whole; limit: number of steps"),
    "undeclared_fill": Gate("block", 0, "no fill value poses as data; limit: number of cells"),
    "possible_values": Gate("block", 0, "values are physically possible; limit: number of cells"),
    "missing_share": Gate("block", 0.05, "no step misses more than the archive did; limit: share of the cells"),
    "lasting_mask": Gate("warn", 0, "what is missing is missing always; limit: number of cells"),
    "fields_change": Gate("warn", 0, "no field repeats the one before it to the last bit; limit: number of steps"),
}
"""All gates that can be set, in the order in which they look."""


@dataclass(frozen=True)
class Finding:
    """What a gate found."""

    gate: str
    severity: Severity
    message: str

    def __str__(self) -> str:
        return f"[{self.gate}] {self.message}"


def check_settings(settings: Mapping[str, GateConfig]) -> None:
    """Refuse settings of gates that there are not.

    Raises:
        ValueError: No such gate.
    """
    for name in settings:
        if name not in GATES:
            raise ValueError(f"no gate '{name}'.{nearest(name, GATES)}")


@dataclass
class Checks:
    """The gates around one ingest: ``labels`` and ``structure``, ``look`` at each block of values, ``finish``.

    Attributes:
        variables: Description of each variable.
        settings: Gates that are set otherwise than they stand.
        source: What the messages call the source.
    """

    variables: Mapping[str, Variable]
    settings: Mapping[str, GateConfig] = field(default_factory=dict)
    source: str = "source"
    findings: list[Finding] = field(default_factory=list)
    _fields: dict[str, FieldCheck] = field(default_factory=dict)
    _spans: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)

    def labels(self, dataset: xr.Dataset) -> None:
        """Put the labels of time through the gates, without which periods cannot be told.

        Raises:
            InputRefusedError: A gate blocks.
        """
        self._spans = dataset.encoding.get("spans", {})
        self._note("standard_calendar", standard_calendar(dataset))
        self._refuse()
        self._note("time_increases", time_increases(dataset))
        self._refuse()

    def structure(self, dataset: xr.Dataset, held: Held | None) -> None:
        """Put periods, grid and attributes through the gates.

        Raises:
            InputRefusedError: At least one gate blocks; the message has a line for each.
        """
        self._note("constant_cadence", constant_cadence(dataset, self.limit("constant_cadence"), self.place))
        self._note("no_gaps", no_gaps(dataset, self.limit("no_gaps"), self.place))
        self._note("regular_axes", regular_axes(dataset))
        self._note("accumulation", accumulation(dataset, self.variables, held))
        if held is not None:
            self._note("same_grid", same_grid(dataset, held, self.limit("same_grid")))
            self._note("same_calendar", same_calendar(dataset, held))
            self._note("same_cadence", same_cadence(dataset, held, self.limit("same_cadence")))
        self._refuse()

    def look(self, block: xr.Dataset) -> None:
        """Take in one block of values in memory; blocks come in the order of time."""
        for name, variable in self.variables.items():
            if name not in self._fields:
                self._fields[name] = FieldCheck(name, variable, self.place)
            self._fields[name].look(block[name])

    def finish(self, held: Held | None) -> None:
        """Judge all values that were looked at.

        Raises:
            InputRefusedError: At least one gate blocks.
        """
        for name, seen in self._fields.items():
            before = None if held is None else held.missing.get(name)
            self._note("no_empty_fields", seen.empty_fields(self.limit("no_empty_fields")))
            self._note("undeclared_fill", seen.fills(self.limit("undeclared_fill")))
            self._note("possible_values", seen.impossible(self.limit("possible_values")))
            self._note("missing_share", seen.missing_more(before, self.limit("missing_share")))
            self._note("lasting_mask", seen.holes(self.limit("lasting_mask")))
            self._note("fields_change", seen.repeats(self.limit("fields_change")))
        self._refuse()

    def limit(self, gate: str) -> float:
        """A gate's limit as it is set."""
        given = self.settings.get(gate)
        return GATES[gate].limit if given is None or given.limit is None else given.limit

    def severity(self, gate: str) -> Severity:
        """A gate's severity as it is set."""
        given = self.settings.get(gate)
        return GATES[gate].severity if given is None or given.severity is None else given.severity

    @property
    def warnings(self) -> list[Finding]:
        """Findings that did not block."""
        return [finding for finding in self.findings if finding.severity == "warn"]

    @property
    def missing(self) -> dict[str, float]:
        """Share of missing cells by variable, of all values looked at."""
        return {name: seen.missing_share for name, seen in self._fields.items()}

    def report(self) -> list[dict[str, Any]]:
        """A line for each gate: how it is set and what it found."""
        found: dict[str, list[str]] = {}
        for finding in self.findings:
            found.setdefault(finding.gate, []).append(finding.message)
        return [
            {
                "gate": name,
                "severity": self.severity(name),
                "limit": self.limit(name),
                "must_hold": gate.what,
                "found": found.get(name, []),
            }
            for name, gate in GATES.items()
        ]

    def place(self, label: object) -> str:
        """A label of time, with the files that hold it where that is known."""
        return place_text(label, self._spans)

    def _note(self, gate: str, messages: Iterable[str]) -> None:
        severity = self.severity(gate)
        if severity != "off":
            self.findings += [Finding(gate, severity, f"{self.source}: {message}") for message in messages]

    def _refuse(self) -> None:
        blocking = [str(finding) for finding in self.findings if finding.severity == "block"]
        if blocking:
            raise InputRefusedError("\n".join(blocking))


def standard_calendar(dataset: xr.Dataset) -> Iterator[str]:
    """The calendar is one that periods can be counted in."""
    if "time" not in dataset.indexes:
        yield "time: the source gives no dates. Add `units` such as 'days since 1850-01-01' and a `calendar`."
    elif dataset["time"].dtype.kind not in "MO":
        yield f"time: {dataset['time'].dtype} numbers are no dates. Add `units` such as 'days since 1850-01-01'."
    elif dataset["time"].dt.calendar not in CALENDARS:
        yield f"time: calendar '{dataset['time'].dt.calendar}'; known are {', '.join(CALENDARS)}. Convert the source."


def time_increases(dataset: xr.Dataset) -> Iterator[str]:
    """Labels increase strictly, at a cadence that is known; one step alone may follow on an archive's."""
    try:
        if dataset.sizes["time"] > 1:
            infer_cadence(dataset["time"])
    except InputRefusedError as error:
        yield str(error)


def constant_cadence(dataset: xr.Dataset, limit: float, place: Place) -> Iterator[str]:
    """Every period is one cadence long."""
    if dataset.sizes["time"] < 2:
        return
    lengths = np.diff(seconds(dataset["time_bnds"]), axis=1)[:, 0]
    typical = float(np.median(lengths))
    slack = {"months": 0.12, "years": 0.02}.get(infer_cadence(dataset["time"]).unit, 0.0)
    odd = np.flatnonzero(np.abs(lengths - typical) > slack * typical)
    if odd.size > limit:
        at = place(dataset["time"].values[odd[0]])
        yield (
            f"time: {odd.size} period(s) are not {typical / 86400:g} days long as the others are, the first at {at} "
            f"({lengths[odd[0]] / 86400:g} days). Give records of one cadence each."
        )


def no_gaps(dataset: xr.Dataset, limit: float, place: Place) -> Iterator[str]:
    """Each period begins where the one before it ends."""
    bounds = seconds(dataset["time_bnds"])
    gaps = np.flatnonzero(bounds[1:, 0] != bounds[:-1, 1])
    if gaps.size > limit:
        at = dataset["time"].values
        between = f"between {place(at[gaps[0]])} and {place(at[gaps[0] + 1])}"
        remedy = "Add the missing steps, or split the record into two groups."
        yield f"time: {gaps.size} gap(s) or overlap(s), the first {between}. {remedy}"


def regular_axes(dataset: xr.Dataset) -> Iterator[str]:
    """Latitudes and longitudes lie on the globe and increase."""
    for name, low, high in (("latitude", -90.0, 90.0), ("longitude", -360.0, 720.0)):
        values = dataset[name].values.astype("float64")
        if not np.isfinite(values).all() or values.min() < low - 1e-3 or values.max() > high:
            yield f"{name}: values from {np.min(values):g} to {np.max(values):g}; expected {low:g} to {high:g} degrees."
        elif values.size > 1 and not (np.diff(values) > 0).all():
            yield f"{name}: a value is repeated. Remove the repeated rows or columns in the source."


def accumulation(dataset: xr.Dataset, variables: Mapping[str, Variable], held: Held | None) -> Iterator[str]:
    """A flux is not a sum, and a value means over its period what it meant in the archive."""
    for name, variable in variables.items():
        methods = dataset[name].attrs.get("cell_methods", "")
        if variable.units.endswith("s-1") and "flux" in variable.standard_name and "time: sum" in methods:
            yield (
                f"variable '{name}': '{methods}' of a flux in {variable.units} is an amount. Say over how many hours "
                "it is added up with `accumulated` in the source."
            )
        if held is not None and held.cell_methods.get(name, methods) != methods:
            yield (
                f"variable '{name}': '{methods}', where the archive has '{held.cell_methods[name]}'. "
                "Aggregate the source as before, or use another group."
            )


def same_grid(dataset: xr.Dataset, held: Held, limit: float) -> Iterator[str]:
    """The grid, the levels and the realizations are those of the archive."""
    for name, values in held.space.items():
        ours = dataset[name].values if name in dataset.coords else np.zeros(0)
        if not same_centres(ours, values, within=limit):
            have = f"{values.size} values from {float(values[0]):g} to {float(values[-1]):g}"
            yield f"{name}: the archive has {have}, the source another grid. Use another workspace or group."


def same_calendar(dataset: xr.Dataset, held: Held) -> Iterator[str]:
    """The calendar is the archive's."""
    here = str(dates(dataset["time"][:1])[0].calendar)
    if here != held.calendar:
        yield f"time: the archive keeps the {held.calendar} calendar, the source has {here}."


def same_cadence(dataset: xr.Dataset, held: Held, limit: float) -> Iterator[str]:
    """Periods are as long as in the archive, and the label lies where it lay."""
    bounds, times = seconds(dataset["time_bnds"]), seconds(dataset["time"])
    ours, theirs = (float(np.median(np.diff(ends, axis=1))) for ends in (bounds, held.bounds))
    slack = 0.12 * theirs if theirs > 27 * 86400 else limit
    if abs(ours - theirs) > slack:
        yield f"time: periods of {ours / 86400:g} days, where the archive has {theirs / 86400:g}. Use another group."
        return
    here, there = (
        float(np.median((label - ends[:, 0]) / np.diff(ends, axis=1)[:, 0]))
        for label, ends in ((times, bounds), (held.times, held.bounds))
    )
    if abs(here - there) * theirs > max(slack, limit):
        yield (
            f"time: labels lie {100 * here:.0f} % into their periods, where the archive has them at "
            f"{100 * there:.0f} %. Label the steps as before."
        )
