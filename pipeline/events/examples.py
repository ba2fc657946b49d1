"""Questions that can be read, to show beside one that cannot."""

from __future__ import annotations

import re

EXAMPLES = (
    "prob tas.mean(over=point(40.4, -3.7)).mean(time=2027-07) > 27 degC",
    "prob sst.anom.mean(over=nino34).mean(time=DJF 2028) >= 0.5 degC",
    "prob sst.anom.mean(over=nino34).mean(time=MAM 2027) between -0.5 degC and 0.5 degC",
    "prob (pr.sum(time=MAM 2027) < p33.3).frac(over=spain) >= 30 %",
    "prob (slp.anom < -2 sigma).any(over=box(lat=40..65, lon=-60..0)).any(time=DJF 2028)",
    "prob (tas.mean(over=polygon(36 -10, 36 3, 44 3)) > p90).count(time=JJA 2027) >= 2 months",
    "prob (sst.anom.mean(over=nino34).roll(mean=3 months) >= 0.5 degC).run(time=lead 1..12) >= 5 months",
    "dist of (sst.anom.mean(over=nino34) >= 1.5 degC).first(time=lead 1..12, run=2)",
    "prob tas.mean(over=spain).mean(time=JJA 2027) > p80 and pr.mean(over=spain).sum(time=JJA 2027) < p20",
    "prob (tas.mean(over=spain) > p80).then(pr.mean(over=spain) < p20, within=6 months).any(time=lead 1..12)",
    "prob pr.mean(over=peru).sum(time=JFM 2028) > p66 given sst.anom.mean(over=nino34).mean(time=DJF 2028) > 1 degC",
    "prob tas.anom(clim=hist:1961-1990).mean(over=globe).mean(time=each JJA 2070..2099) > 2 degC scenario A vs B",
    "value of pr.mean(over=spain).sum(time=MAM 2027) exceeded with 10 %",
    "level of tas.mean(over=spain).max(time=each year 2040..2069) return 20 years",
    "map of tas.anom.mean(time=2050..2059) > 2 degC",
    "series of tas.anom.mean(over=globe) > 2 degC",
)
LONGEST = 2_000  # characters that are looked at


def nearest_example(text: str) -> str:
    """The example that shares most of its words with a text."""
    words = _words(text[:LONGEST])
    return max(EXAMPLES, key=lambda example: len(words & _words(example)) / len(words | _words(example)))


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]\w*", text.lower()))
