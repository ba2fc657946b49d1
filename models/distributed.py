"""Several processes that train one network: each takes its share of every batch, and gradients are averaged.

What the processes are and how they find each other is the caller's affair; here they are ranks of a process group of
`torch.distributed`. Outside of one there is a single rank, and everything is as if this module were not there.

Source: Li et al. (2020, PyTorch Distributed, doi:10.14778/3415478.3415530).
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from models.device import chosen_device

PATIENCE = timedelta(minutes=10)
"""How long a rank waits for the others, who may still be reading data or look at the validation loss."""


@dataclass(frozen=True)
class Rank:
    """One of the processes that train a network.

    Attributes:
        number: Its place among them; the first one looks at the validation loss and writes checkpoints.
        count: How many there are.
        meeting: Host and port of the store where they meet.
    """

    number: int = 0
    count: int = 1
    meeting: tuple[str, int] | None = None

    @property
    def is_first(self) -> bool:
        """Whether it speaks for all."""
        return self.number == 0

    @property
    def key(self) -> tuple[int, ...]:
        """What sets its noise apart from that of the others; nothing for the first one."""
        return () if self.is_first else (self.number,)

    def share(self, rows: Tensor) -> Tensor:
        """Its part of a batch.

        Raises:
            ValueError: The batch cannot be shared evenly, so that a mean of means would not be the mean.
        """
        if len(rows) % self.count:
            raise ValueError(
                f"a batch of {len(rows)} windows cannot be shared evenly by {self.count} ranks: choose `batch` and "
                "`cluster.ranks` so that it can"
            )
        return rows[self.number :: self.count]


class Meeting:
    """The store where ranks meet, on the machine of the first one.

    Attributes:
        address: Host and port.
    """

    address: tuple[str, int]

    def __init__(self, host: str) -> None:
        """Listen on a free port of this address alone."""
        with socket.create_server((host, 0)) as listener:
            self.address = listener.getsockname()[:2]
            self._store = dist.TCPStore(  # type: ignore[attr-defined]
                host,
                self.address[1],
                is_master=True,
                wait_for_workers=False,
                master_listen_fd=os.dup(listener.fileno()),
            )


_ALONE = Rank()
_here: ContextVar[Rank] = ContextVar("rank", default=_ALONE)


@contextmanager
def joined(rank: Rank) -> Iterator[None]:
    """Networks that are trained within it are trained by all ranks; each of them enters it, and runs the same code."""
    if rank.meeting is None:
        yield
        return
    host, port = rank.meeting
    store = dist.TCPStore(host, port, is_master=False, timeout=PATIENCE)  # type: ignore[attr-defined]
    backend = "cpu:gloo,cuda:nccl" if chosen_device().type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank.number, world_size=rank.count, timeout=PATIENCE)
    before = _here.set(rank)
    try:
        yield
    finally:
        _here.reset(before)
        dist.destroy_process_group()


def here() -> Rank:
    """The rank that this code runs as."""
    return _here.get()


def average_gradients(network: nn.Module) -> None:
    """Put the mean of all ranks' gradients in the place of each rank's own."""
    if here().count == 1:
        return
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    for device in dict.fromkeys(gradient.device for gradient in gradients):
        there = [gradient for gradient in gradients if gradient.device == device]
        joint = torch.cat([gradient.flatten() for gradient in there])
        dist.all_reduce(joint)
        for gradient, part in zip(there, joint.split([gradient.numel() for gradient in there]), strict=True):
            gradient.copy_(part.view(gradient.shape) / here().count)


def mean(value: float) -> float:
    """The mean of the ranks' values."""
    if here().count == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64, device=chosen_device())
    dist.all_reduce(total)
    return total.item() / here().count


def as_first(value: float) -> float:
    """The first rank's value, so that all decide alike."""
    if here().count == 1:
        return value
    told = torch.tensor(value, dtype=torch.float64, device=chosen_device())
    dist.broadcast(told, src=0)
    return told.item()
