"""Two runs side by side: is a model of the second better than the same model of the first, on the cases of both?"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.errors import TercileError
from pipeline.judging.card_rows import Row
from pipeline.judging.evidence import read_evidence
from pipeline.judging.scorecard import scorecard
from pipeline.names import nearest
from pipeline.periods import lead_words
from pipeline.workspace import Workspace

_FIRST, _SECOND = "first", "second"
_KINDS = {"raw": "", "calibrated": ", calibrated"}


def compare_runs(first: Workspace, second: Workspace) -> dict[str, Any]:
    """Paired differences of every model, variable and lead that both runs have, by their stored statistics.

    Cases are paired by initial and lead time. Ensembles of different size are compared on the fair CRPS; calibrated
    ones, whose members depend on each other, must be of one size.

    Args:
        first: A workspace that was verified.
        second: Another, of a comparable experiment.

    Returns:
        ``first`` and ``second`` (folders), ``confidence``, and ``rows``: model, variable, lead and whatever else parts
        the scores, ``crps_first``, ``crps_second``, ``gain`` (share of the first's CRPS that the second saves; above 0
        the second is better) with its interval, the Diebold–Mariano ``p_value``, ``cases`` and ``unpaired``.

    Raises:
        TercileError: Nothing in common, other leads, initial times, area or truth.
    """
    rows: list[Row] = []
    confidence = None
    for kind, suffix in _KINDS.items():
        both = [_statistics(workspace, kind) for workspace in (first, second)]
        for model in (name for name in both[0] if name in both[1]):
            pair = _shared(both[0][model], both[1][model], model)
            _check_sizes(*pair, model, kind)
            card = scorecard(
                dict(zip((_FIRST, _SECOND), pair, strict=True)), reference=_FIRST, lead_blocks=_blocks(first)
            )
            rows += _rows(card, f"{model}{suffix}")
            confidence = card["confidence"]
    if not rows:
        raise TercileError(_nothing_shared(first, second))
    return {_FIRST: str(first.root), _SECOND: str(second.root), "confidence": confidence, "rows": rows}


def _statistics(workspace: Workspace, kind: str) -> dict[str, xr.Dataset]:
    parts = read_evidence(_evidence_of(workspace), kind=kind)
    return {model: found["statistics"] for model, found in parts.items()}


def _evidence_of(workspace: Workspace) -> Path:
    return workspace.reports / "evidence.nc"


def _blocks(workspace: Workspace) -> int | None:
    """Leads pooled to a row in the first run, and so in the comparison."""
    blocks = json.loads((workspace.reports / "scorecard.json").read_text()).get("lead_blocks")
    return None if blocks is None else int(blocks)


def _shared(first: xr.Dataset, second: xr.Dataset, model: str) -> tuple[xr.Dataset, xr.Dataset]:
    """The statistics of both on the variables, scenarios and initial times that both have.

    Raises:
        TercileError: They cannot be compared.
    """
    leads = [(part["lead_time"].values.tolist(), lead_words(part["lead_time"])) for part in (first, second)]
    if leads[0] != leads[1]:
        said = [f"{values[0]}–{values[-1]} {units}" for values, units in leads]
        raise TercileError(f"compare: '{model}' has leads {said[0]} in the first run, {said[1]} in the second.")
    for dim in ("variable", "scenario", "level", "region", "init_time"):
        if (dim in first.dims) != (dim in second.dims):
            raise TercileError(f"compare: '{model}' has the dimension '{dim}' in one of the runs only.")
        if dim in first.dims:
            common = first.indexes[dim].intersection(second.indexes[dim])
            if not len(common):
                ends = [f"{part[dim].values[0]} to {part[dim].values[-1]}" for part in (first, second)]
                raise TercileError(
                    f"compare: the runs share no {dim} of '{model}': {ends[0]} in the first, {ends[1]} in the second."
                )
            first, second = (part.sel({dim: list(common)}) for part in (first, second))
    _check_truth(first, second, model)
    return first, second


def _check_truth(first: xr.Dataset, second: xr.Dataset, model: str) -> None:
    """Where the same area was scored, the truth and its normal were the same."""
    order = first["weight"].dims
    parts = [part[["weight", "observation_square"]].transpose(*order) for part in (first, second)]
    same = np.isclose(parts[0]["weight"], parts[1]["weight"]) & (parts[0]["weight"] > 0)
    squares = [part["observation_square"].where(same).values for part in parts]
    if not same.any():
        raise TercileError(f"compare: no case of '{model}' was scored over the same area and at the same time in both.")
    if not np.allclose(squares[0], squares[1], rtol=1e-4, equal_nan=True):
        raise TercileError(f"compare: '{model}' was judged by another truth, or from other reference years.")


def _check_sizes(first: xr.Dataset, second: xr.Dataset, model: str, kind: str) -> None:
    sizes = [part.sizes["rank"] - 1 for part in (first, second)]
    if kind == "calibrated" and sizes[0] != sizes[1]:
        raise TercileError(
            f"compare: '{model}' has {sizes[0]} and {sizes[1]} calibrated members; their scores depend on their "
            "number. Forecast both with the same forecast.members."
        )


def _rows(card: dict[str, Any], model: str) -> list[Row]:
    found = []
    for variable, mine in card["models"][_SECOND].items():
        for own, other in zip(mine, card["models"][_FIRST][variable], strict=True):
            score, against = "crps", own["versus"][_FIRST]
            if own["members"] != other["members"]:
                score = "crps_fair"
            about = {name: own[name] for name in ("scenario", "level", "region", "lead", "lead_units") if name in own}
            gain = {f"gain{end}": against[f"{score}_skill{end}"] for end in ("", "_low", "_high", "_reason")}
            found.append(
                {
                    "model": model,
                    "variable": variable,
                    **about,
                    "score": score,
                    "crps_first": other[score],
                    "crps_second": own[score],
                    **gain,
                    "p_value": against["p_value"],
                    "cases": own["cases"] - against["unpaired"],
                    "unpaired": against["unpaired"],
                }
            )
    return found


def _nothing_shared(first: Workspace, second: Workspace) -> str:
    names = [sorted(_statistics(workspace, "raw")) for workspace in (first, second)]
    if not all(names):
        return "compare: one of the runs has scored nothing yet; its forecasts have not met their truth."
    hint = nearest(names[0][0], names[1])
    return f"compare: the runs share no model: {', '.join(names[0])} and {', '.join(names[1])}.{hint}"
