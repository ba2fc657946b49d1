"""How generative models fail: collapse, memorisation, drift. Each check gives a named finding for the model's card.

Fields are standardised anomalies as ``(field, element)``: the valid cells of all variables in a row, weighted by the
root of their area if areas differ. A finding is ``raised`` where its value is beyond its limit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu

from pipeline.errors import TercileError

Floats = NDArray[np.float64]
_FEWEST_HALVED = 6


@dataclass(frozen=True)
class Finding:
    """One check of a model's fields.

    Attributes:
        name: Of the failure.
        value: What was measured.
        limit: What it is held against.
        raised: Whether the failure shows.
        meaning: What the value says, in a sentence.
    """

    name: str
    value: float
    limit: float
    raised: bool
    meaning: str


def check_spread(generated: Floats, held_out: Floats, *, limit: float = 0.5) -> Finding:
    """Collapse of spread: total variance of generated fields against that of held-out ones.

    Args:
        generated: Fields of one or many ensembles at long lead, ``(field, element)``.
        held_out: Observed fields that were not trained on, ``(field, element)``.
        limit: Raised below this ratio.
    """
    _check_fields(generated, held_out)
    ratio = float(generated.var(axis=0, ddof=1).sum() / held_out.var(axis=0, ddof=1).sum())
    meaning = f"generated fields have {ratio:.2f} of the variance of held-out ones"
    return Finding("spread collapse", ratio, limit, ratio < limit, meaning)


def check_coverage(generated: Floats, held_out: Floats, *, components: int = 10, limit: float = 0.25) -> Finding:
    """Mode collapse: the smallest share of a leading principal component's variance that generated fields have.

    Components are those of the first half of the held-out fields, which a model that lost a pattern cannot hide from;
    their variance is that of the second half, since fields have more of it along the components fitted to them.

    Args:
        generated: Generated fields, ``(field, element)``.
        held_out: Observed fields that were not trained on, ``(field, element)``, in the order of time.
        components: How many leading components are looked at, at most a sixth of the held-out fields.
        limit: Raised below this share.
    """
    _check_fields(generated, held_out)
    if len(held_out) < _FEWEST_HALVED:
        raise TercileError(f"held_out: has {len(held_out)} fields; two halves need at least {_FEWEST_HALVED}.")
    first, second = np.array_split(held_out, 2)
    count = max(1, min(components, len(held_out) // 6, held_out.shape[1]))
    patterns = np.linalg.svd(first - first.mean(axis=0), full_matrices=False)[2][:count]
    shares = (generated @ patterns.T).var(axis=0, ddof=1) / (second @ patterns.T).var(axis=0, ddof=1)
    worst = int(np.argmin(shares))
    meaning = f"component {worst + 1} of {count} has {shares[worst]:.2f} of its variance"
    return Finding("mode collapse", float(shares[worst]), limit, bool(shares[worst] < limit), meaning)


def check_memorisation(generated: Floats, trained: Floats, held_out: Floats, *, limit: float = 0.01) -> Finding:
    """Memorisation: generated fields lie nearer to training fields than held-out fields do.

    Args:
        generated: Generated fields, ``(field, element)``.
        trained: Training fields.
        held_out: Observed fields of the same climate that were not trained on, some steps away from training ones.
        limit: Raised where the one-sided p-value of equal distances is below it and the nearest are 10 % nearer.

    Source:
        Meehan, Chaudhuri and Dasgupta (2020), a test for data copying, AISTATS, PMLR 108.
    """
    _check_fields(generated, held_out)
    _check_fields(trained, held_out)
    nearest = [cdist(fields, trained).min(axis=1) for fields in (generated, held_out)]
    ratio = float(np.median(nearest[0]) / np.median(nearest[1]))
    p_value = float(mannwhitneyu(*nearest, alternative="less").pvalue)
    meaning = f"generated fields are {ratio:.2f} times as far from training fields as held-out ones (p = {p_value:.2g})"
    return Finding("memorisation", p_value, limit, p_value < limit and ratio < 0.9, meaning)


def check_drift(rollout: Floats, *, limit: float = 0.5) -> Finding:
    """Drift of a long rollout: by how much its mean field or its spread leaves the early one.

    The mean field is over members and steps, so a few members with a long memory drift by chance: give many.

    Args:
        rollout: Standardised anomalies, ``(step, member, element)``, so long that the first tenth is already spun up.
        limit: Raised where a mean moved by more than this many standard deviations, or a spread by this share.
    """
    if rollout.ndim != 3 or len(rollout) < 10 or rollout.shape[1] < 2:
        raise TercileError(f"rollout: got shape {rollout.shape}; give (step, member, element), ten steps, two members.")
    if not np.isfinite(rollout).all():
        return Finding("drift", float("inf"), limit, True, "the rollout holds missing or infinite values")
    third = len(rollout) // 3
    early, late = rollout[:third], rollout[-third:]
    deviation = float(early.std()) or 1.0
    moved = (late.mean(axis=(0, 1)) - early.mean(axis=(0, 1))) / deviation
    shift = float(np.sqrt(np.mean(moved**2)))
    growth = abs(float(late.std()) / deviation - 1)
    value = max(shift, growth)
    meaning = (
        f"from the first to the last third the mean moved by {shift:.2f} deviations, the spread by {100 * growth:.0f} %"
    )
    return Finding("drift", value, limit, value > limit, meaning)


def _check_fields(first: Floats, second: Floats) -> None:
    for fields in (first, second):
        if fields.ndim != 2 or len(fields) < 2:
            raise TercileError(f"fields: got shape {fields.shape}; give at least two, as (field, element).")
        if not np.isfinite(fields).all():
            raise TercileError("fields: hold missing or infinite values; leave masked cells out.")
    if first.shape[1] != second.shape[1]:
        raise TercileError(f"fields: have {first.shape[1]} and {second.shape[1]} elements; use the same cells.")
