"""The errors a user can mend: each says what was found, where, what was expected and what to do."""

import re


class TercileError(ValueError):
    """Something in the input, the experiment or the workspace is not as it must be."""


class InputRefusedError(TercileError):
    """Data did not pass a gate; nothing of it entered the archive."""


class SourceChangedError(InputRefusedError):
    """What was read is of two states of one source."""


class WorkspaceMismatchError(TercileError):
    """The workspace holds something else than this experiment would write."""


class NothingThereError(TercileError):
    """The workspace has no such store yet."""

    exit_code = 3


class NothingIssuedError(NothingThereError):
    """The workspace has no forecast to ask."""


def in_one_line(error: BaseException) -> str:
    """What an error of a foreign library says, without its further lines and the address that is said elsewhere."""
    return f"{type(error).__name__}: {re.sub('Error performing .* - ', '', str(error).partition(chr(10))[0])}"
