"""The cluster an experiment computes on: this machine's threads or processes, or a scheduler that is already there."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dask
from distributed import Client, LocalCluster, get_worker

from flows.experiment import ClusterConfig
from flows.interrupts import deaf_children

TOPIC = "tercile-progress"
"""Topic on which tasks report how far they are."""
LOOPBACK = "127.0.0.1:0"
"""Where Dask serves what it says of itself, which it does in any case: without an address, to every network."""

PATIENT = {"distributed.scheduler.worker-ttl": None}
"""Workers that were not heard of for minutes slept, as this machine did; a dead one closes its connection."""


@contextmanager
def connect(config: ClusterConfig, *, on_progress: Callable[[dict[str, Any]], None] | None = None) -> Iterator[Client]:
    """A client of the experiment's cluster; a local cluster ends with the block.

    Args:
        config: Which cluster.
        on_progress: Called with what tasks report through ``report``.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # a failure is raised and told once, by us
    with _client(config) as client:
        if on_progress is not None:
            client.subscribe_topic(TOPIC, lambda event: on_progress(event[1]))
        yield client


def report(message: dict[str, Any]) -> None:
    """Tell the client of the task that runs here how far it is."""
    get_worker().log_event(TOPIC, message)


@contextmanager
def _client(config: ClusterConfig) -> Iterator[Client]:
    if config.kind == "address":
        with Client(config.address, set_as_default=False) as client:
            yield client
        return
    threads = config.kind == "threads"
    with dask.config.set(PATIENT), deaf_children():
        cluster = LocalCluster(
            n_workers=1 if threads else config.workers,
            threads_per_worker=config.workers if threads else 1,
            processes=not threads,
            dashboard_address=LOOPBACK,
            worker_dashboard_address=LOOPBACK,
            scheduler_kwargs={"dashboard": False},
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        )
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client
