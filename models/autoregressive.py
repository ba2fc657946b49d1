"""A network that draws the next state from the last ones, trained on the score of its ensembles.

Each step is ``expectation + correction + noise``: a linear expectation (:mod:`models.anchor`), a correction by the
network, which a random vector modulates through conditional normalisation, and a field of noise made of the
expectation's out-of-fold residual EOFs with trainable amplitudes, which the network scales by the state. Correction
and scaling start at zero: before its first step of training the model is the linear model with its residual law.
Roll-outs of one, two and four steps train it to live with its own states.

Each step is a Gaussian given the random vector, so the score of a step is taken in closed form over that Gaussian.

Source: Lang et al. (2024, AIFS-CRPS, arXiv:2412.15832) for training on the almost fair score; Alet et al. (2025, FGN,
arXiv:2506.10772) for noise through conditional normalisation.
"""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Generator, Tensor, nn

from models.anchor import Anchor, fit_anchor
from models.base import Context, Fitted, Grid, Progress, TrainingData, member_noise
from models.conditions import check_context, forcing_range, held, named, under
from models.config import AutoregressiveConfig
from models.law import leading_patterns
from models.losses import almost_fair_crps, area_mean
from models.networks import Backbone
from models.spinup import SPIN_UP, set_going
from models.training import generator, train_on_windows
from models.windows import Windows, training_windows, validation_windows

NOISE_VECTOR = 32
"""Length of the random vector that modulates the network."""
ROLL_OUTS = ((0.5, 1), (0.75, 2), (1.0, 4))
"""Until which share of the training how many steps are rolled out."""
VALIDATION_WINDOWS = 48
"""Validation windows that are scored at each look, at most, evenly spaced."""
VALIDATION_MEMBERS = 2
FEW_WINDOWS = 30
"""So many validation windows count half when they correct the spread."""


class Transition(nn.Module):
    """One step in time, as a function of the states, the season, the forcing and noise."""

    patterns: Tensor
    gain: Tensor
    mask: Tensor

    def __init__(
        self, config: AutoregressiveConfig, *, grid: Grid, forcings: int, patterns: Tensor, gain: Tensor, seed: int
    ) -> None:
        """Build the network around a law of noise.

        Args:
            config: Size, history and dropout.
            grid: The cells.
            forcings: Number of covariates.
            patterns: EOFs of the noise, each of the length of its deviation, ``(modes, cells)``.
            gain: Factor in each cell that makes up for the EOFs left out, ``(cells,)``.
            seed: Of the initial weights.
        """
        super().__init__()
        channels = len(grid.mask)
        self.history = config.history
        self.register_buffer("patterns", patterns)
        self.register_buffer("gain", gain)
        self.register_buffer("mask", grid.mask.float(), persistent=False)
        self.log_amplitudes = nn.Parameter(torch.zeros(len(patterns)))
        self.backbone = Backbone(
            inputs=channels * (config.history + 1),
            outputs=2 * channels,
            conditions=2 + forcings + NOISE_VECTOR,
            grid=grid,
            size=config.size,
            dropout=config.dropout,
            generator=generator(seed, 0),
        )

    @property
    def noise_size(self) -> int:
        """Random numbers that one step takes."""
        return NOISE_VECTOR + len(self.log_amplitudes)

    def forward(self, history: Tensor, expected: Tensor, conditions: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """The next state and the Gaussian that it was drawn from, given the random vector.

        Args:
            history: ``(batch, history, channels, latitude, longitude)``.
            expected: The linear expectation, ``(batch, channels, latitude, longitude)``.
            conditions: Season and forcing at the next step, ``(batch, 2 + forcings)``.
            noise: ``(batch, noise_size)``.

        Returns:
            State, mean and deviation, each ``(batch, channels, latitude, longitude)``.
        """
        vector, weights = noise[:, :NOISE_VECTOR], noise[:, NOISE_VECTOR:]
        fields = torch.cat([history.flatten(1, 2), expected], dim=1)
        output = self.backbone(fields, torch.cat([conditions, vector], dim=1), torch.zeros(len(fields)))
        shift, log_scale = output.chunk(2, dim=1)
        scale = log_scale.clamp(-1.5, 1.5).exp() * self.mask
        patterns = self.log_amplitudes.exp()[:, None] * self.patterns * self.gain
        field = (weights @ patterns).reshape(expected.shape)
        deviation = patterns.square().sum(dim=0).clamp(min=1e-12).sqrt().reshape(self.mask.shape)
        mean = (expected + shift) * self.mask
        return mean + scale * field, mean, scale * deviation


class Model:
    """A trained transition with its expectation, ready to roll out."""

    def __init__(self, transition: Transition, anchor: Anchor, limits: Tensor, grid: Grid) -> None:
        """Put the parts together; :func:`fit` and :meth:`restore` do."""
        self.transition = transition
        self.anchor = anchor
        self.limits = limits
        self.grid = grid
        self.history = transition.history

    @torch.no_grad()
    def sample(self, context: Context, *, leads: int, members: Sequence[int], seed: int) -> Tensor:
        """Draw one trajectory per member; see :class:`models.base.ScenarioModel`. One call of the network per lead."""
        if not len(context.history):
            earlier = set_going(context, history=self.history)
            return self.sample(earlier, leads=SPIN_UP + leads, members=members, seed=seed)[:, SPIN_UP:]
        check_context(context, history=self.history, leads=leads, grid=self.grid, forcings=self.limits.shape[1])
        states = self.grid.masked(context.history[-self.history :].float()).expand(len(members), -1, -1, -1, -1)
        conditions = torch.cat([context.calendar, held(context.forcing, self.limits)], dim=1)[-leads:].float()
        drawn = []
        for lead in range(leads):
            noise = member_noise(seed, context.init_time, members, lead, (self.transition.noise_size,))
            state = self._next(states, conditions[lead].expand(len(members), -1), noise)
            states = torch.cat([states[:, 1:], state[:, None]], dim=1)
            drawn.append(state)
        return torch.stack(drawn, dim=1)

    def _next(self, states: Tensor, conditions: Tensor, noise: Tensor) -> Tensor:
        expected = self.anchor.predict(states, conditions[:, None, :2])[:, 0]
        state: Tensor = self.transition(states, expected, conditions, noise)[0]
        return state

    def arrays(self) -> dict[str, Tensor]:
        """Everything learnt, by name."""
        network = {name: value.detach().contiguous() for name, value in self.transition.state_dict().items()}
        return named(network, "network") | named(self.anchor.arrays(), "anchor") | {"forcing_range": self.limits}

    @classmethod
    def restore(cls, config: AutoregressiveConfig, arrays: Mapping[str, Tensor], *, grid: Grid) -> Self:
        """The model that ``arrays()`` came from, to the last bit."""
        network = under(arrays, "network")
        transition = Transition(
            config,
            grid=grid,
            forcings=arrays["forcing_range"].shape[1],
            patterns=network["patterns"],
            gain=network["gain"],
            seed=0,
        )
        transition.load_state_dict(network)
        return cls(transition.eval(), Anchor.restore(under(arrays, "anchor"), grid=grid), arrays["forcing_range"], grid)


def fit(
    config: AutoregressiveConfig,
    data: TrainingData,
    *,
    seed: int,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Fitted:
    """Fit the expectation, then train the network on the almost fair CRPS of pairs of roll-outs."""
    began = time.monotonic()
    longest = ROLL_OUTS[-1][1]
    windows = training_windows(data, history=config.history, leads=longest)
    looks = validation_windows(data, history=config.history, leads=longest)
    single = training_windows(data, history=config.history, leads=1)
    anchor, chosen = fit_anchor(single, data.grid, kind=config.base, modes=config.modes, folds=config.folds)
    fold = single.folds(config.folds)[torch.searchsorted(single.starts, windows.starts)]
    patterns, gain = _noise_law(single, anchor, config)
    limits = forcing_range(data)
    transition = Transition(config, grid=data.grid, forcings=limits.shape[1], patterns=patterns, gain=gain, seed=seed)
    task = _Task(transition, anchor, fold, limits, data.grid, config)
    outcome, notes = train_on_windows(
        transition, task, windows, looks, config=config, seed=seed, progress=progress, checkpoint=checkpoint
    )
    factor = config.spread_factor or (task.spread_factor(looks, seed) if len(looks) else 1.0)
    with torch.no_grad():
        transition.log_amplitudes.add_(math.log(factor))
    notes |= {"base": chosen, "noise_modes": len(patterns), "network_calls_per_lead": 1, "spread_factor": factor}
    notes["seconds"] = round(time.monotonic() - began, 1)
    return Fitted(Model(transition, anchor.final(), limits, data.grid), outcome.curve, notes)


class _Task:
    """The score of roll-outs from windows of the record."""

    def __init__(
        self,
        transition: Transition,
        anchor: Anchor,
        folds: Tensor,
        limits: Tensor,
        grid: Grid,
        config: AutoregressiveConfig,
    ) -> None:
        self.transition = transition
        self.anchor = anchor
        self.folds = folds
        self.limits = limits
        self.grid = grid
        self.config = config

    def loss(self, windows: Windows, rows: Tensor, noise: Generator, *, share: float) -> Tensor:
        """Score of pairs of roll-outs, longer and longer ones."""
        leads = next(leads for until, leads in ROLL_OUTS if share < until)
        return self.score(windows, rows, self.folds[rows], noise, leads=leads, members=2)

    def score(
        self, windows: Windows, rows: Tensor, fold: Tensor, noise: Generator, *, leads: int, members: int
    ) -> Tensor:
        """Mean score over the leads of one batch of windows."""
        mean, deviation, target = self._roll_out(windows, rows, fold, noise, leads=leads, members=members)
        return almost_fair_crps(mean, target, self.grid, alpha=self.config.alpha, deviations=deviation)

    def _roll_out(
        self, windows: Windows, rows: Tensor, fold: Tensor, noise: Generator, *, leads: int, members: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Means and deviations ``(members, batch, leads, ...)`` of the steps of roll-outs, and the truth."""
        batch = windows.take(rows)
        conditions = torch.cat([batch.calendar, held(batch.forcing, self.limits)], dim=2).repeat(members, 1, 1)
        states, fold = batch.history.repeat(members, 1, 1, 1, 1), fold.repeat(members)
        means, deviations = [], []
        for lead in range(leads):
            random = torch.randn(len(states), self.transition.noise_size, generator=noise)
            expected = self.anchor.predict(states, conditions[:, lead : lead + 1, :2], fold)[:, 0]
            state, mean, deviation = self.transition(states, expected, conditions[:, lead], random)
            states = torch.cat([states[:, 1:], state[:, None]], dim=1)
            means.append(mean)
            deviations.append(deviation)
        mean, deviation = (torch.stack(part, dim=1).unflatten(0, (members, -1)) for part in (means, deviations))
        return mean, deviation, batch.target[:, :leads]

    def look(self, windows: Windows, seed: int) -> float:
        """Score of the validation windows with noise that is always the same."""
        rows = torch.linspace(0, len(windows) - 1, min(VALIDATION_WINDOWS, len(windows))).long()
        total = 0.0
        for number, part in enumerate(rows.split(32)):
            noise = generator(seed, 3, number)
            fold = torch.full((len(part),), -1)
            score = self.score(windows, part, fold, noise, leads=windows.leads, members=VALIDATION_MEMBERS)
            total += float(score) * len(part) / len(rows)
        return total

    @torch.no_grad()
    def spread_factor(self, windows: Windows, seed: int) -> float:
        """What makes one step's spread its error on these windows; nearer to one if they are few."""
        error = variance = 0.0
        for number, rows in enumerate(torch.arange(len(windows)).split(64)):
            noise, fold = generator(seed, 4, number), torch.full((len(rows),), -1)
            mean, deviation, truth = self._roll_out(windows, rows, fold, noise, leads=1, members=4)
            within = torch.square(deviation).mean(dim=0)
            between = mean.var(dim=0)
            # The mean of four draws of the random vector errs by a quarter of their variance.
            error += len(rows) * float(area_mean(torch.square(truth - mean.mean(dim=0)) - between / 4.0, self.grid))
            variance += len(rows) * float(area_mean(within + between, self.grid))
        return float((max(error, 1e-12) / max(variance, 1e-12)) ** (0.5 * len(windows) / (len(windows) + FEW_WINDOWS)))


def _noise_law(windows: Windows, anchor: Anchor, config: AutoregressiveConfig) -> tuple[Tensor, Tensor]:
    """EOFs of the out-of-fold residuals, as long as their deviations, and what restores the variance of each cell."""
    residuals = []
    for rows in torch.arange(len(windows)).split(256):
        batch = windows.take(rows)
        expected = anchor.predict(batch.history, batch.calendar, windows.folds(config.folds)[rows])
        residuals.append((batch.target - expected)[:, 0].flatten(1))
    residual = torch.cat(residuals)
    patterns = leading_patterns(residual, min(config.noise_modes, len(residual) // 2))
    patterns = (residual @ patterns.T).square().mean(dim=0).sqrt()[:, None] * patterns
    explained = patterns.square().sum(dim=0)
    gain = (residual.square().mean(dim=0) / explained.clamp(min=1e-8)).sqrt().clamp(max=3.0)
    return patterns, torch.where(explained > 0, gain, 0.0)
