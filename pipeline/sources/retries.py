"""Trying again what a server may answer better the next time."""

import time
from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import InputRefusedError, in_one_line
from pipeline.sources.download import Patience

Found = TypeVar("Found")


def retried(attempt: Callable[[], Found], patience: Patience, what: str) -> Found:
    """What ``attempt`` gives, after as many tries as patience allows.

    Args:
        attempt: Called again after any error of input and output.
        patience: How often, and how long between.
        what: Address, for the message.

    Raises:
        InputRefusedError: All tries failed.
    """
    pause, failure = patience.pause, Exception("it was not tried")
    for turn in range(patience.tries):
        if turn:
            time.sleep(pause)
            pause = min(2 * pause, 60.0)
        try:
            return attempt()
        except InputRefusedError:
            raise
        except Exception as error:  # each library has errors of its own for a server that fails
            failure = error
    raise InputRefusedError(
        f"source: {what}: {in_one_line(failure)}, {patience.often}. Check address and server."
    ) from failure
