"""How complete and how old a forecast is: a run that still goes on, and one whose successor is overdue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.direct import stored_by_member
from pipeline.ensembles import lacking_at
from pipeline.events.errors import PARTIAL, QuestionError
from pipeline.periods import seconds

LEAST_STORED = 0.8
DAY = 86_400.0


def begun(ensemble: xr.Dataset) -> NDArray[np.int64]:
    """Rows of the initial times of which anything is stored; all where the store does not say."""
    return np.flatnonzero(_stored_share(ensemble) > 0)


def finished(ensemble: xr.Dataset) -> NDArray[np.int64]:
    """Rows of the initial times of which all is stored; all where the store does not say."""
    return np.flatnonzero(_stored_share(ensemble) == 1)


def stored_members(ensemble: xr.Dataset, *, partial: bool) -> tuple[xr.Dataset, str | None]:
    """One forecast with the members that are stored in every scenario, and a sentence where some are not yet.

    Args:
        ensemble: One initial time, with ``done`` by ``block`` where the store says what is finished.
        partial: Whether fewer than four in five will do.

    Raises:
        QuestionError: ``members_incomplete``.
    """
    if "done" not in ensemble:
        return ensemble, None
    by_member = stored_by_member(ensemble)
    stored, total = by_member.all([dim for dim in by_member.dims if dim != "member"]).values, by_member.sizes["member"]
    if stored.all():
        return ensemble, None
    text = f"{stored.sum()} of {total} members are stored; run still going."
    if stored.mean() < LEAST_STORED and not (partial and stored.sum() > 1):
        text += f" Below {100 * LEAST_STORED:.0f} % they answer only where a part is allowed ({PARTIAL})."
        raise QuestionError("members_incomplete", text, try_=("--partial",))
    return ensemble.isel(member=np.flatnonzero(stored)), text


def incomplete_start(ensemble: xr.Dataset, scenarios: Sequence[str]) -> str | None:
    """What the states lacked that one forecast's members begin from, under these scenarios; None where nothing."""
    found = lacking_at(ensemble)
    return " ".join(text for group, text in found.items() if not scenarios or group in scenarios) or None


def overdue(ensemble: xr.Dataset, *, now: datetime | None = None) -> str | None:
    """A sentence where the newest forecast is older than forecasts have been apart; None where it is not.

    Args:
        ensemble: All initial times, with ``issued_at``.
        now: The time to judge by, with a time zone; the present by default.
    """
    if "issued_at" not in ensemble or ensemble.sizes["init_time"] < 2:
        return None
    apart = float(np.median(np.diff(seconds(ensemble["init_time"])))) / DAY
    issued = int(seconds(ensemble["issued_at"]).max())
    epoch = datetime(1850, 1, 1, tzinfo=UTC)
    age = ((now or datetime.now(UTC)) - epoch).total_seconds() / DAY - issued / DAY
    late = age - apart
    if late < 1:
        return None
    return f"Newest forecast is {age:.0f} days old; the next was due {late:.0f} days ago."


def earlier_starts(ensemble: xr.Dataset, one: xr.Dataset) -> NDArray[Any]:
    """Initial times before the one that is asked, oldest first."""
    if "init_time" not in ensemble.dims:
        return np.empty(0)
    starts = ensemble["init_time"].values
    return np.asarray(starts[starts < one["init_time"].values])


def lineage(ensemble: xr.Dataset, one: xr.Dataset) -> dict[str, str | None]:
    """When a forecast was issued and which one it supersedes, where the store says."""
    earlier = earlier_starts(ensemble, one)
    issued = str(one["issued_at"].values)[:19].replace(" ", "T") + "Z" if "issued_at" in one else None
    return {"issued": issued, "supersedes": f"fc-{str(earlier[-1])[:10]}" if earlier.size else None}


def _stored_share(ensemble: xr.Dataset) -> NDArray[np.float64]:
    """Share of the pieces of each initial time that are stored; 1 where the store does not say."""
    if "done" not in ensemble:
        return np.ones(ensemble.sizes["init_time"])
    others = [dim for dim in ensemble["done"].dims if dim != "init_time"]
    return np.asarray(ensemble["done"].mean(others).values)
