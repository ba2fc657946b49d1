"""The losses against their definitions: hand arithmetic, all pairs one by one, masks and weights."""

import math

import pytest
import torch

from models.base import Grid
from models.losses import almost_fair_crps, area_mean, denoising_loss


def even_grid(*shape: int) -> Grid:
    return Grid(torch.ones(shape[1:]), torch.ones(shape, dtype=torch.bool), is_global=False)


def uneven_grid() -> Grid:
    mask = torch.ones(2, 3, 4, dtype=torch.bool)
    mask[0, 1, 2:] = False
    mask[1, 2] = False
    return Grid(torch.linspace(0.5, 1.5, 3)[:, None].expand(3, 4), mask, is_global=False)


def crps_by_pairs(members: torch.Tensor, truth: torch.Tensor, grid: Grid, alpha: float) -> float:
    """Equation 4 of Lang et al. (2024), one cell and one pair at a time, in doubles."""
    count, total, weight = len(members), 0.0, 0.0
    for batch in range(truth.shape[0]):
        for channel, row, column in torch.nonzero(grid.mask).tolist():
            cell = members[:, batch, channel, row, column].tolist()
            y = float(truth[batch, channel, row, column])
            epsilon = (1 - alpha) / count
            score = sum(
                abs(cell[j] - y) + abs(cell[k] - y) - (1 - epsilon) * abs(cell[j] - cell[k])
                for j in range(count)
                for k in range(count)
                if j != k
            ) / (2 * count * (count - 1))
            total += float(grid.weights[row, column]) * score
            weight += float(grid.weights[row, column])
    return total / weight


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        # Members 0, 1, 4 and truth 2. Errors 2, 1, 2: mean 5/3. Ordered pairs |0-1| |0-4| |1-4| twice: 2 (1+4+3) = 16.
        # Fair: 5/3 - 16 / (2 * 3 * 2) = 1/3. Plain: 5/3 - 16 / (2 * 9) = 7/9.
        (1.0, 1 / 3),
        (0.0, 7 / 9),
        # 0.95 of the one and 0.05 of the other: 0.95 / 3 + 0.05 * 7 / 9 = 0.355556.
        (0.95, 0.95 / 3 + 0.05 * 7 / 9),
    ],
)
def test_three_members_by_hand(alpha, expected):
    members = torch.tensor([0.0, 1.0, 4.0])[:, None, None, None, None]
    score = almost_fair_crps(members, torch.full((1, 1, 1, 1), 2.0), even_grid(1, 1, 1), alpha=alpha)
    assert float(score) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.95, 1.0])
def test_the_score_of_gaussians_is_the_mean_score_of_draws_from_them(alpha):
    """40 000 draws of three members know it to 0.5 %; without a deviation the members are sure."""
    generator = torch.Generator().manual_seed(4)
    means, deviations = torch.tensor([0.0, 1.0, -2.0]), torch.tensor([0.5, 1.0, 2.0])
    shaped = [part[:, None, None, None, None] for part in (means, deviations)]
    truth, grid = torch.full((1, 1, 1, 1), 0.7), even_grid(1, 1, 1)
    score = float(almost_fair_crps(shaped[0], truth, grid, alpha=alpha, deviations=shaped[1]))
    draws = means[:, None] + deviations[:, None] * torch.randn(3, 40_000, generator=generator)
    many = almost_fair_crps(draws[..., None, None, None], truth.expand(40_000, 1, 1, 1), grid, alpha=alpha)
    assert score == pytest.approx(float(many), rel=0.02)
    sure = almost_fair_crps(shaped[0], truth, grid, alpha=alpha, deviations=torch.zeros_like(shaped[1]))
    assert float(sure) == pytest.approx(float(almost_fair_crps(shaped[0], truth, grid, alpha=alpha)), abs=1e-4)


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("alpha", [0.0, 0.95, 1.0])
def test_equals_the_sum_over_pairs_masked_and_weighted(count, alpha):
    generator = torch.Generator().manual_seed(count)
    members = torch.randn(count, 2, 2, 3, 4, generator=generator)
    truth = torch.randn(2, 2, 3, 4, generator=generator)
    score = almost_fair_crps(members, truth, uneven_grid(), alpha=alpha)
    assert float(score) == pytest.approx(crps_by_pairs(members, truth, uneven_grid(), alpha), rel=1e-5)


def test_the_score_shifts_scales_and_forgets_the_order_of_members():
    generator = torch.Generator().manual_seed(0)
    members, truth = torch.randn(3, 2, 2, 3, 4, generator=generator), torch.randn(2, 2, 3, 4, generator=generator)
    score = float(almost_fair_crps(members, truth, uneven_grid()))
    assert float(almost_fair_crps(members + 3, truth + 3, uneven_grid())) == pytest.approx(score, rel=1e-5)
    assert float(almost_fair_crps(-2 * members, -2 * truth, uneven_grid())) == pytest.approx(2 * score, rel=1e-5)
    assert float(almost_fair_crps(members[[2, 0, 1]], truth, uneven_grid())) == pytest.approx(score, rel=1e-6)


def test_the_fair_score_is_that_of_the_law_behind_the_members():
    """Of N(0, 1) against itself: 1 / sqrt(pi) = 0.5642; three standard errors of 40,000 cells are 0.012."""
    generator = torch.Generator().manual_seed(1)
    members, truth = (torch.randn(n, 1, 1, 200, 200, generator=generator) for n in (2, 1))
    score = almost_fair_crps(members, truth[0], even_grid(1, 200, 200), alpha=1.0)
    assert float(score) == pytest.approx(1 / math.sqrt(math.pi), abs=0.012)


def test_masked_cells_have_neither_value_nor_gradient():
    members = torch.randn(2, 1, 2, 3, 4, generator=torch.Generator().manual_seed(2)).requires_grad_()
    grid = uneven_grid()
    truth = torch.zeros(1, 2, 3, 4)
    score = almost_fair_crps(members, truth, grid)
    score.backward()
    assert not members.grad[:, :, ~grid.mask].any()
    assert members.grad[:, :, grid.mask].all()
    assert torch.equal(almost_fair_crps(members, truth + 1e6 * ~grid.mask, grid), score)


def test_area_mean_by_hand():
    """Cells 1, 2 in a row of weight 1.5 and 3, masked 100 in one of 0.5: (1.5 + 3 + 1.5) / (1.5 + 1.5 + 0.5) = 12/7."""
    mask = torch.tensor([[[True, True], [True, False]]])
    grid = Grid(torch.tensor([[1.5, 1.5], [0.5, 0.5]]), mask, is_global=False)
    values = torch.tensor([[[1.0, 2.0], [3.0, 100.0]]])
    assert float(area_mean(values, grid)) == pytest.approx(12 / 7)
    assert float(area_mean(values.expand(5, 2, 1, 2, 2), grid)) == pytest.approx(12 / 7)


def test_denoising_loss_is_the_weighted_mean_square():
    """An error of 2 in one of four equal cells: 4 / 4 = 1."""
    output = torch.tensor([2.0, 0.0, 0.0, 0.0]).reshape(1, 1, 1, 2, 2)
    assert float(denoising_loss(output, torch.zeros_like(output), even_grid(1, 2, 2))) == pytest.approx(1.0)


def test_one_member_and_a_grid_without_cells_are_refused():
    with pytest.raises(ValueError, match="at least two"):
        almost_fair_crps(torch.zeros(1, 1, 1, 2, 2), torch.zeros(1, 1, 2, 2), even_grid(1, 2, 2))
    empty = Grid(torch.ones(2, 2), torch.zeros(1, 2, 2, dtype=torch.bool), is_global=False)
    with pytest.raises(ValueError, match="no cell"):
        area_mean(torch.zeros(1, 2, 2), empty)
