"""The errors a user can mend: each says what was found, where, what was expected and what to do."""


class TercileError(ValueError):
    """Something in the input, the experiment or the workspace is not as it must be."""


class InputRefusedError(TercileError):
    """Data did not pass a gate; nothing of it entered the archive."""


class WorkspaceMismatchError(TercileError):
    """The workspace holds something else than this experiment would write."""
