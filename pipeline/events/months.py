"""Months by name and neighbouring months by their initials."""

from __future__ import annotations

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_INITIALS = "JFMAMJJASOND" * 2
_SINGLE = {name: number for number, month in enumerate(MONTHS, start=1) for name in (month, month[:3])}


def is_months(word: str) -> bool:
    """Whether a word names one month or neighbouring months: ``Jul``, ``July``, ``JJA``, ``NDJFM``."""
    return word in _SINGLE or (2 <= len(word) <= 12 and word in _INITIALS)


def months_of(word: str) -> tuple[int, int]:
    """The first month, 1 to 12, and how many there are."""
    if word in _SINGLE:
        return _SINGLE[word], 1
    return _INITIALS.index(word) % 12 + 1, len(word)


def season_name(first: int, count: int) -> str:
    """The word for ``count`` months from month ``first``."""
    return MONTHS[first - 1] if count == 1 else _INITIALS[first - 1 : first - 1 + count]
