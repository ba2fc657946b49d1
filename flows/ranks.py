"""Teams of workers that train one network together: as many tasks, each pinned to a worker that no other team has.

A team that loses a worker is given up; the next one goes on from the newest checkpoint, which the first rank writes.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
from distributed import Client, Future, get_worker

from pipeline.errors import TercileError

if TYPE_CHECKING:
    from models.distributed import Meeting, Rank

Job = TypeVar("Job")
Submit = Callable[[Job, "Rank", str], Future]
"""Starts one rank of a job on the worker with this address."""

ATTEMPTS = 4
"""How often a job is begun before its failures are no accident."""
GRACE = 60.0
"""Seconds in which the ranks of a broken team notice that they are alone."""
GLANCE = 0.2
"""Seconds between two looks at a team."""


def use_the_clusters_network() -> None:
    """Have the ranks that run in this process speak over the network that Dask reaches it by."""
    own = _own_address()
    for interface, addresses in psutil.net_if_addrs().items():
        if any(address.address == own for address in addresses):
            os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = interface


def _open_meeting() -> "Meeting":
    """Where the ranks of a team find each other; it never leaves the first one's worker, and goes with its future."""
    from models.distributed import Meeting

    return Meeting(_own_address())


def _address_of(meeting: "Meeting") -> tuple[str, int]:
    return meeting.address


def _own_address() -> str:
    return str(get_worker().ip)


class Teams:
    """As many teams as the workers of a cluster make."""

    def __init__(self, client: Client, size: int, *, say: Callable[[str], None]) -> None:
        """Nothing starts yet.

        Args:
            client: Of the cluster.
            size: Workers of a team.
            say: Told of each team that was given up, and why.
        """
        self._client = client
        self._size = size
        self._say = say
        self._busy: set[str] = set()
        self._changed = threading.Condition()
        self._over = False

    def run(self, jobs: Sequence[Job], submit: Submit[Job]) -> Iterator[tuple[Job, Any]]:
        """Yield each job with what its first rank returned, as they end; the first failure ends the rest.

        Raises:
            TercileError: A job cannot be done, or its ranks failed for other reasons time after time.
        """
        there = len(self._present())
        if jobs and there < self._size:
            raise TercileError(f"cluster: `ranks: {self._size}` needs as many workers, and the cluster has {there}")
        with ThreadPoolExecutor(max(1, there // self._size)) as pool:
            running = {pool.submit(self._do, job, submit): job for job in jobs}
            try:
                for done in as_completed(running):
                    yield running[done], done.result()
            finally:
                self._over = True
                pool.shutdown(wait=False, cancel_futures=True)

    def _do(self, job: Job, submit: Submit[Job]) -> Any:
        for attempt in range(1, ATTEMPTS + 1):
            with self._team() as workers, self._ranks(job, workers, submit) as ranks:
                self._watch(ranks, workers)
                if all(rank.status == "finished" for rank in ranks):
                    return ranks[0].result()
                failures = [rank.exception() for rank in ranks if rank.status == "error"]
            for failure in failures:
                if isinstance(failure, TercileError):
                    raise failure
            why = "; ".join(map(repr, failures)) or "workers were lost"
            self._say(f"  {job}: attempt {attempt} of {ATTEMPTS} of its {self._size} ranks ended early: {why}")
        raise TercileError(f"model '{job}': its {self._size} ranks failed {ATTEMPTS} times; the last time: {why}")

    @contextmanager
    def _ranks(self, job: Job, workers: list[str], submit: Submit[Job]) -> Iterator[list[Future]]:
        """The tasks of a team, whose meeting place lasts as long as they do."""
        from models.distributed import Rank

        there = {"workers": workers[:1], "allow_other_workers": True, "pure": False}  # elsewhere, should it be lost now
        meeting = self._client.submit(_open_meeting, **there)
        address = self._client.submit(_address_of, meeting, **there).result()
        places = [Rank(number, self._size, address) for number in range(self._size)]
        ranks = [submit(job, rank, worker) for rank, worker in zip(places, workers, strict=True)]
        try:
            yield ranks
        finally:
            self._client.cancel([*ranks, meeting], force=True)

    def _watch(self, ranks: list[Future], workers: list[str]) -> None:
        """Wait until all ranks are done, or one failed or was lost and the others have noticed."""
        broken_since = None
        while not self._over:
            present = self._present()
            if all(rank.done() for rank, worker in zip(ranks, workers, strict=True) if worker in present):
                return
            if broken_since is None and (any(rank.status == "error" for rank in ranks) or set(workers) - present):
                broken_since = time.monotonic()
            if broken_since is not None and time.monotonic() - broken_since > GRACE:
                return
            time.sleep(GLANCE)
        raise CancelledError

    @contextmanager
    def _team(self) -> Iterator[list[str]]:
        """Workers that no other team has; waits for them."""
        if len(present := self._present()) < self._size:
            self._say(f"  a team of {self._size} ranks waits for workers: the cluster has {len(present)}")
        with self._changed:
            while len(free := sorted(self._present() - self._busy)) < self._size:
                if self._over:
                    raise CancelledError
                self._changed.wait(timeout=1.0)
            workers = free[: self._size]
            self._busy |= set(workers)
        try:
            yield workers
        finally:
            with self._changed:
                self._busy -= set(workers)
                self._changed.notify_all()

    def _present(self) -> set[str]:
        return set(self._client.nthreads())
