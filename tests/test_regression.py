import numpy as np
import torch

from models.regression import ridge_coefficients


def sample(scale: float = 1.0):
    rng = np.random.default_rng(3)
    predictors = rng.standard_normal((200, 4)) * np.array([1.0, 3.0, 0.2, 2.0]) * scale
    targets = predictors @ rng.standard_normal((4, 2)) + rng.standard_normal((200, 2))
    return torch.from_numpy(predictors), torch.from_numpy(targets)


def test_no_penalty_is_least_squares():
    predictors, targets = sample()
    found = ridge_coefficients(predictors, targets, ridges=[1e-12])[0]
    np.testing.assert_allclose(found, np.linalg.lstsq(predictors.numpy(), targets.numpy(), rcond=None)[0], atol=1e-8)


def test_solves_the_penalised_normal_equations():
    predictors, targets = sample()
    scale = predictors.square().mean(dim=0) ** -0.25
    scaled = predictors * scale
    gram = scaled.T @ scaled / 200
    penalty = 0.3 * gram.diagonal().mean() * torch.eye(4, dtype=gram.dtype)
    expected = scale[:, None] * torch.linalg.solve(gram + penalty, scaled.T @ targets / 200)
    np.testing.assert_allclose(ridge_coefficients(predictors, targets, ridges=[0.3])[0], expected, atol=1e-12)


def test_a_penalty_means_the_same_in_any_units():
    predictors, targets = sample()
    small, large = (ridge_coefficients(factor * predictors, targets, ridges=[0.1]) for factor in (1.0, 1e4))
    np.testing.assert_allclose(small, 1e4 * large, rtol=1e-8)


def test_a_predictor_that_is_always_zero_counts_for_nothing():
    predictors, targets = sample()
    predictors[:, 2] = 0
    assert not ridge_coefficients(predictors, targets, ridges=[0.01])[0, 2].any()
