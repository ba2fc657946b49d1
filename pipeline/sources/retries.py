"""Trying again what a server may answer better the next time."""

import re
import time
from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import InputRefusedError
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
    pause, failure = patience.pause, None
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
    reason = re.sub(r"Error performing .* - ", "", str(failure).partition("\n")[0])  # the address is said already
    raise InputRefusedError(
        f"source: {what}: {type(failure).__name__}: {reason}, {patience.often}. Check address and server."
    ) from failure
