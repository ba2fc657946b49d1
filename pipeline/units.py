"""Units: what a source's spelling of them means, and how its values become ours."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from pipeline.errors import InputRefusedError

if TYPE_CHECKING:
    import pint

SPELLINGS = tuple(
    (re.compile(pattern, re.IGNORECASE), meaning)
    for pattern, meaning in (
        (r"deg(?:ree)?s?[ _.]*c(?:elsius)?", "degC"),
        (r"deg(?:ree)?s?[ _.]*k(?:elvin)?", "K"),
        (r"deg(?:ree)?s?[ _.]*f(?:ahrenheit)?", "degF"),
        (r"mbs?|millibars?", "hPa"),
    )
)
"""What pint would read as something else: ``deg C`` as an angle times a charge, ``mb`` as a cross section."""
NO_FIXED_TIME = re.compile(r"\b(months?|mon|years?|yr)\b|(?<=/)(month|mon|year|yr)", re.IGNORECASE)
"""Spans of time that are not always as long."""
WATER = "kg m-2 s-1"
"""A flux of water, of which a millimetre is a kilogram a square metre."""
READ_IN = {"Pa": (0.01, "hPa"), WATER: (86_400.0, "mm per day"), "kg m-2": (1.0, "mm")}
"""Units that people read instead of those of the archive, and the factor that leads to them."""


@cache
def registry() -> pint.UnitRegistry:
    """The pint registry that reads CF's spelling of units (``kg m-2 s-1``, ``degC``, ``degrees_north``)."""
    import cf_xarray.units  # builds it, a fifth of what a run with nothing to do would import

    return cf_xarray.units.units


def conversion(source: str, target: str, *, of: str = "units") -> tuple[float, float]:
    """Factor and offset that take values in ``source`` units to ``target`` units; a refusal names what they are ``of``.

    Raises:
        InputRefusedError: Unknown units, or units of another quantity.
    """
    import pint

    known = next((meaning for pattern, meaning in SPELLINGS if pattern.fullmatch(source.strip())), source)
    refusal: Exception | None = None
    for spelling in (known, known.lower()):  # Ferret writes M/S, which is also molar per siemens
        for unit in (target, "mm s-1") if target == WATER else (target,):
            try:
                zero, one = (registry().Quantity(value, spelling).to(unit).magnitude for value in (0.0, 1.0))
            except (pint.PintError, ValueError, AttributeError, TypeError) as error:
                refusal = refusal or error
            else:
                return one - zero, zero
    hint = (
        " It may be an amount: say over how many hours with `accumulated`, or that it is each step's total by `period`."
        if target == WATER
        else ""
    )
    raise InputRefusedError(
        f"[known_units] {of}: cannot convert '{source}' to '{target}' ({refusal}).{hint}"
    ) from refusal


def amount_to_flux(units: str, hours: float, *, of: str = "units") -> float:
    """Factor that takes an amount of water in a span of hours to kg m-2 s-1; a millimetre is a kilogram a square metre.

    Raises:
        InputRefusedError: Units of no amount of water.
    """
    try:
        amount = conversion(units, "kg m-2")[0]
    except InputRefusedError:
        amount = conversion(units, "mm", of=of)[0]
    return amount / (hours * 3600.0)


def refuse_no_fixed_time(name: str, units: str) -> None:
    """Refuse a rate by the month or the year, which are not always as long.

    Raises:
        InputRefusedError: It is one.
    """
    if NO_FIXED_TIME.search(units):
        raise InputRefusedError(
            f"[known_units] variable '{name}': '{units}', but months and years are not always as long. For a total of "
            f"each step say `units: {{{name}: AMOUNT}}`, as mm, and `accumulated: {{{name}: period}}` in the source."
        )
