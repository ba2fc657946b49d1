"""How much one client may ask of the service."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of one request and of all together.

    Attributes:
        body: Bytes of a request's body; a polygon of 10,000 vertices needs about 250,000.
        batch: Questions in one request.
        read: Bytes of members that one answer may read, before compression; a map that needs more becomes a job.
        read_job: Bytes that a job may read.
        read_rate: Bytes that a map reads in a second, about: what a job's estimate is made from. It is what
            `make bench` measures on two cores.
        cells: Values of one response, over all its variables.
        seconds: How long an answer may take before the client is told to ask for less.
        at_once: Answers that are worked on at the same time.
        waiting: Requests that may wait for their turn.
    """

    body: int = 1_000_000
    batch: int = 32
    read: int = 4_000_000_000
    read_job: int = 64_000_000_000
    read_rate: int = 500_000_000
    cells: int = 2_000_000
    seconds: float = 30.0
    at_once: int = 4
    waiting: int = 256
