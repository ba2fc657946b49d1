"""The tree as plain lists, mappings and strings, for JSON and YAML, and its identity.

A step is a mapping with one key. Windows, regions and thresholds are text, as in the text form.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import yaml

from pipeline.events.tree import (
    Anomaly,
    Combination,
    Comparison,
    Expression,
    First,
    Negation,
    Question,
    Reduction,
    Region,
    Rolling,
    Then,
    Variable,
)
from pipeline.events.write import (
    duration_text,
    number,
    reference_text,
    region_text,
    threshold_text,
    window_text,
)

Steps = list[dict[str, Any]]

SUBJECTS = {"prob": "event", "map": "event", "series": "event", "dist": "field", "value": "field", "level": "field"}


def to_steps(question: Question) -> dict[str, Any]:
    """A question as plain lists, mappings and strings, for JSON and YAML."""
    plain: dict[str, Any] = {"ask": question.ask, SUBJECTS[question.ask]: _steps(question.subject)}
    if question.exceeded is not None:
        plain["exceeded"] = f"{number(question.exceeded)} %"
    if question.return_years is not None:
        plain["return"] = f"{question.return_years} years"
    if question.given is not None:
        plain["given"] = _steps(question.given)
    if question.scenarios:
        plain["scenario"] = question.scenarios[0] if len(question.scenarios) == 1 else list(question.scenarios)
    if question.forecast is not None:
        plain["forecast"] = question.forecast
    return plain


def to_yaml(question: Question) -> str:
    """A question as YAML."""
    return str(yaml.safe_dump(to_steps(question), sort_keys=False, default_flow_style=None, allow_unicode=True))


def question_id(question: Question) -> str:
    """The identity of a question: equal trees, however they were spelt, have equal ids."""
    canonical = json.dumps(to_steps(question), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def _steps(node: Expression) -> Steps:
    """An expression as a list of one-key steps."""
    match node:
        case Variable():
            return [{"var": node.name}]
        case Combination():
            return [{node.word: [_steps(part) for part in node.parts]}]
        case Negation():
            return [{"not": _steps(node.source)}]
        case _:
            return [*_steps(node.source), _last_step(node)]


def _last_step(node: Expression) -> dict[str, Any]:
    """The last step of a chain."""
    match node:
        case Anomaly():
            return {"anom": {} if node.clim is None else {"clim": reference_text(node.clim)}}
        case Rolling():
            return {"roll": {node.verb: duration_text(node.length)}}
        case Reduction():
            if isinstance(node.axis, Region):
                return {node.verb: {"over": region_text(node.axis)}}
            return {node.verb: {"time": window_text(node.axis)}}
        case First():
            run = {} if node.run == 1 else {"run": str(node.run)}
            return {"first": {"time": window_text(node.window), **run}}
        case Then():
            return {"then": {"event": _steps(node.event), "within": duration_text(node.within)}}
        case Comparison():
            texts = [threshold_text(threshold) for threshold in node.thresholds]
            return {node.operator: texts[0] if len(texts) == 1 else texts}
        case _:
            raise TypeError(f"{type(node).__name__} is no step")
