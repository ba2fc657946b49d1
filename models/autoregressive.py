"""A network that draws the next state from the last ones, trained on the score of its ensembles.

Each step is ``expectation + correction + noise``: a linear expectation (:mod:`models.anchor`), a correction by the
network, which a random vector modulates through conditional normalisation, and a field of noise made of the
expectation's out-of-fold residual EOFs with trainable amplitudes, which the network scales by the state. Correction
and scaling start at zero: before its first step of training the model is the linear model with its residual law.
Roll-outs of one, two and four steps train it to live with its own states.

Source: Lang et al. (2024, AIFS-CRPS, arXiv:2412.15832) for training on the almost fair score; Alet et al. (2025, FGN,
arXiv:2506.10772) for noise through conditional normalisation.
"""

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
from models.losses import almost_fair_crps
from models.networks import SIZES, Backbone, parameter_count
from models.training import Schedule, generator, shuffled, train
from models.windows import Windows, training_windows, validation_windows

NOISE_VECTOR = 32
"""Length of the random vector that modulates the network."""
ROLL_OUTS = ((0.5, 1), (0.75, 2), (1.0, 4))
"""Until which share of the training how many steps are rolled out."""
VALIDATION_WINDOWS = 96
"""Validation windows that are scored at each look, at most, evenly spaced."""
VALIDATION_MEMBERS = 4


class Transition(nn.Module):
    """One step in time, as a function of the states, the season, the forcing and noise."""

    patterns: Tensor
    gain: Tensor
    mask: Tensor

    def __init__(
        self,
        config: AutoregressiveConfig,
        *,
        grid: Grid,
        forcings: int,
        patterns: Tensor,
        amplitudes: Tensor,
        gain: Tensor,
        seed: int,
    ) -> None:
        """Build the network around a law of noise.

        Args:
            config: Size, history and dropout.
            grid: The cells.
            forcings: Number of covariates.
            patterns: EOFs of the noise, ``(modes, cells)``.
            amplitudes: Their deviations, ``(modes,)``.
            gain: Factor in each cell that makes up for the EOFs left out, ``(cells,)``.
            seed: Of the initial weights.
        """
        super().__init__()
        channels = len(grid.mask)
        self.history = config.history
        self.register_buffer("patterns", patterns)
        self.register_buffer("gain", gain)
        self.register_buffer("mask", grid.mask.float(), persistent=False)
        self.log_amplitudes = nn.Parameter(amplitudes.clamp(min=1e-4).log())
        self.backbone = Backbone(
            inputs=channels * (config.history + 2),
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

    def forward(self, history: Tensor, expected: Tensor, conditions: Tensor, noise: Tensor) -> Tensor:
        """The next state, ``(batch, channels, latitude, longitude)``.

        Args:
            history: ``(batch, history, channels, latitude, longitude)``.
            expected: The linear expectation, ``(batch, channels, latitude, longitude)``.
            conditions: Season and forcing at the next step, ``(batch, 2 + forcings)``.
            noise: ``(batch, noise_size)``.
        """
        vector, weights = noise[:, :NOISE_VECTOR], noise[:, NOISE_VECTOR:]
        field = ((weights * self.log_amplitudes.exp()) @ self.patterns * self.gain).reshape(expected.shape)
        inputs = torch.cat([history.flatten(1, 2), expected, field], dim=1)
        output = self.backbone(inputs, torch.cat([conditions, vector], dim=1), torch.zeros(len(inputs)))
        shift, scale = output.chunk(2, dim=1)
        return (expected + shift + field * scale.clamp(-1.0, 1.0).exp()) * self.mask


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
        check_context(context, history=self.history, leads=leads, grid=self.grid, forcings=self.limits.shape[1])
        states = context.history[-self.history :].float().expand(len(members), -1, -1, -1, -1)
        conditions = torch.cat([context.calendar, held(context.forcing, self.limits)], dim=1)[-leads:].float()
        drawn = []
        for lead in range(leads):
            noise = member_noise(seed, context.init_time, members, lead, (self.transition.noise_size,))
            state = self._next(states, conditions[lead].expand(len(members), -1), noise)
            states = torch.cat([states[:, 1:], state[:, None]], dim=1)
            drawn.append(state)
        return torch.stack(drawn, dim=1)

    def _next(self, states: Tensor, conditions: Tensor, noise: Tensor) -> Tensor:
        state: Tensor = self.transition(states, self.anchor.predict(states)[:, 0], conditions, noise)
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
            amplitudes=network["log_amplitudes"].exp(),
            gain=network["gain"],
            seed=0,
        )
        transition.load_state_dict(network)
        return cls(transition.eval(), Anchor.restore(under(arrays, "anchor")), arrays["forcing_range"], grid)


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
    anchor, ridges = fit_anchor(single, data.grid, kind=config.base, modes=config.modes, folds=config.folds)
    patterns, amplitudes, gain = _noise_law(single, anchor, config)
    limits = forcing_range(data)
    transition = Transition(
        config, grid=data.grid, forcings=limits.shape[1], patterns=patterns, amplitudes=amplitudes, gain=gain, seed=seed
    )
    task = _Task(transition, anchor, limits, data.grid, config)
    steps = config.steps or SIZES[config.size].steps
    schedule = Schedule(
        steps=steps,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        ema=config.ema,
        patience=config.patience,
    )

    def loss(step: int, noise: Generator) -> Tensor:
        leads = next(leads for until, leads in ROLL_OUTS if step < until * steps)
        rows = shuffled(len(windows), config.batch, step, seed=seed)
        return task.score(windows, rows, windows.folds(config.folds)[rows], noise, leads=leads, members=2)

    outcome = train(
        transition,
        loss,
        (lambda: task.look(looks, seed)) if len(looks) else None,
        schedule=schedule,
        seed=seed,
        identity={
            "config": config.model_dump(mode="json"),
            "windows": len(windows),
            "values": float(windows.values.double().abs().sum()),
        },
        progress=progress,
        checkpoint=checkpoint,
    )
    notes = {
        "parameters": parameter_count(transition),
        "training_windows": len(windows),
        "validation_windows": len(looks),
        "best_step": outcome.best_step,
        "steps_taken": outcome.steps_taken,
        "ridge": ridges,
        "noise_modes": len(patterns),
        "network_calls_per_lead": 1,
        "seconds": round(time.monotonic() - began, 1),
    }
    return Fitted(Model(transition, anchor.final(), limits, data.grid), outcome.curve, notes)


class _Task:
    """The score of roll-outs from windows of the record."""

    def __init__(
        self, transition: Transition, anchor: Anchor, limits: Tensor, grid: Grid, config: AutoregressiveConfig
    ) -> None:
        self.transition = transition
        self.anchor = anchor
        self.limits = limits
        self.grid = grid
        self.config = config

    def score(
        self, windows: Windows, rows: Tensor, fold: Tensor, noise: Generator, *, leads: int, members: int
    ) -> Tensor:
        """Mean score over the leads of one batch of windows."""
        batch = windows.take(rows)
        conditions = torch.cat([batch.calendar, held(batch.forcing, self.limits)], dim=2).repeat(members, 1, 1)
        states, fold = batch.history.repeat(members, 1, 1, 1, 1), fold.repeat(members)
        drawn = []
        for lead in range(leads):
            random = torch.randn(len(states), self.transition.noise_size, generator=noise)
            state = self.transition(states, self.anchor.predict(states, fold)[:, 0], conditions[:, lead], random)
            states = torch.cat([states[:, 1:], state[:, None]], dim=1)
            drawn.append(state)
        ensemble = torch.stack(drawn, dim=1).unflatten(0, (members, len(rows)))
        return almost_fair_crps(ensemble, batch.target[:, :leads], self.grid, alpha=self.config.alpha)

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


def _noise_law(windows: Windows, anchor: Anchor, config: AutoregressiveConfig) -> tuple[Tensor, Tensor, Tensor]:
    """EOFs of the out-of-fold residuals, their deviations, and the factor that restores each cell's variance."""
    residuals = []
    for rows in torch.arange(len(windows)).split(256):
        batch = windows.take(rows)
        residuals.append(
            (batch.target - anchor.predict(batch.history, windows.folds(config.folds)[rows]))[:, 0].flatten(1)
        )
    residual = torch.cat(residuals)
    patterns = leading_patterns(residual, config.noise_modes)
    amplitudes = (residual @ patterns.T).square().mean(dim=0).sqrt()
    explained = (amplitudes[:, None] * patterns).square().sum(dim=0)
    gain = (residual.square().mean(dim=0) / explained.clamp(min=1e-8)).sqrt().clamp(max=3.0)
    return patterns, amplitudes, torch.where(explained > 0, gain, 0.0)
