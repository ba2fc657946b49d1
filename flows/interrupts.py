"""What stops a run: Ctrl-C, which a terminal sends to every process of it, and the SIGTERM that it alone gets."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


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


def stop_on_sigterm() -> None:
    """What ends a service or a job stops a run as Ctrl-C does: else Prefect's server, which it started, outlives it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@cache  # which keeps the pipe open: once for each process
def end_with_us(process: int) -> subprocess.Popen[bytes]:
    """See to it that a process ends when this one does, also when that is killed and can end nothing itself.

    A shell of its own session waits for the end of a pipe that only this process holds.
    """
    wait, nowhere = ["sh", "-c", 'cat; kill "$0"', str(process)], subprocess.DEVNULL
    return subprocess.Popen(wait, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, start_new_session=True)
