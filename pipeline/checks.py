"""Quality gates: what must hold before data may enter the archive.

A gate looks at one canonical data set, and where it matters at what the archive already holds, and says what it found.
A finding of severity ``block`` stops the ingest with nothing written; a ``warn`` goes into the log and the provenance.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from pipeline.errors import InputRefusedError
from pipeline.names import Variable
from pipeline.periods import dates, infer_cadence, seconds

UNDECLARED_FILLS = (9.96921e36, 1e20, -999.0, -9999.0, -99.9, 32767.0, -32768.0)
"""Values that files use for missing data without saying so."""


@dataclass(frozen=True)
class Finding:
    """What a gate found."""

    gate: str
    severity: Literal["block", "warn"]
    message: str


Gate = Callable[[xr.Dataset, Mapping[str, Variable]], Iterable[Finding]]


def check(dataset: xr.Dataset, *, variables: Mapping[str, Variable], held: xr.Dataset | None = None) -> list[Finding]:
    """Put a canonical data set through all gates.

    Args:
        dataset: Canonical names and units, with ``time_bnds``.
        variables: Description of each variable.
        held: What the archive already holds of this group.

    Returns:
        The warnings; nothing blocked.

    Raises:
        InputRefusedError: At least one gate blocks; the message has a line for each.
    """
    findings = [finding for gate in GATES for finding in gate(dataset, variables)]
    if held is not None:
        findings += _same_grid(dataset, held)
        findings += _same_calendar(dataset, held)
    blocking = [f"[{finding.gate}] {finding.message}" for finding in findings if finding.severity == "block"]
    if blocking:
        raise InputRefusedError("\n".join(blocking))
    return findings


def time_increases(dataset: xr.Dataset, variables: Mapping[str, Variable]) -> Iterable[Finding]:
    """Labels increase strictly, at a cadence that is known."""
    try:
        infer_cadence(dataset["time"])
    except InputRefusedError as error:
        yield Finding("time_increases", "block", str(error))


def no_gaps(dataset: xr.Dataset, variables: Mapping[str, Variable]) -> Iterable[Finding]:
    """Each period begins where the one before it ends."""
    bounds = seconds(dataset["time_bnds"])
    gaps = np.flatnonzero(bounds[1:, 0] != bounds[:-1, 1])
    if gaps.size:
        at = dataset["time"].values
        between = f"between {at[gaps[0]]} and {at[gaps[0] + 1]}"
        remedy = "Add the missing steps, or split the record into two groups."
        yield Finding("no_gaps", "block", f"time: {gaps.size} gap(s) or overlap(s), the first {between}. {remedy}")


def no_empty_fields(dataset: xr.Dataset, variables: Mapping[str, Variable]) -> Iterable[Finding]:
    """No step is missing as a whole."""
    for name in variables:
        space = [dim for dim in dataset[name].dims if dim not in ("time", "realization")]
        empty = dataset[name].isnull().all(space)
        if bool(empty.any()):
            first = dataset["time"].values[
                int(np.flatnonzero(empty.any([d for d in empty.dims if d != "time"]).values)[0])
            ]
            found = f"variable '{name}': {int(empty.sum())} step(s) without any data, the first at {first}"
            yield Finding("no_empty_fields", "block", f"{found}. Remove or mend them in the source.")


def possible_values(dataset: xr.Dataset, variables: Mapping[str, Variable]) -> Iterable[Finding]:
    """Values lie in the physical range of their quantity, and no fill value poses as data."""
    for name, variable in variables.items():
        low, high = variable.valid_range
        array = dataset[name]
        least, most = float(array.min()), float(array.max())
        if least < low or most > high:
            bad = array.where((array < low) | (array > high))
            first = dataset["time"].values[
                int(np.flatnonzero(bad.notnull().any([d for d in bad.dims if d != "time"]).values)[0])
            ]
            fill = next(
                (
                    value
                    for value in UNDECLARED_FILLS
                    if np.isclose(least, value, rtol=1e-3) or np.isclose(most, value, rtol=1e-3)
                ),
                None,
            )
            hint = (
                f"{fill:g} looks like an undeclared fill value: declare `_FillValue` in the file"
                if fill is not None
                else f"check the units of the source: {variable.units} are expected after conversion"
            )
            found = f"variable '{name}': values from {least:g} to {most:g} {variable.units}"
            wanted = f"lie outside {low:g} to {high:g}, first at {first}"
            yield Finding("possible_values", "block", f"{found} {wanted}; {hint}.")


def lasting_mask(dataset: xr.Dataset, variables: Mapping[str, Variable]) -> Iterable[Finding]:
    """Missing cells are missing always: a mask, not holes."""
    for name in variables:
        missing = dataset[name].isnull().mean("time")
        holes = int(((missing > 0) & (missing < 1)).sum())
        if holes:
            found = f"variable '{name}': {holes} cell(s) have data at some steps only"
            yield Finding("lasting_mask", "warn", f"{found}; they are left out of background and models.")


def fields_change(dataset: xr.Dataset, variables: Mapping[str, Variable]) -> Iterable[Finding]:
    """No field repeats the one before it."""
    for name in variables:
        space = [dim for dim in dataset[name].dims if dim not in ("time", "realization")]
        change = np.abs(dataset[name].diff("time")).max(space)  # type: ignore[arg-type]
        stuck = int((change == 0).sum())
        if stuck:
            yield Finding(
                "fields_change",
                "warn",
                f"variable '{name}': {stuck} step(s) repeat the field before them to the last bit.",
            )


GATES: tuple[Gate, ...] = (time_increases, no_gaps, no_empty_fields, possible_values, lasting_mask, fields_change)


def _same_grid(dataset: xr.Dataset, held: xr.Dataset) -> Iterable[Finding]:
    for name in ("latitude", "longitude", "level"):
        if name in held.coords and not (name in dataset.coords and np.array_equal(dataset[name], held[name])):
            have = f"{held.sizes[name]} values from {float(held[name][0]):g} to {float(held[name][-1]):g}"
            yield Finding(
                "same_grid",
                "block",
                f"{name}: the archive has {have}, the source another grid. Use another workspace or group.",
            )


def _same_calendar(dataset: xr.Dataset, held: xr.Dataset) -> Iterable[Finding]:
    here, there = (dates(item["time"])[0].calendar for item in (dataset, held))
    if here != there:
        yield Finding("same_calendar", "block", f"time: the archive keeps the {there} calendar, the source has {here}.")
