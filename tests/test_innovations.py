import math

import pytest
import torch

from models.innovations import Draw, Innovations, same_season


def months(count: int) -> torch.Tensor:
    phase = 2 * math.pi * torch.arange(count, dtype=torch.float64) / 12
    return torch.stack([phase.sin(), phase.cos()], dim=1)


def test_a_season_is_the_month_and_its_neighbours():
    calendar = months(36)
    assert (same_season(calendar, calendar[0]) % 12).unique().tolist() == [0, 1, 11]


def test_without_seasons_every_step_counts():
    assert same_season(torch.zeros(5, 2), torch.zeros(2)).tolist() == [0, 1, 2, 3, 4]


def test_a_season_never_trained_on_is_refused():
    with pytest.raises(ValueError, match="no step within 45 days"):
        same_season(months(3), months(12)[7])


def test_errors_are_two_whole_fields_about_their_mean():
    fields = torch.randn(30, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 2
    errors = Innovations.centred(fields, torch.zeros(30, 2))
    key = Draw(1, 0, range(200))
    drawn = errors.draw(torch.zeros(2), step=0, key=key)
    shares = torch.linalg.lstsq(errors.fields.double().T, drawn.T).solution.T
    width = (4 / 3 / 30) ** 0.2
    parts = torch.tensor([width, 1.0], dtype=torch.float64) / math.hypot(1, width)
    alone = abs(shares).sort(dim=1).values[:, -2:]
    apart = alone[:, 0] > 1e-6
    assert torch.allclose(alone[apart], parts, atol=1e-4)
    assert apart.float().mean() > 0.9
    assert errors.fields.mean(dim=0).abs().max() < 1e-6


def test_blending_keeps_mean_and_variance_even_of_a_store_of_two():
    fields = torch.tensor([[1.0], [-1.0]])
    drawn = Innovations.centred(fields, torch.zeros(2, 2)).draw(torch.zeros(2), step=0, key=Draw(1, 0, range(4000)))
    assert abs(float(drawn.mean())) < 0.05
    assert float(drawn.var()) == pytest.approx(1.0, rel=0.05)


def test_blended_draws_of_few_errors_score_better_than_the_errors_themselves():
    key = Draw(1, 0, range(400))
    few, many = (torch.randn(count, 200, generator=torch.Generator().manual_seed(count)) for count in (20, 400))
    drawn = Innovations(few, torch.zeros(20, 2).double()).draw(torch.zeros(2), step=0, key=key)
    plain = few[(key.uniform(1)[:, 0] * 20).long()].double()

    def crps(members: torch.Tensor) -> float:
        error = torch.cdist(many.double().T[..., None], members.T[..., None], p=1).mean()
        return float(error - torch.cdist(members.T[..., None], members.T[..., None], p=1).mean() / 2)

    assert crps(drawn) < 0.99 * crps(plain)


def test_members_draw_from_streams_of_their_own():
    together = Draw(4, -10, [0, 1, 2, 3]).uniform(5, 2)
    assert together[[3, 1]].equal(Draw(4, -10, [3, 1]).uniform(5, 2))
    assert len({*together[:, 0].tolist(), *Draw(4, -10, [0, 1]).uniform(6)[:, 0].tolist()}) == 6
