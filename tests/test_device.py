"""Where networks run."""

import pytest
import torch

from models.base import Grid
from models.device import networks_on
from models.networks import Backbone

GPU = torch.cuda.is_available()


def built() -> Backbone:
    grid = Grid(torch.ones(8, 16), torch.ones(1, 8, 16, dtype=torch.bool), is_global=True)
    seed = torch.Generator().manual_seed(0)
    network = Backbone(inputs=3, outputs=2, conditions=4, grid=grid, size="tiny", dropout=0.0, generator=seed)
    torch.nn.init.constant_(network.unet.conv_out.weight, 0.1)
    return network.eval()


@pytest.mark.skipif(GPU, reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"sees no GPU.*device: cpu"), networks_on("cuda"):
        built()


def test_networks_run_on_the_cpu_unless_told_otherwise():
    with networks_on("cpu"):
        assert built().first.places.device.type == "cpu"
    assert built().first.places.device.type == "cpu"


@pytest.mark.skipif(not GPU, reason="this machine has no GPU")
@torch.no_grad()
def test_on_a_gpu_fields_come_back_to_where_they_were_and_differ_by_rounding():
    fields, conditions, level = torch.randn(2, 3, 8, 16), torch.randn(2, 4), torch.zeros(2)
    expected = built()(fields, conditions, level)
    with networks_on("cuda"):
        network = built()
    output = network(fields, conditions, level)
    assert network.first.places.device.type == "cuda"
    assert output.device == fields.device
    torch.testing.assert_close(output, expected, rtol=0.05, atol=0.05)
