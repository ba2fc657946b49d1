"""The backbone: any grid, a closed circle, explicit randomness."""

import pytest
import torch
from torch.nn import functional

from models.base import Grid
from models.networks import SIZES, Backbone, CircularConv2d, Dropout, PlacedConv2d, parameter_count


def network(
    height: int, width: int, *, is_global: bool, seed: int = 0, dropout: float = 0.0, size: str = "tiny"
) -> Backbone:
    """A backbone with a last layer that no longer is zero."""
    weights = torch.linspace(0.5, 1.5, height)[:, None].expand(height, width)
    grid = Grid(weights, torch.ones(2, height, width, dtype=torch.bool), is_global=is_global)
    generator = torch.Generator().manual_seed(seed)
    built = Backbone(
        inputs=3, outputs=2, conditions=4, grid=grid, size=size, dropout=dropout, generator=generator
    ).eval()
    torch.nn.init.normal_(built.unet.conv_out.weight, std=0.1, generator=generator)
    return built


def inputs(height: int, width: int, *, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    fields = torch.randn(batch, 3, height, width, generator=generator)
    return fields, torch.randn(batch, 4, generator=generator), torch.zeros(batch)


@pytest.mark.parametrize("is_global", [False, True])
@pytest.mark.parametrize(("height", "width"), [(5, 7), (6, 8), (37, 49), (3, 3)])
@torch.no_grad()
def test_every_grid_passes_in_its_own_shape(height, width, is_global):
    output = network(height, width, is_global=is_global)(*inputs(height, width))
    assert output.shape == (2, 2, height, width)
    assert torch.isfinite(output).all()
    assert output.std() > 1e-3


@pytest.mark.parametrize("is_global", [False, True])
@torch.no_grad()
def test_the_first_convolution_is_one_over_patches_of_fields_and_places_beside_each_other(is_global):
    """On a grid of whole patches, where it is a convolution of cells that reaches a patch beyond each."""
    generator = torch.Generator().manual_seed(2)
    placed = PlacedConv2d(torch.nn.Conv2d(5 * 4, 4, 3, padding=1), 2, 8, is_global=is_global)
    fields, placed.places = (torch.randn(*shape, 8, 16, generator=generator) for shape in ((3, 3), (1, 2)))
    plain = (CircularConv2d if is_global else torch.nn.Conv2d)(5, 4, 6, stride=2, padding=2)
    of_cells = functional.pixel_shuffle(placed.weight, 2)
    plain.load_state_dict({"weight": of_cells, "bias": placed.bias})
    beside = torch.cat([fields, placed.places.expand(3, -1, -1, -1)], dim=1)
    assert torch.allclose(placed(fields), plain(beside), atol=1e-5)


@pytest.mark.parametrize("cells", [4, 8])
@torch.no_grad()
def test_rolling_longitude_rolls_the_output_of_a_global_grid(cells):
    """By whole cells of the coarsest resolution, the channel that names the place rolled along."""
    built = network(8, 16, is_global=True)
    assert cells % built.first.multiple == 0
    fields, conditions, level = inputs(8, 16)
    output = built(fields, conditions, level)
    built.first.places = built.first.places.roll(cells, dims=-1)
    rolled = built(fields.roll(cells, dims=-1), conditions, level)
    assert torch.allclose(rolled, output.roll(cells, dims=-1), atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(32, 64), (48, 96), (64, 128), (73, 144), (121, 240), (181, 360)])
@pytest.mark.parametrize("size", ["tiny", "small"])
def test_patches_close_the_circle_of_the_usual_grids(size, height, width):
    assert width % network(height, width, is_global=True, size=size).first.multiple == 0


@torch.no_grad()
def test_where_patches_do_not_fit_the_seam_lies_beside_the_cells():
    """What is changed just across the first meridian matters as much as what is changed as near on the same side."""
    built = network(8, 18, is_global=True)
    assert 18 % built.first.multiple
    fields, conditions, level = inputs(8, 18)
    output = built(fields, conditions, level)

    def influence(column):
        changed = fields.clone()
        changed[..., column] += 3.0
        return (built(changed, conditions, level) - output)[..., 0].abs().mean()

    assert influence(-1) > 0.5 * influence(1)


@torch.no_grad()
def test_a_regional_grid_does_not_close_the_circle():
    built = network(8, 16, is_global=False)
    fields, conditions, level = inputs(8, 16)
    output = built(fields, conditions, level)
    built.first.places = built.first.places.roll(4, dims=-1)
    assert not torch.allclose(built(fields.roll(4, dims=-1), conditions, level), output.roll(4, dims=-1), atol=1e-3)


@torch.no_grad()
def test_the_output_starts_at_zero():
    grid = Grid(torch.ones(6, 8), torch.ones(1, 6, 8, dtype=torch.bool), is_global=False)
    generator = torch.Generator().manual_seed(0)
    fresh = Backbone(inputs=3, outputs=1, conditions=4, grid=grid, size="tiny", dropout=0.1, generator=generator)
    assert not fresh.eval()(*inputs(6, 8)).any()


@torch.no_grad()
def test_weights_come_from_the_generator_alone():
    torch.manual_seed(1)
    first = network(6, 8, is_global=False)
    torch.manual_seed(2)
    second = network(6, 8, is_global=False)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert not torch.equal(first(*inputs(6, 8)), network(6, 8, is_global=False, seed=1)(*inputs(6, 8)))


@torch.no_grad()
def test_conditions_and_noise_level_change_the_output():
    built = network(6, 8, is_global=False)
    fields, conditions, level = inputs(6, 8)
    output = built(fields, conditions, level)
    assert not torch.allclose(built(fields, conditions + 1, level), output, atol=1e-4)
    assert not torch.allclose(built(fields, conditions, level + 1), output, atol=1e-4)


def test_dropout_draws_whole_channels_from_its_own_generator():
    layer = Dropout(0.25).train()
    x = torch.ones(50, 80, 2, 3)
    with pytest.raises(RuntimeError, match="set_generator"):
        layer(x)
    draws = []
    for _ in range(2):
        layer.generator = torch.Generator().manual_seed(3)
        torch.rand(7)
        draws.append(layer(x))
    assert torch.equal(*draws)
    assert draws[0].unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert torch.equal(draws[0].amin(dim=(2, 3)), draws[0].amax(dim=(2, 3)))
    # Three standard errors of a mean of 4000 such channels are 0.027.
    assert float(draws[0].mean()) == pytest.approx(1.0, abs=0.03)
    assert torch.equal(layer.eval()(x), x)


def test_a_network_with_dropout_is_repeatable_in_training():
    built = network(6, 8, is_global=False, dropout=0.5).train()
    outputs = []
    for seed in (1, 1, 2):
        built.set_generator(torch.Generator().manual_seed(seed))
        outputs.append(built(*inputs(6, 8)).detach())
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_the_tiny_size_has_about_the_parameters_that_are_promised():
    assert 0.3e6 < parameter_count(network(6, 8, is_global=False)) < 0.6e6
    assert list(SIZES) == ["tiny", "small", "base", "large"]
