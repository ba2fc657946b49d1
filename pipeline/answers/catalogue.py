"""What a store offers to questions: its variables, regions, reference period, provenance and calibration state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from pipeline.events.errors import QuestionError, nearest
from pipeline.places.regions import Area, builtin_regions


@dataclass(frozen=True)
class VariableInfo:
    """One variable as people may call it, and the least and the most that it can be, in its units."""

    name: str
    units: str
    long_name: str = ""
    standard_name: str = ""
    aliases: tuple[str, ...] = ()
    valid_range: tuple[float, float] = (-math.inf, math.inf)

    def names(self) -> tuple[str, ...]:
        """Every name that means this variable."""
        return tuple(name for name in (self.name, self.standard_name, *self.aliases) if name)

    def described(self) -> str:
        """The name with its meaning: ``tas (near-surface air temperature, K)``."""
        meaning = self.long_name or self.standard_name.replace("_", " ")
        return f"{self.name} ({meaning}, {self.units})" if meaning else f"{self.name} ({self.units})"


@dataclass(frozen=True)
class Catalogue:
    """What questions to one store may name, and what every answer must carry.

    Attributes:
        variables: By short name.
        regions: The store's own regions by name, beside the built-in ones.
        reference: The label of the reference record, such as ``obs:1860-1999``.
        provenance: Copied into every answer.
        calibration: At least ``{"state": …}``: calibrated, uncalibrated, not_possible (with ``why``) or stale.
        kind: ``projection`` for scenario runs, ``forecast`` otherwise.
        extrapolated: By group whose forcing goes beyond what models were fitted on: ``since`` when, as an ISO date,
            and a sentence, ``text``.
    """

    variables: Mapping[str, VariableInfo]
    regions: Mapping[str, Area] = field(default_factory=dict)
    reference: str = "reference"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=lambda: {"state": "uncalibrated"})
    kind: str = "forecast"
    extrapolated: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        ensemble: xr.Dataset,
        *,
        aliases: Mapping[str, tuple[str, ...]] | None = None,
        valid_ranges: Mapping[str, tuple[float, float]] | None = None,
        **settings: object,
    ) -> Catalogue:
        """A catalogue of an ensemble's variables, with whatever else is given.

        Args:
            ensemble: The variables' ``units``, ``long_name`` and ``standard_name`` are read; no data.
            aliases: Further names by variable.
            valid_ranges: The least and the most that a variable can be, where that is known.
            settings: Other fields of the catalogue; ``kind`` follows from the ``scenario`` dimension by default.
        """
        also, ranges = aliases or {}, valid_ranges or {}
        variables = {
            str(name): VariableInfo(
                str(name),
                str(array.attrs.get("units", "1")),
                str(array.attrs.get("long_name", "")),
                str(array.attrs.get("standard_name", "")),
                also.get(str(name), ()),
                ranges.get(str(name), (-math.inf, math.inf)),
            )
            for name, array in ensemble.data_vars.items()
            if {"member", "lead_time"} <= set(array.dims)
        }
        settings.setdefault("kind", "projection" if "scenario" in ensemble.dims else "forecast")
        return cls(variables, **settings)  # type: ignore[arg-type]

    def variable(self, name: str) -> VariableInfo:
        """The variable that a name means.

        Raises:
            QuestionError: ``unknown_variable``, or ``ambiguous_variable`` for a name of several.
        """
        if name in self.variables:
            return self.variables[name]
        meant = [info for info in self.variables.values() if name in info.names()]
        if len(meant) == 1:
            return meant[0]
        if meant:
            *others, last = names = [info.name for info in meant]
            text = f"'{name}' may mean {', '.join(others)} or {last} here: write which."
            raise QuestionError("ambiguous_variable", text, where=name, try_=names)
        known = {known: info for info in self.variables.values() for known in info.names()}
        like = nearest(name, known) or next((each for each in known if name.lower() in each.lower()), None)
        close = known[like].name if like else None  # our name of what was meant, not an alias of it
        hint = f" Did you mean {close}?" if close else ""
        have = ", ".join(info.described() for info in self.variables.values())
        raise QuestionError(
            "unknown_variable", f"No variable '{name}'. This store has {have}.{hint}", where=name, did_you_mean=close
        )

    def named_regions(self) -> dict[str, Area]:
        """Every area that has a name here, the store's own before any other of the same name."""
        return {**builtin_regions(), **self.regions}

    def region(self, name: str) -> Area:
        """The area that a name means: the store's own regions first, then those of indices, of AR6, then countries.

        Raises:
            QuestionError: ``unknown_region``.
        """
        known = self.named_regions()
        if name in known:
            return known[name]
        raise _unknown_region(name, tuple(known))


def _unknown_region(name: str, known: tuple[str, ...]) -> QuestionError:
    close = nearest(name, known)
    others = [other for other in known if other != close and other[:4].lower() == name[:4].lower()][:4]
    hint = f" Did you mean {close}?" if close else ""
    near = f" Others near: {', '.join(others)}." if others else ""
    return QuestionError(
        "unknown_region",
        f"No region '{name}'.{hint}{near} Or give box(lat=…, lon=…), point(lat, lon) or polygon(lat lon, …).",
        where=name,
        did_you_mean=close,
    )
