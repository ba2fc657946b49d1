"""Samplers that turn noise into a draw, given a denoiser: each is one ``step``, the loop is shared.

Letters, as in the papers: ``x`` is the noisy state, ``sigma`` its noise level, ``D(x; sigma)`` the denoiser's
expectation of the clean state. All work element by element in a frame where a prior Gaussian law of the clean state is
diagonal; ``variance`` is that law's. The law's own part of a step is integrated exactly, so that only what the denoiser
says *beyond* the law is approximated: for data that follow the law, any number of steps gives its spread to rounding.
With ``variance`` zero the deterministic one is DPM-Solver++(2M) and the stochastic one is its ancestral form.

The angle ``theta = arctan(sigma / sqrt(variance))`` is the natural time: for the law's own denoiser
``x / sqrt(variance + sigma^2)`` stands still, and ``F = (D - L x) / (sqrt(variance) sin(theta))`` drives it, where
``L = variance / (variance + sigma^2)``.

Source: Karras et al. (2022, arXiv:2206.00364) for the noise levels and Heun's method; Lu et al. (2022,
arXiv:2211.01095) for DPM-Solver++(2M); Bao et al. (2022, arXiv:2201.06503) for the variance of the stochastic step;
Lu and Song (2024, arXiv:2410.11081) for the angle.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, float], Tensor]
"""``D(x, sigma)``, in the shape of ``x``, ``(batch, elements)`` or any other."""
Noise = Callable[[int], Tensor]
"""Standard normal noise in the shape of ``x`` for the step of this number, counted from 1."""


@dataclass(frozen=True)
class Memory:
    """What a multi-step method remembers: the last drive ``D - L x`` and its noise level."""

    drive: Tensor
    sigma: float


@dataclass(frozen=True)
class Step:
    """One transition.

    Attributes:
        number: Counted from 1, the key of this step's noise.
        sigma: Noise level of the state.
        following: Noise level to reach; zero at the end.
    """

    number: int
    sigma: float
    following: float


class Sampler(ABC):
    """A way to go from noise to data; subclasses say how to take one step."""

    def sample(
        self, denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, variance: Tensor, noise: Noise
    ) -> Tensor:
        """Go through all noise levels.

        Args:
            denoise: The denoiser; called in the dtype of ``x``.
            x: State at ``sigmas[0]``, best drawn with variance ``variance + sigmas[0]**2``; float64.
            sigmas: Noise levels, falling, the last one zero.
            variance: Of the prior law, broadcast against ``x``; positive.
            noise: Source of the noise of stochastic samplers.

        Returns:
            A draw, in the shape of ``x``.
        """
        memory = None
        for number, (sigma, following) in enumerate(pairwise(sigmas), start=1):
            x, memory = self.step(
                denoise, x, Step(number, sigma, following), variance=variance, noise=noise, memory=memory
            )
        return x

    @abstractmethod
    def step(
        self, denoise: Denoiser, x: Tensor, step: Step, *, variance: Tensor, noise: Noise, memory: Memory | None
    ) -> tuple[Tensor, Memory | None]:
        """Take one step; the memory goes to the next."""


class DPMSolver(Sampler):
    """Deterministic, two-step, one call of the network per step: the cheapest at a given error."""

    def step(
        self, denoise: Denoiser, x: Tensor, step: Step, *, variance: Tensor, noise: Noise, memory: Memory | None
    ) -> tuple[Tensor, Memory | None]:
        """Extrapolate the drive linearly in the angle, from this level and the last."""
        drive = _drive(denoise, x, step.sigma, variance)
        slope = None
        if memory is not None and step.following > 0.0:
            slope = _scaled(drive, step.sigma, variance) - _scaled(memory.drive, memory.sigma, variance)
            ratio = _turn(step.sigma, step.following, variance) / _turn(memory.sigma, step.sigma, variance)
            slope = 0.5 * ratio * slope
        return _advance(x, drive, step, variance, slope), Memory(drive, step.sigma)


class Heun(Sampler):
    """Deterministic, two calls of the network per step but one in the last: the most robust of second order."""

    def step(
        self, denoise: Denoiser, x: Tensor, step: Step, *, variance: Tensor, noise: Noise, memory: Memory | None
    ) -> tuple[Tensor, Memory | None]:
        """Take Euler's step in the angle and correct it with the drive found there."""
        drive = _drive(denoise, x, step.sigma, variance)
        predicted = _advance(x, drive, step, variance, None)
        if step.following == 0.0:
            return predicted, None
        there = _drive(denoise, predicted, step.following, variance)
        slope = 0.5 * (_scaled(there, step.following, variance) - _scaled(drive, step.sigma, variance))
        return _advance(x, drive, step, variance, slope), None


class Ancestral(Sampler):
    """Stochastic: each step draws from a Gaussian with the exact mean and the law's posterior variance.

    The noise forgets earlier errors, which makes it the most forgiving of an imperfect network.
    """

    def step(
        self, denoise: Denoiser, x: Tensor, step: Step, *, variance: Tensor, noise: Noise, memory: Memory | None
    ) -> tuple[Tensor, Memory | None]:
        """Draw the state at the next level given this one."""
        share = (step.following / step.sigma) ** 2
        mean = share * x + (1.0 - share) * denoise(x, step.sigma)
        left = variance + step.following**2
        spread = (left * (1.0 - left / (variance + step.sigma**2))).clamp(min=0.0).sqrt()
        return mean + spread * noise(step.number), None


SAMPLERS: dict[str, Sampler] = {"dpm": DPMSolver(), "heun": Heun(), "ancestral": Ancestral()}
"""By the name that configurations use."""


def noise_levels(steps: int, *, largest: float, smallest: float) -> list[float]:
    """Noise levels in geometric progression, then zero: ``steps`` transitions."""
    if steps < 2:
        raise ValueError(f"steps is {steps}: a sampler needs at least 2")
    ratio = (smallest / largest) ** (1.0 / (steps - 1))
    return [largest * ratio**number for number in range(steps)] + [0.0]


def _drive(denoise: Denoiser, x: Tensor, sigma: float, variance: Tensor) -> Tensor:
    return denoise(x, sigma) - variance / (variance + sigma**2) * x


def _scaled(drive: Tensor, sigma: float, variance: Tensor) -> Tensor:
    return drive * (variance + sigma**2).sqrt() / (variance.sqrt() * sigma)


def _turn(sigma: float, following: float, variance: Tensor) -> Tensor:
    deviation = variance.sqrt()
    return torch.atan2(torch.full_like(deviation, sigma), deviation) - torch.atan2(
        torch.full_like(deviation, following), deviation
    )


def _advance(x: Tensor, drive: Tensor, step: Step, variance: Tensor, slope: Tensor | None) -> Tensor:
    now, then = (variance + step.sigma**2).sqrt(), (variance + step.following**2).sqrt()
    if step.following == 0.0:
        # The drive of elements that the law holds for nearly constant is no sine of the angle: take it as it is.
        return then / now * x + drive
    force = _scaled(drive, step.sigma, variance) if slope is None else _scaled(drive, step.sigma, variance) + slope
    return then * (x / now + _turn(step.sigma, step.following, variance) * force)
