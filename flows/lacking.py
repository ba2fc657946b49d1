"""What the states lack that forecasts begin from, and that training had."""

from collections.abc import Mapping, Sequence

import numpy as np

from flows.findings import read_background
from flows.system import System


def lacking_values(
    system: System, model: str, groups: Sequence[str], init_times: np.ndarray
) -> dict[str, tuple[np.ndarray, int]]:
    """By variable, how many values that training had each start lacks, ``(init_time, group)``, and of how many."""
    background, history = read_background(system, model), system.history(model)
    known = {name: np.isfinite(variance[0]) for name, variance in background.variance.items()}
    counts = {name: np.zeros((len(init_times), len(groups)), dtype=int) for name in known}
    for column, group in enumerate(groups):
        fields, periods = system.start_fields(group, "forecast"), system.periods(group)
        for row, last in enumerate(map(periods.until, init_times)):
            state = fields.isel(time=slice(max(0, last - history), last))
            for name, had in known.items():
                missing = np.isnan(state[name].transpose("time", ...).values) & had
                counts[name][row, column] = missing.sum()
    return {name: (counts[name], history * int(had.sum())) for name, had in known.items()}


def lacking_sentences(
    lacking: Mapping[str, tuple[np.ndarray, int]], groups: Sequence[str], init_times: np.ndarray
) -> list[dict[str, str]]:
    """For each initial time, a sentence for each group whose state lacks values, from ``lacking_values``."""
    return [
        {
            group: f"{group}: the state at {init.strftime('%Y-%m-%d')} lacks {parts} that training had; there the "
            "forecast begins from what is usual."
            for column, group in enumerate(groups)
            if (parts := _parts_lacking(lacking, row, column))
        }
        for row, init in enumerate(init_times)
    ]


def _parts_lacking(lacking: Mapping[str, tuple[np.ndarray, int]], row: int, column: int) -> str:
    return " and ".join(
        f"{counts[row, column]} of {of} values of {name}"
        for name, (counts, of) in lacking.items()
        if counts[row, column]
    )
