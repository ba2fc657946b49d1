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


def test_errors_are_whole_fields_about_their_mean():
    fields = torch.randn(30, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 2
    errors = Innovations.centred(fields, torch.zeros(30, 2))
    drawn = errors.draw(torch.zeros(2), step=0, key=Draw(1, 0, range(200)))
    centred = (fields - fields.mean(dim=0)).float().double()
    assert all((centred == row).all(dim=1).any() for row in drawn)
    assert errors.fields.mean(dim=0).abs().max() < 1e-6


def test_members_draw_from_streams_of_their_own():
    together = Draw(4, -10, [0, 1, 2, 3]).uniform(step=5)
    assert together[[3, 1]].equal(Draw(4, -10, [3, 1]).uniform(step=5))
    assert len({*together.tolist(), *Draw(4, -10, [0, 1]).uniform(step=6).tolist()}) == 6
