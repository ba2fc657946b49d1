"""Where networks run: on the CPU, or in mixed precision on a GPU of this process. All else stays on the CPU.

Noise, expectations and laws are made on the CPU whatever runs the network, so that a member's noise is the same
everywhere; what a GPU adds to a member is its rounding, and the device is part of what a model is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import torch

Device = Literal["cpu", "cuda"]

_chosen: ContextVar[Device] = ContextVar("device", default="cpu")


@contextmanager
def networks_on(device: Device) -> Iterator[None]:
    """Networks that are built or restored within it live on this device.

    Raises:
        ValueError: It is a GPU, and this process sees none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "cluster: networks are to run on cuda, but this worker sees no GPU. Start workers where GPUs are, or set "
            "`device: cpu`."
        )
    before = _chosen.set(device)
    try:
        yield
    finally:
        _chosen.reset(before)


def chosen_device() -> torch.device:
    """Where a network that is built now goes."""
    return torch.device(_chosen.get())


def mixed_precision(device: torch.device) -> torch.autocast:
    """Matrix products and convolutions in bfloat16 on a GPU; single precision on a CPU."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")
