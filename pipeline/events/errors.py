"""How a question is refused: a sentence a person can act on, and fields a program can."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from pipeline.errors import TercileError

PARTIAL = "--partial; over HTTP partial=true"  # how a person asks for less than the whole

NO_SUCH_FORECAST, REFUSED = 3, 4
_EXIT_CODES = {
    "unknown_forecast": NO_SUCH_FORECAST,
    **dict.fromkeys(
        ("too_few_members", "mostly_masked", "members_unknown", "members_incomplete", "given_too_rare"), REFUSED
    ),
}


class QuestionError(TercileError):
    """A question that cannot be answered as it was put.

    Attributes:
        code: Which refusal, one word; stable.
        text: What the person reads.
        where: Column and step, where that is known.
        did_you_mean: The nearest thing that does exist.
        try_: Questions or settings that would work.
    """

    def __init__(
        self,
        code: str,
        text: str,
        *,
        where: str | None = None,
        did_you_mean: str | None = None,
        try_: Iterable[str] = (),
    ) -> None:
        """Keep the fields beside the sentence."""
        super().__init__(text)
        self.code = code
        self.text = text
        self.where = where
        self.did_you_mean = did_you_mean
        self.try_ = tuple(try_)

    @property
    def exit_code(self) -> int:
        """What the command line ends with: 3 no such forecast, 4 an answer that is refused, 2 a wrong question."""
        return _EXIT_CODES.get(self.code, 2)

    def to_dict(self) -> dict[str, object]:
        """The error as a problem document's members."""
        return {
            "code": self.code,
            "text": self.text,
            "where": self.where,
            "did_you_mean": self.did_you_mean,
            "try": list(self.try_),
        }


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice spelt most like ``word``, or None when nothing is close."""
    plain = {_letters(choice): choice for choice in choices}
    close = get_close_matches(_letters(word), plain, n=1, cutoff=0.6)
    return plain[close[0]] if close else None


def _letters(word: str) -> str:
    """Small letters and digits only, so that ``nino3.4`` is near ``nino34``."""
    return "".join(character for character in word.lower() if character.isalnum())
