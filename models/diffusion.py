"""Conditional diffusion of whole windows: several steps drawn together, longer horizons by chaining windows.

The window is diffused as what remains of it beyond a linear expectation (:mod:`models.anchor`). The denoiser is EDM's
preconditioning with one change: the skip connection is not a scalar but the optimal denoiser of the remainder's
Gaussian law (:mod:`models.law`), so that the network, which starts at zero, learns only what is not linear and
Gaussian, and the samplers integrate the rest exactly. States, season and forcing are dropped at random in training: one
model serves a forecast from a state, a projection under a forcing alone, and a start from nothing, each with its law.

Source: Karras et al. (2022, arXiv:2206.00364) for the preconditioning; Ho and Salimans (2022, arXiv:2207.12598) for
dropped conditions and guidance.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Generator, Tensor, nn

from models.anchor import Anchor, fit_anchor
from models.base import Context, Fitted, Grid, Progress, TrainingData, member_noise
from models.conditions import check_context, forcing_range, held, named, under
from models.config import DiffusionConfig
from models.law import Law, fit_law
from models.losses import denoising_loss
from models.networks import Backbone
from models.samplers import SAMPLERS, noise_levels
from models.training import generator, train_on_windows
from models.windows import Batch, Windows, training_windows, validation_windows

Condition = Literal["state", "calendar", "forcing"]
CONDITIONS: tuple[Condition, ...] = ("state", "calendar", "forcing")
VALIDATION_WINDOWS = 64
"""Validation windows that are scored at each look, at most, evenly spaced."""
VALIDATION_LEVELS = 8
"""Noise levels that each of them is scored at."""
LEVEL_SKEW = 1.5
"""Exponent that draws a uniform place between the largest (0) and the smallest level (1) towards the largest."""
LEAST_LEAD_WEIGHT = 0.1
"""Weight of a lead that the expectation says nothing about, against one that it knows."""


@dataclass(frozen=True)
class Situation:
    """What a window is conditioned on.

    Attributes:
        history: Past states, zeros where dropped, ``(batch, history, channels, latitude, longitude)``.
        expected: The linear expectation, zeros where the state is dropped, ``(batch, leads, channels, ...)``.
        vector: Season and forcing at both ends of the window, and which conditions are kept, ``(batch, ...)``.
        has_state: Which rows know the state, bool, ``(batch,)``.
    """

    history: Tensor
    expected: Tensor
    vector: Tensor
    has_state: Tensor


class Denoiser(nn.Module):
    """Expectation of a clean remainder given a noisy one: the law's, corrected by the network."""

    mask: Tensor

    def __init__(
        self, config: DiffusionConfig, *, grid: Grid, forcings: int, known: Law, unknown: Law, seed: int
    ) -> None:
        """Build the network around the laws of the remainder with and without knowledge of the state."""
        super().__init__()
        channels = len(grid.mask)
        self.shape = torch.Size((config.window, *grid.mask.shape))
        self.known = known
        self.unknown = unknown
        self.register_buffer("mask", grid.mask.float(), persistent=False)
        self.backbone = Backbone(
            inputs=channels * (3 * config.window + config.history),
            outputs=channels * config.window,
            conditions=2 * (2 + forcings) + len(CONDITIONS),
            grid=grid,
            size=config.size,
            dropout=config.dropout,
            generator=generator(seed, 0),
        )

    def precondition(self, noisy: Tensor, sigma: Tensor, has_state: Tensor) -> tuple[Tensor, Tensor]:
        """The law's own expectation of the clean remainder, and the deviation of what it leaves, ``(batch, leads)``."""
        linear, deviation = torch.empty_like(noisy), torch.empty(noisy.shape[:2])
        for law, rows in ((self.known, has_state), (self.unknown, ~has_state)):
            if rows.any():
                variance, noise = law.elements(), sigma[rows, None] ** 2
                linear[rows] = law.synthesise(law.analyse(noisy[rows]) * (variance / (variance + noise)), self.shape)
                deviation[rows] = law.per_lead(variance * noise / (variance + noise)).sqrt()
        return linear * self.mask, deviation

    def forward(self, noisy: Tensor, sigma: Tensor, situation: Situation) -> tuple[Tensor, Tensor, Tensor]:
        """The network's output, the law's expectation and the deviation that scales the output.

        Args:
            noisy: Remainder plus noise, ``(batch, leads, channels, latitude, longitude)``.
            sigma: Deviation of the noise, ``(batch,)``.
            situation: The conditions.

        Returns:
            Output of unit scale in the shape of ``noisy``, law's expectation likewise, deviation ``(batch, leads)``.
        """
        linear, deviation = self.precondition(noisy, sigma, situation.has_state)
        scaled = noisy / (1.0 + sigma**2).sqrt()[:, None, None, None, None]
        fields = torch.cat([scaled, linear, situation.expected, situation.history], dim=1).flatten(1, 2)
        output = self.backbone(fields, situation.vector, sigma.log() / 4.0).reshape(noisy.shape)
        return output * self.mask, linear, deviation

    def denoise(self, noisy: Tensor, sigma: float, situation: Situation) -> Tensor:
        """Expectation of the clean remainder, in the shape of ``noisy``."""
        output, linear, deviation = self(noisy, torch.full((len(noisy),), sigma), situation)
        return linear + deviation[..., None, None, None] * output


class Model:
    """A trained denoiser with its expectation and its sampler."""

    def __init__(
        self, config: DiffusionConfig, denoiser: Denoiser, anchor: Anchor, limits: Tensor, levels: Tensor, grid: Grid
    ) -> None:
        """Put the parts together; :func:`fit` and :meth:`restore` do.

        Args:
            config: Window, sampler and steps.
            denoiser: The network and the laws.
            anchor: The linear expectation.
            limits: Range of each forcing in training, ``(2, forcings)``.
            levels: Largest and smallest noise level, ``(2,)``.
            grid: The cells.
        """
        self.config = config
        self.denoiser = denoiser
        self.anchor = anchor
        self.limits = limits
        self.levels = levels
        self.grid = grid
        self.history = config.history

    @torch.no_grad()
    def sample(
        self,
        context: Context,
        *,
        leads: int,
        members: Sequence[int],
        seed: int,
        drop: Collection[Condition] = (),
        guidance: float | None = None,
    ) -> Tensor:
        """Draw one trajectory per member; see :class:`models.base.ScenarioModel`.

        What a window takes in calls of the network says :func:`calls_per_window`. When the state is dropped, only the
        first window is drawn without one.

        Args:
            context: The situation; its history is ignored where the state is dropped, and may be empty.
            leads: Steps to draw; a last window that reaches further is cut.
            members: Member numbers.
            seed: Seed of the noise.
            drop: Conditions to do without.
            guidance: Strength of the conditions: 1 is the conditional law, 0 the one without conditions; the
                configuration's by default.

        Raises:
            ValueError: A context the model was not made for, or an unknown condition.
        """
        unknown = sorted(set(drop) - set(CONDITIONS))
        if unknown:
            raise ValueError(f"drop names {unknown}; conditions are {list(CONDITIONS)}")
        check_context(context, history=self.history, leads=leads, grid=self.grid, forcings=self.limits.shape[1])
        strength = self.config.guidance if guidance is None else guidance
        dropped = set(drop) if len(context.history) else {*drop, "state"}
        states = self._newest(context).expand(len(members), -1, -1, -1, -1)
        drawn: list[Tensor] = []
        for window in range(-(-leads // self.config.window)):
            keep = _keep(len(members), dropped if window == 0 else dropped - {"state"})
            calendar, forcing = self._ahead(context, leads, window)
            batch = Batch(states, states, calendar.expand(len(members), -1, -1), forcing.expand(len(members), -1, -1))
            step = window * (len(self._noise_levels()) + 1)
            drawn.append(self._draw(batch, keep, members, (seed, context.init_time, step), strength))
            states = torch.cat([states, drawn[-1]], dim=1)[:, -self.history :]
        return torch.cat(drawn, dim=1)[:, :leads]

    def _newest(self, context: Context) -> Tensor:
        """The states that the network sees, zeros where there are none."""
        if len(context.history):
            return self.grid.masked(context.history[-self.history :].float())
        return torch.zeros(self.history, *self.grid.mask.shape)

    def _ahead(self, context: Context, leads: int, window: int) -> tuple[Tensor, Tensor]:
        """Season and forcing at the leads of a window; beyond the last lead they stay as they are."""
        steps = (window * self.config.window + torch.arange(self.config.window)).clamp(max=leads - 1) - leads
        return context.calendar[steps].float(), context.forcing[steps].float()

    def _noise_levels(self) -> list[float]:
        return noise_levels(self.config.sampler_steps, largest=float(self.levels[0]), smallest=float(self.levels[1]))

    def _draw(
        self, batch: Batch, keep: Tensor, members: Sequence[int], key: tuple[int, int, int], guidance: float
    ) -> Tensor:
        denoiser, sigmas = self.denoiser, self._noise_levels()
        situation = situate(batch, self.anchor, self.limits, keep)
        law = denoiser.known if bool(keep[0, 0]) else denoiser.unknown
        variance = law.elements().double()
        seed, init_time, first = key

        def noise(step: int) -> Tensor:
            drawn = member_noise(seed, init_time, members, first + step, denoiser.shape)
            return law.analyse((drawn * denoiser.mask).double())

        def denoise(x: Tensor, sigma: float) -> Tensor:
            noisy = law.synthesise(x, denoiser.shape).float()
            clean = denoiser.denoise(noisy, sigma, situation)
            if guidance != 1.0:
                free = self._without_conditions(noisy, sigma, situation, batch)
                clean = free + guidance * (clean - free)
            return law.analyse(clean.double())

        start = (variance + sigmas[0] ** 2).sqrt() * noise(0)
        x = SAMPLERS[self.config.sampler].sample(denoise, start, sigmas, variance=variance, noise=noise)
        return (situation.expected + law.synthesise(x, denoiser.shape).float()) * denoiser.mask

    def _without_conditions(self, noisy: Tensor, sigma: float, situation: Situation, batch: Batch) -> Tensor:
        """The unconditional denoiser, as a remainder beyond this situation's expectation."""
        nothing = situate(batch, self.anchor, self.limits, _keep(len(noisy), set(CONDITIONS)))
        return self.denoiser.denoise(noisy + situation.expected, sigma, nothing) - situation.expected

    def arrays(self) -> dict[str, Tensor]:
        """Everything learnt, by name; the range of noise levels lies with the weights."""
        network = {name: value.detach().contiguous() for name, value in self.denoiser.state_dict().items()}
        parts = {"network": network, "anchor": self.anchor.arrays()}
        parts |= {"known": self.denoiser.known.arrays(), "unknown": self.denoiser.unknown.arrays()}
        joined = {name: value for prefix, part in parts.items() for name, value in named(part, prefix).items()}
        return joined | {"forcing_range": self.limits, "noise_levels": self.levels}

    @classmethod
    def restore(cls, config: DiffusionConfig, arrays: Mapping[str, Tensor], *, grid: Grid) -> Self:
        """The model that ``arrays()`` came from, to the last bit."""
        limits = arrays["forcing_range"]
        known, unknown = (Law.restore(under(arrays, name)) for name in ("known", "unknown"))
        denoiser = Denoiser(config, grid=grid, forcings=limits.shape[1], known=known, unknown=unknown, seed=0)
        denoiser.load_state_dict(under(arrays, "network"))
        anchor = Anchor.restore(under(arrays, "anchor"), grid=grid)
        return cls(config, denoiser.eval(), anchor, limits, arrays["noise_levels"], grid)


def situate(batch: Batch, anchor: Anchor, limits: Tensor, keep: Tensor, fold: Tensor | None = None) -> Situation:
    """Conditions of a batch, without those dropped.

    Args:
        batch: History, season and forcing; its target is not looked at.
        anchor: The linear expectation.
        limits: Range of each forcing in training.
        keep: Which of :data:`CONDITIONS` each row keeps, ``(batch, 3)``, ones and zeros.
        fold: Which fit of the expectation to use for each row.
    """
    state, calendar, forcing = (keep[:, column, None] for column in range(3))
    fields = state[..., None, None, None]
    ends = [calendar * batch.calendar[:, 0], calendar * batch.calendar[:, -1]]
    scaled = held(batch.forcing, limits)
    ends += [forcing * scaled[:, 0], forcing * scaled[:, -1]]
    expected = fields * anchor.predict(batch.history, calendar[..., None] * batch.calendar, fold)
    return Situation(fields * batch.history, expected, torch.cat([*ends, keep], dim=1), keep[:, 0] > 0.0)


def fit(
    config: DiffusionConfig,
    data: TrainingData,
    *,
    seed: int,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Fitted:
    """Fit the expectation and the laws of what remains, then train the network to denoise."""
    began = time.monotonic()
    windows = training_windows(data, history=config.history, leads=config.window)
    looks = validation_windows(data, history=config.history, leads=config.window)
    anchor, chosen = fit_anchor(windows, data.grid, kind=config.base, modes=config.modes, folds=config.folds)
    limits = forcing_range(data)
    known, unknown = _fit_laws(windows, anchor, config)
    denoiser = Denoiser(config, grid=data.grid, forcings=limits.shape[1], known=known, unknown=unknown, seed=seed)
    levels = _levels(known, unknown, config)
    task = _Task(denoiser, anchor, limits, levels, data.grid, config)
    outcome, notes = train_on_windows(
        denoiser, task, windows, looks, config=config, seed=seed, progress=progress, checkpoint=checkpoint
    )
    notes |= {
        "base": chosen,
        "modes": len(known.patterns),
        "noise_levels": [float(level) for level in levels],
        "network_calls_per_window": calls_per_window(config),
    }
    notes["seconds"] = round(time.monotonic() - began, 1)
    return Fitted(Model(config, denoiser, anchor.final(), limits, levels, data.grid), outcome.curve, notes)


def calls_per_window(config: DiffusionConfig) -> int:
    """Calls of the network in a window: Heun's method looks twice in all steps but the last, guidance always."""
    steps = 2 * config.sampler_steps - 1 if config.sampler == "heun" else config.sampler_steps
    return steps if config.guidance == 1.0 else 2 * steps


class _Task:
    """The denoising loss of windows of the record."""

    def __init__(
        self, denoiser: Denoiser, anchor: Anchor, limits: Tensor, levels: Tensor, grid: Grid, config: DiffusionConfig
    ) -> None:
        self.denoiser = denoiser
        self.anchor = anchor
        self.limits = limits
        self.log_levels = levels.log()
        self.weights = _lead_weights(denoiser)
        self.grid = grid
        self.config = config

    def loss(self, windows: Windows, rows: Tensor, noise: Generator, *, share: float) -> Tensor:
        """Loss of one batch, at noise levels spread over their logarithm, more of them large."""
        fold = windows.folds(self.config.folds)[rows]
        keep = (torch.rand(len(rows), len(CONDITIONS), generator=noise) >= self.config.condition_dropout).float()
        place = (torch.arange(len(rows)) + torch.rand(len(rows), generator=noise)) / len(rows)
        return self._at(windows, rows, fold, keep, place**LEVEL_SKEW, noise)

    def look(self, windows: Windows, seed: int) -> float:
        """Loss of the validation windows at fixed levels with noise that is always the same."""
        rows = torch.linspace(0, len(windows) - 1, min(VALIDATION_WINDOWS, len(windows))).long()
        total = 0.0
        for level in range(VALIDATION_LEVELS):
            place = torch.full((len(rows),), (level + 0.5) / VALIDATION_LEVELS)
            keep, fold = torch.ones(len(rows), len(CONDITIONS)), torch.full((len(rows),), -1)
            total += float(self._at(windows, rows, fold, keep, place, generator(seed, 3, level)))
        return total / VALIDATION_LEVELS

    def _at(
        self, windows: Windows, rows: Tensor, fold: Tensor, keep: Tensor, place: Tensor, noise: Generator
    ) -> Tensor:
        batch = windows.take(rows)
        situation = situate(batch, self.anchor, self.limits, keep, fold)
        remainder = batch.target - situation.expected
        sigma = torch.lerp(self.log_levels[0], self.log_levels[1], place).exp()
        spread = sigma[:, None, None, None, None] * self.denoiser.mask
        noisy = remainder + spread * torch.randn(remainder.shape, generator=noise)
        output, linear, deviation = self.denoiser(noisy, sigma, situation)
        target = (remainder - linear) / deviation[..., None, None, None]
        return denoising_loss(output, target, self.grid, weights=self.weights)


def _lead_weights(denoiser: Denoiser) -> Tensor:
    """Weight of each lead in the loss, mean one: the share that the expectation explains, and a floor.

    Where nothing is known a lead's loss is noise, which would drown what can be learnt about the others.
    """
    left, all_of_it = (law.per_lead(law.elements()[None])[0] for law in (denoiser.known, denoiser.unknown))
    weights = (1.0 - left / all_of_it).clamp(min=LEAST_LEAD_WEIGHT)
    return weights / weights.mean()


def _keep(rows: int, drop: Collection[str]) -> Tensor:
    return torch.tensor([float(condition not in drop) for condition in CONDITIONS]).expand(rows, -1)


def _fit_laws(windows: Windows, anchor: Anchor, config: DiffusionConfig) -> tuple[Law, Law]:
    """Laws of what remains beyond the expectation, out of fold, and of the states themselves."""
    remainders, states = [], []
    for rows in torch.arange(len(windows)).split(256):
        batch = windows.take(rows)
        states.append(batch.target.flatten(2))
        remainders.append(
            states[-1] - anchor.predict(batch.history, batch.calendar, windows.folds(config.folds)[rows]).flatten(2)
        )
    modes, fold = min(config.noise_modes, len(windows) // 4), windows.folds(config.folds)
    return fit_law(torch.cat(remainders), fold, modes), fit_law(torch.cat(states), fold, modes)


def _levels(known: Law, unknown: Law, config: DiffusionConfig) -> Tensor:
    """Largest and smallest noise level: beyond the strongest pattern, and well below a cell's own deviation."""
    strongest = float(torch.cat([known.elements(), unknown.elements()]).amax()) ** 0.5
    return torch.tensor([max(10.0, config.largest_noise * strongest), config.smallest_noise])
