import numpy as np
import pytest
import torch

from models import eofs
from models.eofs import fit_eofs


def fields(steps: int = 40, cells: int = 25) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    spectrum = torch.linspace(3, 0.2, cells, dtype=torch.float64)
    return torch.randn(steps, cells, generator=generator, dtype=torch.float64) * spectrum


@pytest.mark.parametrize(("steps", "cells"), [(40, 25), (20, 60)])
def test_equal_the_singular_vectors_of_the_weighted_fields(steps, cells):
    values = fields(steps, cells)
    weights = torch.linspace(0.5, 1.5, cells, dtype=torch.float64)
    found = fit_eofs(values, weights, count=6)
    _, sizes, right = np.linalg.svd(values.numpy() * np.sqrt(weights.numpy()), full_matrices=False)
    expected = right[:6] * np.sign(right[np.arange(6), np.abs(right[:6]).argmax(axis=1)])[:, None]
    np.testing.assert_allclose(found.patterns * weights.sqrt(), expected, atol=1e-9)
    np.testing.assert_allclose(found.scores(values).norm(dim=0), sizes[:6], rtol=1e-9)


def test_scores_and_remainder_add_up_and_are_orthogonal_by_area():
    values = fields()
    weights = torch.linspace(0.5, 1.5, 25, dtype=torch.float64)
    found = fit_eofs(values, weights, count=5)
    remainder = found.remainder(values)
    np.testing.assert_allclose(found.scores(values) @ found.patterns + remainder, values, atol=1e-12)
    np.testing.assert_allclose(found.patterns * weights @ remainder.T, 0, atol=1e-10)


def test_masked_cells_take_no_part():
    values = fields()
    weights = torch.ones(25, dtype=torch.float64)
    weights[7] = 0
    spoilt = values.clone()
    spoilt[:, 7] = 1e6
    found, other = (fit_eofs(one, weights, count=4) for one in (values, spoilt))
    np.testing.assert_array_equal(found.patterns[:, 7], 0)
    np.testing.assert_allclose(found.patterns, other.patterns, atol=1e-9)


def test_no_more_patterns_than_the_fields_have_rank():
    values = fields()[:, :3] @ torch.eye(3, 25, dtype=torch.float64)
    assert len(fit_eofs(values, torch.ones(25, dtype=torch.float64), count=10)) == 3


def test_subspace_iteration_agrees_with_the_exact_decomposition(monkeypatch):
    values = fields(200, 150)
    weights = torch.ones(150, dtype=torch.float64)
    exact = fit_eofs(values, weights, count=5)
    monkeypatch.setattr(eofs, "DENSE", 10)
    np.testing.assert_allclose(fit_eofs(values, weights, count=40).leading(5).patterns, exact.patterns, atol=1e-3)
