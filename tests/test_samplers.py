"""Samplers against denoisers known in closed form: exact spread, expected order of convergence.

For clean data ``N(0, s^2)`` the denoiser is ``D(x; sigma) = s^2 / (s^2 + sigma^2) x``, and the flow takes ``x`` at
level ``sigma`` to ``x s / sqrt(s^2 + sigma^2)``. A prior law of another variance leaves the sampler something to do.
"""

import math
from itertools import pairwise

import pytest
import torch

from models.config import DiffusionConfig
from models.samplers import SAMPLERS, noise_levels

DEFAULT = DiffusionConfig()
DRAWS = 40_000
every_sampler = pytest.mark.parametrize("name", sorted(SAMPLERS))


def gaussian_denoiser(deviation: float, mean: float = 0.0):
    share = deviation**2

    def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
        return mean + share / (share + sigma**2) * (x - mean)

    return denoise


def mixture_denoiser(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Clean data are ``N(+-1, 0.3^2)`` with equal odds: mean 0, variance 1.09, and no Gaussian."""
    total = 0.3**2 + sigma**2
    centre = torch.tanh(x / total)
    return centre + 0.3**2 / total * (x - centre)


def noise_of(shape: tuple[int, ...], seed: int = 0):
    def noise(step: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1000 * seed + step)
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return noise


def draw(name, denoise, *, prior, steps=DEFAULT.sampler_steps, largest=DEFAULT.largest_noise, smallest=0.1, seed=0):
    variance = torch.tensor([prior**2], dtype=torch.float64)
    noise = noise_of((DRAWS, 1), seed)
    sigmas = noise_levels(steps, largest=largest, smallest=smallest)
    start = (variance + sigmas[0] ** 2).sqrt() * noise(0)
    return SAMPLERS[name].sample(denoise, start, sigmas, variance=variance, noise=noise)[:, 0]


def flow_error(name: str, steps: int, *, prior: float = 1.5, deviation: float = 1.0) -> float:
    """Relative error of one path from level 4 down to 0.05, against the closed form."""
    variance = torch.tensor([prior**2], dtype=torch.float64)
    sigmas = noise_levels(steps, largest=4.0, smallest=0.05)[:-1]
    x = torch.ones(1, 1, dtype=torch.float64)
    end = SAMPLERS[name].sample(
        gaussian_denoiser(deviation), x, sigmas, variance=variance, noise=lambda step: torch.zeros_like(x)
    )
    exact = math.sqrt((deviation**2 + sigmas[-1] ** 2) / (deviation**2 + sigmas[0] ** 2))
    return abs(float(end) / exact - 1)


@every_sampler
@pytest.mark.parametrize("steps", [2, 3, DEFAULT.sampler_steps, 40])
def test_the_prior_law_is_drawn_exactly_at_any_number_of_steps(name, steps):
    """Three standard errors of a deviation from 40,000 draws are 1.1 %."""
    drawn = draw(name, gaussian_denoiser(0.7), prior=0.7, steps=steps)
    assert float(drawn.std()) == pytest.approx(0.7, rel=0.011)
    assert float(drawn.mean()) == pytest.approx(0.0, abs=0.011)


@pytest.mark.parametrize("name", ["dpm", "heun"])
@pytest.mark.parametrize("steps", [2, 12])
def test_the_deterministic_flow_of_the_prior_law_is_exact_to_rounding(name, steps):
    assert flow_error(name, steps, prior=1.0, deviation=1.0) < 1e-12


@every_sampler
@pytest.mark.parametrize("deviation", [0.8, 1.25])
def test_a_law_that_is_not_the_prior_has_its_spread_within_five_percent(name, deviation):
    """The default number of steps, the prior's deviation a fifth off; the start is then slightly off as well."""
    drawn = draw(name, gaussian_denoiser(deviation), prior=1.0, largest=20.0)
    assert float(drawn.std()) == pytest.approx(deviation, rel=0.05)


@every_sampler
def test_a_shifted_law_has_its_mean(name):
    """The start at level 20 is centred on zero: 0.5 / 20 = 0.025 too low, and three standard errors are 0.015."""
    drawn = draw(name, gaussian_denoiser(1.0, mean=0.5), prior=1.0, largest=20.0)
    assert float(drawn.mean()) == pytest.approx(0.5, abs=0.04)
    assert float(drawn.std()) == pytest.approx(1.0, rel=0.03)


@every_sampler
def test_two_peaks_stay_two_peaks(name):
    """Half the draws on each side, few between, variance 1.09 within five percent."""
    drawn = draw(name, mixture_denoiser, prior=math.sqrt(1.09), steps=24, largest=20.0, smallest=0.05)
    assert float((drawn > 0).double().mean()) == pytest.approx(0.5, abs=0.02)
    assert float(drawn.square().mean()) == pytest.approx(1.09, rel=0.05)
    # P(|x| < 0.3) = P(-1.3/0.3 < z < -0.7/0.3) = 0.0098.
    assert float((drawn.abs() < 0.3).double().mean()) < 0.03


@pytest.mark.parametrize("name", ["dpm", "heun"])
def test_the_error_falls_with_the_square_of_the_number_of_steps(name):
    """Doubling the steps divides the error by four: order 2 within 0.1."""
    errors = [flow_error(name, steps) for steps in (20, 40, 80, 160)]
    orders = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert orders[-1] == pytest.approx(2.0, abs=0.1)
    assert errors[-1] < 1e-3


def test_the_ancestral_sampler_is_of_first_order_in_the_spread():
    """Of a law whose denoiser is linear the deviation follows without draws: see ``ancestral_deviation``."""
    errors = [abs(ancestral_deviation(steps) - 1.0) for steps in (40, 80, 160, 320)]
    orders = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert orders[-1] == pytest.approx(1.0, abs=0.1)
    assert errors[-1] < 0.02


def ancestral_deviation(steps: int) -> float:
    """Deviation of a final state: the response to a unit start and to each step's unit noise, added in squares."""
    variance = torch.tensor([1.2**2], dtype=torch.float64)
    sigmas = noise_levels(steps, largest=40.0, smallest=0.02)
    sources = torch.eye(steps + 1, dtype=torch.float64)
    start = math.sqrt(1.0 + sigmas[0] ** 2) * sources[:, :1]
    ends = SAMPLERS["ancestral"].sample(
        gaussian_denoiser(1.0), start, sigmas, variance=variance, noise=lambda step: sources[:, step : step + 1]
    )
    return float(ends.square().sum().sqrt())


@pytest.mark.parametrize(("name", "calls"), [("dpm", 12), ("heun", 23), ("ancestral", 12)])
def test_calls_of_the_denoiser(name, calls):
    seen = []

    def denoise(x, sigma):
        seen.append(sigma)
        return torch.zeros_like(x)

    draw(name, denoise, prior=1.0, steps=12)
    assert len(seen) == calls
    assert min(seen) == pytest.approx(0.1)


def test_noise_levels_fall_geometrically_to_zero():
    assert noise_levels(4, largest=8.0, smallest=1.0) == pytest.approx([8, 4, 2, 1, 0])
    with pytest.raises(ValueError, match="at least 2"):
        noise_levels(1, largest=8.0, smallest=1.0)


@every_sampler
def test_the_noise_decides_every_bit(name):
    same = [draw(name, gaussian_denoiser(0.9), prior=1.0, seed=4) for _ in range(2)]
    assert torch.equal(*same)
    assert not torch.equal(same[0], draw(name, gaussian_denoiser(0.9), prior=1.0, seed=5))
