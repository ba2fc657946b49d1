"""Ctrl-C, which a terminal sends to a run and to every process that the run has started."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deaf_children() -> Iterator[None]:
    """Processes started within do not hear Ctrl-C: the run hears it, and ends them when it is done with them.

    A run that stops still has to tell Prefect's server so: with the server gone it asked on for a minute, then failed.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited, also past exec
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
