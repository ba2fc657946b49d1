"""A map from the share of members to the probability of an event, learnt where the question was asked often enough.

``log odds of the event = slope · log odds of the share + shift``: two numbers, one for a share that says too much or
too little, one for an event that comes too often or too seldom. A share of 0 or 1 is first drawn in by what a finite
ensemble cannot tell apart from it. Both numbers are held towards 1 and 0, as a few cases of a reliable ensemble would
hold them.

Source:
    Kull, Silva Filho and Flach (2017), beta calibration, doi:10.1214/17-EJS1338SI, the variant with two parameters.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit

from pipeline.judging.significance import block_bootstrap

Floats = NDArray[np.float64]

FEWEST_CASES = 200
FEWEST_OF_A_KIND = 20
"""Cases with, and cases without the event, that two numbers need."""
_PRIOR = 4.0  # precision of the belief that the share is right, in cases of middling odds


@dataclass(frozen=True)
class BetaMap:
    """A fitted map.

    Attributes:
        slope: 1 where shares are as sharp as they should be, less where they say too much.
        shift: Above 0 where the event comes more often than the share says.
        members: Size of the ensemble whose shares it takes.
        cases: How many it was learnt from.
        drawn: The same two numbers for resampled cases, ``(draw, 2)``: how sure they are.
    """

    slope: float
    shift: float
    members: int
    cases: int
    drawn: Floats

    def __call__(self, share: float) -> float:
        """The probability of an event that this share of members has."""
        return float(expit(self.slope * _log_odds(share, self.members) + self.shift))

    def interval(self, low: float, high: float, *, level: float) -> tuple[float, float]:
        """Ends of an interval of shares as probabilities, widened by how unsure the map is."""
        tail = (1 - level) / 2
        ends = [self.drawn[:, 0] * _log_odds(share, self.members) + self.drawn[:, 1] for share in (low, high)]
        return float(expit(np.quantile(ends[0], tail))), float(expit(np.quantile(ends[1], 1 - tail)))


def fit_beta_map(
    share: Floats, happened: Floats, *, members: int, block: int = 1, draws: int = 200, seed: int = 0
) -> BetaMap | None:
    """Learn a map from past cases, or None where they cannot carry one.

    Args:
        share: Share of members with the event, from 0 to 1, in the order of time, ``(case,)``.
        happened: Whether it came true, 0 or 1, ``(case,)``.
        members: Size of the ensemble.
        block: Consecutive cases that are resampled together.
        draws: Number of resamples.
        seed: Of the resamples.
    """
    events = float(np.sum(happened))
    if len(share) < FEWEST_CASES or min(events, len(share) - events) < FEWEST_OF_A_KIND:
        return None
    odds = _log_odds(np.asarray(share, float), members)
    counts = block_bootstrap(len(odds), length=min(block, len(odds)), draws=draws, seed=seed)
    slope, shift = _fit(odds, np.asarray(happened, float), np.ones(len(odds)))
    drawn = np.array([_fit(odds, np.asarray(happened, float), weight) for weight in counts])
    return BetaMap(slope, shift, members, len(odds), drawn)


def _log_odds(share: "float | Floats", members: int) -> Floats:
    """Log odds of a share, drawn in as by half a member on either side."""
    return np.asarray(logit((np.asarray(share) * members + 0.5) / (members + 1)))


def _fit(odds: Floats, happened: Floats, weight: Floats) -> tuple[float, float]:
    """The most likely slope, not below 0, and shift."""

    def loss(numbers: Floats) -> tuple[float, Floats]:
        line = numbers[0] * odds + numbers[1]
        likelihood = weight @ (happened * log_expit(line) + (1 - happened) * log_expit(-line))
        belief = _PRIOR / 2 * ((numbers[0] - 1) ** 2 + numbers[1] ** 2)
        residual = weight * (expit(line) - happened)
        slope = np.array([residual @ odds, residual.sum()]) + _PRIOR * (numbers - [1.0, 0.0])
        return float(belief - likelihood), slope

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)]).x
    return float(found[0]), float(found[1])
