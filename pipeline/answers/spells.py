"""Runs that an edge of the window cuts: nobody knows how long they are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.answers.bounds import STEP, longest
from pipeline.answers.evaluate import evaluate
from pipeline.answers.probability import Inquiry
from pipeline.answers.trajectories import Need
from pipeline.events.kinds import kind_of
from pipeline.events.tree import Expression, Reduction, Region, Window, children


def members_at_edge(inquiry: Inquiry) -> list[int] | None:
    """In how many members of each scenario the longest run touches an edge of its window.

    None for a question without a run, and where each cell has its own: some cell's always does.
    """
    runs = [run for part in inquiry.question.parts for run in _runs(part) if not kind_of(run[0]).space]
    if not runs:
        return None
    touched = np.stack([_touches_edge(inquiry, *run) for run in runs]).any(axis=0)
    return [int(count) for count in touched.sum(axis=1)]


def _runs(node: Expression) -> Iterator[tuple[Expression, Window]]:
    """Conditions whose runs are counted, and in which window."""
    if isinstance(node, Reduction) and node.verb == "run" and not isinstance(node.axis, Region):
        yield node.source, node.axis
    for child in children(node):
        yield from _runs(child)


def _touches_edge(inquiry: Inquiry, condition: Expression, window: Window) -> NDArray[np.bool_]:
    """By scenario and member, in any of its samples."""
    groups = inquiry.members.groups(window)
    start, stop = groups[0][0], groups[-1][1]  # as the count needs them, so that nothing is read again
    met = evaluate(condition, Need(None, start, stop), inquiry.members, inquiry.usual).low
    found = [_is_cut(met[:, :, first - start : last - start]) for first, last in groups]
    return np.asarray(np.stack(found).any(axis=(0, 3, 4)))


def _is_cut(met: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether a longest run is at either end, ``(scenario, member, latitude, longitude)``."""
    first, last = (np.cumprod(steps, axis=STEP).sum(axis=STEP) for steps in (met, np.flip(met, STEP)))
    length = longest(met).squeeze(STEP)
    return np.asarray((length > 0) & (np.maximum(first, last) == length))
