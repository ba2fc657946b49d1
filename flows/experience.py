"""Where forecasts leave the forcing that models were fitted on, and the expected state is extrapolated."""

import numpy as np

from flows.starts import forecasts
from flows.system import System
from pipeline.answers.headline import decimal
from pipeline.background import WarmingConfig


def beyond_experience(system: System) -> dict[str, dict[str, str]]:
    """By group whose warming leaves, in a forecast, the range that fits have seen: ``since`` when, and a sentence.

    Time itself as a covariate does so always, and nothing is said of it.
    """
    covariate, split = system.experiment.background.covariate, system.experiment.split
    if not isinstance(covariate, WarmingConfig):
        return {}
    seen = np.concatenate([system.fit_covariates(group) for group in dict.fromkeys(span.group for span in split.train)])
    low, high = np.nanmin(seen[:, 0]), np.nanmax(seen[:, 0])
    starts, units = forecasts(system), system.experiment.described()[covariate.variable].units
    found, fitted = {}, f"{decimal(low, 2)} to {decimal(high, 2)} {units}"
    for group in starts.groups:
        ahead = np.concatenate([system.periods(group).ahead(init, starts.leads)[1] for init in starts.init_times])
        asked = system.covariates(group, ahead)[:, 0]
        beyond = ahead[(asked < low) | (asked > high), 0]
        if beyond.size:
            since, ends = beyond.min().strftime("%Y-%m-%d"), [decimal(end, 2) for end in (asked.min(), asked.max())]
            text = (
                f"{group}: its warming goes from {' to '.join(ends)} {units}, models were fitted on {fitted}: beyond "
                f"that, from {since}, the expected state is extrapolated along a straight line."
            )
            found[group] = {"since": since, "text": text}
    return found
