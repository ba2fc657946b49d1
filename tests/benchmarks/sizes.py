"""What a named size costs: the table of sizes in ``docs/models.md``.

Run ``python -m tests.benchmarks.sizes [--grid 32 64] [--threads 2] [--into docs/models.md]``. Each size is measured in
a process of its own: a diffusion window of ten steps of one variable, batches of 16 windows in training, 50 members in
sampling; memory is the process's peak beyond what importing takes. The bare network is the U-Net alone behind torch's
cutting into patches with an ordinary first convolution, given all of its input as it needs it: padded, the channels
that tell the place laid beside the others, conditions embedded.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path
from statistics import median

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import nn

from models.base import Grid
from models.config import DiffusionConfig
from models.networks import SIZES, Backbone, CircularConv2d, parameter_count
from models.training import generator
from tests.benchmarks.skill import replace_table

WINDOW = 10


def measure(size: str, height: int, width: int) -> dict[str, float]:
    """Parameters, seconds of a training step and of a call for 50 members, its ratio to the bare network, peak MiB."""
    config = DiffusionConfig(window=WINDOW)
    grid = Grid(torch.ones(height, width), torch.ones(1, height, width, dtype=torch.bool), is_global=True)
    network = Backbone(
        inputs=3 * WINDOW + config.history,
        outputs=WINDOW,
        conditions=7,
        grid=grid,
        size=size,
        dropout=config.dropout,
        generator=generator(0),
    )
    before = _peak()
    optimiser = torch.optim.AdamW(network.parameters())
    step = _seconds(lambda: _train(network, optimiser, config.batch, (height, width)))
    training = _peak() - before
    network.eval()
    with torch.no_grad():
        inputs, unet, whole = _inputs(50, (height, width)), _bare(network), _whole(network, 50)
        bare, call = _typical(lambda: unet(*whole[:2], class_labels=whole[2]), lambda: network(*inputs))
    found = {"parameters": parameter_count(network), "patch": network.patch}
    return found | {"step": step, "call": call, "ratio": call / bare, "memory": training}


def _inputs(count: int, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(count, 3 * WINDOW + 3, *shape), torch.randn(count, 7), torch.zeros(count)


def _bare(network: Backbone) -> UNet2DModel:
    """The network inside, all channels in one convolution at its beginning."""
    unet = deepcopy(network.unet)
    first = network.first
    kind = CircularConv2d if first.is_global else nn.Conv2d
    convolution = kind(first.in_channels, first.out_channels, 3, padding=1).to(memory_format=torch.channels_last)
    unet.conv_in = nn.Sequential(nn.PixelUnshuffle(first.patch), convolution)
    return unet


def _whole(network: Backbone, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What it sees: a whole number of patches, places among the channels, and embedded conditions."""
    first = network.first
    sides = (-(-side // first.multiple) * first.multiple for side in first.places.shape[-2:])
    fields = torch.randn(count, first.in_channels // first.patch**2, *sides)
    return fields, torch.zeros(count), network.conditions(torch.randn(count, 7))


def _train(network: Backbone, optimiser: torch.optim.Optimizer, batch: int, shape: tuple[int, int]) -> None:
    network.train()
    network.set_generator(generator(1))
    optimiser.zero_grad(set_to_none=True)
    network(*_inputs(batch, shape)).square().mean().backward()
    optimiser.step()


def _seconds(work) -> float:  # type: ignore[no-untyped-def]
    """Of the second run; of the first where that one takes long."""
    for _ in range(2):
        seconds = _once(work)
        if seconds > 20:
            break
    return seconds


def _typical(*works) -> tuple[float, ...]:  # type: ignore[no-untyped-def]
    """Median seconds of each in up to 31 turns, so that a busy machine slows all of them alike."""
    turns = [[_once(work) for work in works]]
    while len(turns) < 31 and sum(map(sum, turns)) < 30:
        turns.append([_once(work) for work in works])
    return tuple(map(median, zip(*turns, strict=True)))


def _once(work) -> float:  # type: ignore[no-untyped-def]
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(height: int, width: int, threads: int) -> str:
    """Markdown, one row for each size."""
    lines = [
        f"Grid {height} × {width}, {threads} thread(s) of a CPU. A patch is what the network sees as one cell; steps "
        "are the defaults of the autoregressive network and of diffusion.",
        "",
        "| size | parameters | patch | step of 16 windows | steps | call, 50 members | over bare | training memory |",
        "|---" * 8 + "|",
    ]
    for name, size in SIZES.items():
        options = f"--one {name} --grid {height} {width} --threads {threads}".split()
        output = subprocess.run(
            [sys.executable, "-m", __spec__.name, *options], check=True, capture_output=True, text=True
        ).stdout
        found = json.loads(output)
        lines.append(
            f"| `{name}` | {found['parameters'] / 1e6:.2f} M | {found['patch']} × {found['patch']} "
            f"| {found['step']:.2f} s | {size.steps} / {size.steps * DiffusionConfig.effort} "
            f"| {found['call']:.2f} s | {found['ratio']:.2f} | {found['memory']:.0f} MiB |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure every size, print the table, and put it into the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", type=int, nargs=2, default=(32, 64))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", choices=SIZES, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        print(json.dumps(measure(options.one, *options.grid)))
        return
    text = table(*options.grid, options.threads)
    print(text)
    if options.into:
        replace_table(options.into, "sizes", text)


if __name__ == "__main__":
    main()
