"""An answer as a card: for a terminal, and for a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from itertools import starmap
from textwrap import fill
from typing import Any

import numpy as np

from pipeline.answers.headline import amounts, decimal, percent, share_of_members

WIDTH = 78
"""Columns of a card where no terminal says its own."""

_STYLE = (
    "max-width:44em;border:1px solid #8a8a8a;border-radius:6px;padding:.8em 1em;"
    "font-family:system-ui,sans-serif;line-height:1.4"
)


def wrapped(text: str, *, rest: str = "", width: int = WIDTH) -> str:
    """Lines of a card, those after the first behind an indent; a number keeps its per cent sign beside it."""
    whole = fill(text.replace(" %", "\N{NO-BREAK SPACE}%"), width, subsequent_indent=rest)
    return whole.replace("\N{NO-BREAK SPACE}", " ")


def laid_out(lines: Iterable[tuple[str, str]], *, width: int) -> str:
    """Lines of a card, each with the indent of what it runs over to."""
    return "\n".join(wrapped(line, rest=rest, width=width) for line, rest in lines)


def row(name: str, text: str) -> tuple[str, str]:
    """A fact under its name, for :func:`laid_out`."""
    return f"  {name:<12}{text}", " " * 14


def card_text(payload: Mapping[str, Any], *, width: int = WIDTH) -> str:
    """The card for a terminal: headline, number line, base rate, skill, warnings."""
    lines = [
        (str(payload["headline"]["text"]), ""),
        ("", ""),
        (f"  {payload['question']['reads_as']}", "  "),
        ("", ""),
        *(line for part in _parts(payload) for line in _numbers(part)),
        *starmap(row, _facts(payload)),
        *((f"! {warning['text']}", "  ") for warning in payload["warnings"]),
    ]
    return laid_out(lines, width=width)


def card_html(payload: Mapping[str, Any]) -> str:
    """The card for a notebook: self-contained, readable without colour."""
    parts = _parts(payload)
    bars = "".join(_bar(part) for part in parts if "interval" in part)
    facts = "".join(
        f"<tr><th style='text-align:left;padding-right:1em;font-weight:600'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(text)}</td></tr>"
        for name, text in [fact for part in parts for fact in _named(part)] + _facts(payload)
    )
    warnings = "".join(f"<li>{escape(warning['text'])}</li>" for warning in payload["warnings"])
    return (
        f"<section style='{_STYLE}'><p style='font-size:1.15em;margin:.2em 0'><strong>"
        f"{escape(str(payload['headline']['text']))}</strong></p>"
        f"<p style='margin:.4em 0'>{escape(str(payload['question']['reads_as']))}</p>{bars}"
        f"<table style='border-collapse:collapse'>{facts}</table>"
        f"{f'<ul>{warnings}</ul>' if warnings else ''}</section>"
    )


def _parts(payload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What is said of each scenario, or of the one that there is, without its name."""
    alone = {name: field for name, field in payload.items() if name != "scenario"}
    return list(payload.get("scenarios", [alone]))


def _named(part: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The name of a scenario, if there are several, and its facts."""
    return [*([(str(part["scenario"]), "")] if "scenario" in part else []), *_part_facts(part)]


def _numbers(part: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The number line of one scenario and what is beside it."""
    lines = [(f"  {part['scenario']}", "")] if "scenario" in part else []
    if "interval" in part:
        lines.append((_line(part), ""))
    return [*lines, *starmap(row, _part_facts(part))]


def _line(part: Mapping[str, Any]) -> str:
    """0 to 100 %: ``=`` the interval, ``o`` the share of members, ``|`` the base rate."""
    width = 50
    marks = ["-"] * (width + 1)
    low, high = (round(width * part["interval"][end]) for end in ("low", "high"))
    marks[low : high + 1] = "=" * (high - low + 1)
    base = part["probability"]["climatology"]
    if base is not None:
        marks[round(width * base)] = "|"
    marks[round(width * _share(part))] = "o"
    return f"  0 % {''.join(marks)} 100 %"


def _share(part: Mapping[str, Any]) -> float:
    members = part["members"]
    return float(members["event"] / max(1, members["event"] + members["not"]))


def _bar(part: Mapping[str, Any]) -> str:
    """The number line as a drawing, with its sentence for those who do not see it."""
    low, high, share = part["interval"]["low"], part["interval"]["high"], _share(part)
    base = part["probability"]["climatology"]
    tick = "" if base is None else f"<line x1='{400 * base:.1f}' x2='{400 * base:.1f}' y1='2' y2='22' stroke='#222'/>"
    label = f"{part.get('scenario', 'Share of members')}: {percent(share)}, {percent(low)} to {percent(high)}"
    return (
        f"<svg role='img' aria-label='{escape(label)}' width='420' height='24' viewBox='-5 0 410 24'>"
        f"<title>{escape(label)}</title><line x1='0' x2='400' y1='12' y2='12' stroke='#8a8a8a'/>"
        f"<rect x='{400 * low:.1f}' y='8' width='{max(1.0, 400 * (high - low)):.1f}' height='8' fill='#5a7fa8'/>{tick}"
        f"<circle cx='{400 * share:.1f}' cy='12' r='5' fill='#16324f'/></svg>"
    )


def _part_facts(part: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What stands beside the number."""
    facts = []
    if part["headline"].get("likelihood_term"):
        facts.append(("in words", f"{part['headline']['likelihood_term']} (scale of the IPCC)"))
    if "members" in part:
        members = part["members"]
        pooled = f" x {members['samples_per_member']} samples" if members["samples_per_member"] > 1 else ""
        counted = f"{members['event']} yes, {members['not']} no, {members['unknown']} unknown"
        left_out = f", {members['excluded']} without the condition" if members["excluded"] else ""
        facts.append(("members", f"{counted}{left_out} ({members['total']}{pooled})"))
        if members.get("spell_touches_edge"):
            facts.append(("runs", f"cut by an edge of the window in {members['spell_touches_edge']} members"))
    base = part.get("base_rate")
    if base is not None and "events" in base:
        facts.append(("base rate", f"{base['events']} of {base['years']} in {base['source']} ({_ends(base)})"))
    elif part.get("base_rate_reason"):
        facts.append(("base rate", str(part["base_rate_reason"])))
    if "distribution" in part and "interval" not in part:
        facts.extend(_quantiles(part["distribution"]))
    if "passage" in part:
        facts.append(("reached", _reached(part["passage"])))
    return facts


def _quantiles(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Quantiles of the members and, where it can say, of the reference."""
    rows = {"members": found["quantiles"], "reference": found.get("reference_quantiles") or {}}
    texts = iter(amounts([value for row in rows.values() for value in row.values()]))
    said = {name: ", ".join(f"{rank} % {next(texts)}" for rank in row) for name, row in rows.items()}
    return [(name, f"{text} {found['units']}") for name, text in said.items() if text]


def _reached(passage: Mapping[str, Any]) -> str:
    """By when a tenth, a half and nine in ten of the members are there, as far as they get."""
    steps, counts = list(passage["by_step"]), np.cumsum(list(passage["by_step"].values()))
    enough = {rank: np.flatnonzero(100 * counts >= rank * passage["members"]) for rank in (10, 50, 90)}
    said = [f"{rank} % by {steps[places[0]]}" for rank, places in enough.items() if places.size]
    return ", ".join([*said, f"{share_of_members(passage['never'])} never"] if passage["never"] else said)


def _ends(base: Mapping[str, Any]) -> str:
    """The interval of a base rate; one-sided where the event never, or always, happened."""
    if base["events"] in (0, base["years"]):
        return f"at most {percent(base['high'])}" if base["events"] == 0 else f"at least {percent(base['low'])}"
    return f"interval {percent(base['low'])} to {percent(base['high'])}"


def _facts(payload: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What holds for the whole answer."""
    skill, calibration = payload["skill"], payload["calibration"]
    resolved = payload["question"]["resolved"]
    means = resolved.get("window_means")
    field = payload.get("field", {})
    gap, interval = field.get("difference"), field.get("interval")
    return [
        *([("difference", gap["text"])] if gap else []),
        *([("intervals", f"{100 * interval['level']:g} %, for {interval['covers']}")] if interval else []),
        *([("window", f"{means}; {resolved['window'][0]} to {resolved['window'][1]}")] if means else []),
        ("skill", skill_text(skill)),
        ("calibration", str(calibration["state"]).replace("_", " ")),
        ("from", f"{payload['provenance']['forecast']}, scenario {payload['provenance']['scenario']}"),
    ]


def skill_text(skill: Mapping[str, Any]) -> str:
    """The verdict with its score."""
    if "cells" in skill:
        unknown = skill["cells"]["not_measured"]
        measured = sum(skill["cells"].values()) - unknown
        if not measured:
            return f"not measured in {unknown} cells"
        told = f"skilful in {skill['cells']['skilful']} of {measured} cells"
        return f"{told}, not measured in {unknown}" if unknown else told
    verdict = str(skill["verdict"]).replace("_", " ")
    if skill.get("value") is None:
        return verdict
    score, low, high = (decimal(skill[part], 2) for part in ("value", "low", "high"))
    return f"{verdict}: Brier skill {score} ({low} to {high}) in {skill['hindcasts']} past forecasts"
