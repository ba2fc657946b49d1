"""The backbone of the neural families: a U-Net of `diffusers`, made to fit any grid.

Longitude is padded circularly where it closes the circle and with zeros elsewhere; latitude always with zeros. Any
grid size is served by padding to a multiple and cropping. Cells are first folded into patches, so that a size costs
about the same on every grid. Weights and dropout draw from explicit generators, never from torch's global one.
"""

from dataclasses import dataclass
from math import ceil, sqrt

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Generator, Tensor, nn
from torch.nn import functional

from models.base import Grid
from models.device import chosen_device, mixed_precision

CONDITION_WIDTH = 64
"""Width of the vector that modulates every block."""


@dataclass(frozen=True)
class Size:
    """What a size name stands for.

    Attributes:
        channels: Width of each resolution, finest first.
        layers: Residual blocks at each resolution.
        cells: Patches are as small as this many of them per field allow.
        steps: Default length of a training, in batches.
    """

    channels: tuple[int, ...]
    layers: int
    cells: int
    steps: int


SIZES = {
    "tiny": Size(channels=(24, 32, 48), layers=1, cells=300, steps=1000),
    "small": Size(channels=(32, 64, 96), layers=1, cells=1024, steps=1500),
    "base": Size(channels=(64, 96, 128, 192), layers=2, cells=4096, steps=6000),
    "large": Size(channels=(128, 192, 256, 384), layers=3, cells=16384, steps=20000),
}
"""The named sizes: about 0.4, 1.6, 10 and 60 million parameters."""


class Backbone(nn.Module):
    """Fields and a vector of conditions in, fields out; the last layer starts at zero.

    The mask, the cell areas and the place on the grid join the input as channels; outputs are zero where every channel
    is masked only by the caller's hand.
    """

    places: Tensor

    def __init__(
        self, *, inputs: int, outputs: int, conditions: int, grid: Grid, size: str, dropout: float, generator: Generator
    ) -> None:
        """Build the network with weights from ``generator``.

        Args:
            inputs: Channels of the fields that :meth:`forward` gets.
            outputs: Channels it returns.
            conditions: Length of the vector of conditions.
            grid: The cells; its mask and weights become inputs.
            size: A key of :data:`SIZES`.
            dropout: Share of activations dropped in training.
            generator: Source of the initial weights.
        """
        super().__init__()
        places = _places(grid)
        chosen = SIZES[size]
        height, width = grid.weights.shape
        self.outputs = outputs
        self.is_global = grid.is_global
        self.patch = max(1, ceil(sqrt(height * width / chosen.cells)))
        self.multiple = self.patch * 2 ** (len(chosen.channels) - 1)
        with torch.device("meta"):
            self.conditions = nn.Sequential(
                nn.Linear(conditions, CONDITION_WIDTH), nn.SiLU(), nn.Linear(CONDITION_WIDTH, CONDITION_WIDTH)
            )
            self.unet = _unet(chosen, (inputs + len(places)) * self.patch**2, outputs * self.patch**2, dropout)
            _replace_layers(self.unet, is_global=grid.is_global)
        self.to_empty(device="cpu")
        self.register_buffer("places", _in_patches(self._pad(places[None]), self.patch), persistent=False)
        initialise(self, generator)
        nn.init.zeros_(self.unet.conv_out.weight)
        if self.unet.conv_out.bias is not None:
            nn.init.zeros_(self.unet.conv_out.bias)
        self.to(device=chosen_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, fields: Tensor, conditions: Tensor, noise_level: Tensor) -> Tensor:
        """Map fields ``(batch, inputs, latitude, longitude)`` to ``(batch, outputs, latitude, longitude)``.

        Args:
            fields: Input channels, standardised.
            conditions: ``(batch, conditions)``, of order one.
            noise_level: Logarithm of the noise level for a denoiser, ``(batch,)``; zeros for other uses.
        """
        height, width = fields.shape[-2:]
        there = self.places.device
        # The sinusoidal embedding of diffusers resolves arguments of order 1 to 1000.
        level = 100.0 * noise_level.to(there)
        with mixed_precision(there):
            x = self.unet(
                self._folded(fields.to(there)), level, class_labels=self.conditions(conditions.to(there))
            ).sample
        return functional.pixel_shuffle(x.float(), self.patch)[..., :height, :width].to(fields.device)

    def set_generator(self, generator: Generator) -> None:
        """Let dropout draw from ``generator``; it has none, and fails in training, until this is called."""
        for module in self.modules():
            if isinstance(module, Dropout):
                module.generator = generator

    def _folded(self, fields: Tensor) -> Tensor:
        """Patches as channels, place beside them; channels lie innermost in memory and in a patch, as copies run."""
        parts = _in_patches(self._pad(fields), self.patch)
        folded = fields.new_empty(*parts.shape[:-1], parts.shape[-1] + self.places.shape[-1])
        folded[..., : parts.shape[-1]] = parts
        folded[..., parts.shape[-1] :] = self.places
        return folded.flatten(3).permute(0, 3, 1, 2)

    def _pad(self, x: Tensor) -> Tensor:
        bottom, right = (-x.shape[-2] % self.multiple, -x.shape[-1] % self.multiple)
        if right:
            x = functional.pad(x, (0, right, 0, 0), mode="circular" if self.is_global else "replicate")
        return functional.pad(x, (0, 0, 0, bottom), mode="replicate") if bottom else x


class CircularConv2d(nn.Conv2d):
    """A convolution whose longitude, the last dimension, closes the circle."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``(batch, channels, latitude, longitude)``."""
        rows, columns = (int(side) for side in self.padding)
        if columns:
            input = functional.pad(input, (columns, columns, 0, 0), mode="circular")
        return functional.conv2d(input, self.weight, self.bias, self.stride, (rows, 0))


class Dropout(nn.Module):
    """Dropout whose noise comes from a generator of its own, so that threads cannot disturb one another."""

    def __init__(self, share: float) -> None:
        """Drop this ``share`` of the activations in training."""
        super().__init__()
        self.share = share
        self.generator: Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Drop and rescale in training; pass through otherwise."""
        if not self.training or self.share == 0.0:
            return x
        if self.generator is None:
            raise RuntimeError("dropout has no generator: call Backbone.set_generator before training")
        # One draw per channel, not per cell: neighbouring cells would tell what was dropped.
        keep = torch.rand(x.shape[:2], generator=self.generator) >= self.share
        return x * (keep.to(x) / (1.0 - self.share))[..., None, None]


def initialise(module: nn.Module, generator: Generator) -> None:
    """Give every layer of ``module`` torch's usual initial weights, drawn from ``generator``."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = 1.0 / sqrt(layer.weight[0].numel())
            for parameter in layer.parameters(recurse=False):
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
        elif isinstance(layer, nn.GroupNorm):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


def parameter_count(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def _unet(size: Size, inputs: int, outputs: int, dropout: float) -> UNet2DModel:
    levels = len(size.channels)
    return UNet2DModel(
        in_channels=inputs,
        out_channels=outputs,
        block_out_channels=size.channels,
        layers_per_block=size.layers,
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        norm_num_groups=8,
        dropout=dropout,
        add_attention=False,
        resnet_time_scale_shift="scale_shift",
        time_embedding_dim=CONDITION_WIDTH,
        class_embed_type="identity",
    )


def _replace_layers(module: nn.Module, *, is_global: bool) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Dropout):
            setattr(module, name, Dropout(child.p))
        elif isinstance(child, nn.Conv2d) and is_global:
            setattr(module, name, _circular(child))
        else:
            _replace_layers(child, is_global=is_global)


def _circular(conv: nn.Conv2d) -> CircularConv2d:
    kernel, stride, padding = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
    return CircularConv2d(conv.in_channels, conv.out_channels, kernel, stride=stride, padding=padding)


def _in_patches(x: Tensor, patch: int) -> Tensor:
    """A view of ``(batch, channels, latitude, longitude)`` as ``(batch, rows, columns, patch, patch, channels)``."""
    return x.unflatten(3, (-1, patch)).unflatten(2, (-1, patch)).permute(0, 2, 4, 3, 5, 1)


def _places(grid: Grid) -> Tensor:
    """Channels that tell a cell where it is: mask, area, latitude's place and longitude's, ``(channels, ...)``."""
    height, width = grid.weights.shape
    row = torch.linspace(-1.0, 1.0, height)[:, None].expand(height, width)
    if grid.is_global:
        angle = torch.arange(width) * (2.0 * torch.pi / width)
        columns = [torch.sin(angle), torch.cos(angle)]
    else:
        columns = [torch.linspace(-1.0, 1.0, width)]
    rest = [row, grid.weights.float().sqrt(), *(column.expand(height, width) for column in columns)]
    return torch.cat([grid.mask.float(), torch.stack(rest)])
