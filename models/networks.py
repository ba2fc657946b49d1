"""The backbone of the neural families: a U-Net of `diffusers`, made to fit any grid.

Longitude is padded circularly where it closes the circle and with zeros elsewhere; latitude always with zeros. What
the network sees as one cell is a patch of them, so that a size costs about the same on every grid. Any grid is served
by filling it up to a whole number of patches and cropping. Around the circle patches are made to fit where they can,
and where they cannot, the seam lies among the cells filled in on both sides. Weights and dropout draw from explicit
generators, never from torch's global one.
"""

from dataclasses import dataclass
from math import ceil, sqrt
from typing import cast

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
"""The named sizes: about 0.6, 1.7, 11 and 54 million parameters."""


class Backbone(nn.Module):
    """Fields and a vector of conditions in, fields out; the last layer starts at zero.

    The mask, the cell areas and the place on the grid join the input as channels; outputs are zero where every channel
    is masked only by the caller's hand.
    """

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
        coarsest = 2 ** (len(chosen.channels) - 1)
        self.patch = _patch_size(height, width, chosen.cells, coarsest=coarsest, is_global=grid.is_global)
        with torch.device("meta"):
            self.conditions = nn.Sequential(
                nn.Linear(conditions, CONDITION_WIDTH), nn.SiLU(), nn.Linear(CONDITION_WIDTH, CONDITION_WIDTH)
            )
            self.unet = _unet(chosen, (inputs + len(places)) * self.patch**2, outputs * self.patch**2, dropout)
            _replace_layers(self.unet, is_global=grid.is_global)
            multiple = self.patch * coarsest
            self.unet.conv_in = PlacedConv2d(self.unet.conv_in, self.patch, multiple, is_global=grid.is_global)
        self.to_empty(device="cpu")
        self.first.places = places[None].contiguous()
        initialise(self, generator)
        nn.init.zeros_(self.unet.conv_out.weight)
        if self.unet.conv_out.bias is not None:
            nn.init.zeros_(self.unet.conv_out.bias)
        self.to(device=chosen_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def first(self) -> "PlacedConv2d":
        """The first convolution, which knows how the grid is filled up."""
        return cast(PlacedConv2d, self.unet.conv_in)

    def forward(self, fields: Tensor, conditions: Tensor, noise_level: Tensor) -> Tensor:
        """Map fields ``(batch, inputs, latitude, longitude)`` to ``(batch, outputs, latitude, longitude)``.

        Args:
            fields: Input channels, standardised.
            conditions: ``(batch, conditions)``, of order one.
            noise_level: Logarithm of the noise level for a denoiser, ``(batch,)``; zeros for other uses.
        """
        height, width = fields.shape[-2:]
        there = self.first.places.device
        # The sinusoidal embedding of diffusers resolves arguments of order 1 to 1000.
        level = 100.0 * noise_level.to(there)
        with mixed_precision(there):
            x = self.unet(fields.to(there), level, class_labels=self.conditions(conditions.to(there))).sample
        west = self.first.beside(width)[0]
        return functional.pixel_shuffle(x.float(), self.patch)[..., :height, west : west + width].to(fields.device)

    def set_generator(self, generator: Generator) -> None:
        """Let dropout draw from ``generator``; it has none, and fails in training, until this is called."""
        for module in self.modules():
            if isinstance(module, Dropout):
                module.generator = generator


class CircularConv2d(nn.Conv2d):
    """A convolution whose longitude, the last dimension, closes the circle."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``(batch, channels, latitude, longitude)``."""
        rows, columns = (int(side) for side in self.padding)
        if columns:
            # functional.pad would lay the channels outermost in memory, and the convolution turn them back.
            input = torch.cat([input[..., -columns:], input, input[..., :columns]], dim=3)
        return functional.conv2d(input, self.weight, self.bias, self.stride, (rows, 0))


class PlacedConv2d(nn.Conv2d):
    """The first convolution: fields of any grid are filled up and cut into patches, whose cells become channels.

    What tells a cell its place is the same in every sample, so that it is convolved once and not laid beside them.
    """

    places: Tensor

    def __init__(self, convolution: nn.Conv2d, patch: int, multiple: int, *, is_global: bool) -> None:
        """Do what ``convolution`` does.

        Args:
            convolution: Over the cells of a patch; its last channels are for ``places``, ``(1, channels, latitude,
                longitude)``, to be set.
            patch: Side of a patch.
            multiple: Rows and columns are filled up to a multiple of this.
            is_global: Whether longitude closes the circle.
        """
        super().__init__(convolution.in_channels, convolution.out_channels, 3, padding=1)
        self.patch, self.multiple, self.is_global = patch, multiple, is_global
        self.register_buffer("places", None, persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``(batch, channels, latitude, longitude)``."""
        fields, places = self._patches(input), self._patches(self.places)
        of_fields, of_places = self.weight.tensor_split([fields.shape[1]], dim=1)
        padding = (1, 0 if self.is_global else 1)
        placed = functional.conv2d(places, of_places, self.bias, padding=padding)
        return functional.conv2d(fields, of_fields, padding=padding) + placed

    def beside(self, width: int) -> tuple[int, int]:
        """Columns filled in to the west and to the east."""
        missing = -width % self.multiple
        return (missing // 2, missing - missing // 2) if self.is_global else (0, missing)

    def _patches(self, fields: Tensor) -> Tensor:
        """Fields cut into patches, ``(batch, channels * cells, rows, columns)``; channels innermost in memory."""
        filled = self._filled(fields).unflatten(3, (-1, self.patch)).unflatten(2, (-1, self.patch))
        return filled.permute(0, 2, 4, 1, 3, 5).flatten(3).permute(0, 3, 1, 2)

    def _filled(self, fields: Tensor) -> Tensor:
        """Fields filled up to whole patches, and by a patch more on both sides of the circle."""
        height, width = fields.shape[2:]
        west, east = self.beside(width)
        end, bottom = west + width, -height % self.multiple
        reach = self.patch if self.is_global else 0
        closed = fields.new_empty(*fields.shape[:2], height + bottom, reach + end + east + reach)
        whole = closed[..., reach : reach + end + east]
        whole[..., :height, west:end] = fields
        whole[..., :height, :west] = whole[..., :height, width:end]
        last = slice(west, west + east) if self.is_global else slice(end - 1, end)
        whole[..., :height, end:] = whole[..., :height, last]
        whole[..., height:, :] = whole[..., height - 1 : height, :]
        if reach:
            closed[..., :reach], closed[..., -reach:] = whole[..., -reach:], whole[..., :reach]
        return closed


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


def _patch_size(height: int, width: int, cells: int, *, coarsest: int, is_global: bool) -> int:
    """Side of a patch: the least that leaves so many; up to a third more where that closes the circle."""
    least = max(1, ceil(sqrt(height * width / cells)))
    closing = (side for side in range(least, 4 * least // 3 + 1) if width % (side * coarsest) == 0)
    return next(closing, least) if is_global else least


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
