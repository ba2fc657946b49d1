"""The training loop that all networks share: AdamW, warm-up and cosine, clipping, moving average, early stopping.

Nothing is drawn from a global generator: the noise of step ``n`` comes from ``(seed, n)``, so that a killed run that
goes on from its checkpoint ends with the same bytes as one that was not. Budgets are counted in steps, never in
seconds. Ranks (:mod:`models.distributed`) take shares of each batch, with noise of their own; the first one looks at
the validation loss and writes the checkpoint that all of them go on from.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Generator, Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from models.base import Progress
from models.config import NetworkConfig
from models.distributed import as_first, average_gradients, here, mean
from models.networks import SIZES, Backbone, parameter_count
from models.windows import Windows

Loss = Callable[[int, Generator], Tensor]
"""Loss of the batch of this step, a scalar with a gradient; all its randomness from the generator."""
Validate = Callable[[], float]
"""Loss on the validation windows, with noise that is the same at each call."""


@dataclass(frozen=True)
class Schedule:
    """How long and how boldly to train.

    Attributes:
        steps: Batches.
        learning_rate: At its highest, after the warm-up.
        weight_decay: Of AdamW, on matrices and kernels; vectors are left alone.
        clip: Largest norm of the gradient.
        ema: Decay of the moving average of the weights, per step.
        evaluate_every: Steps between two looks at the validation loss, and between checkpoints.
        patience: Looks without improvement before stopping; None to go on to the end.
    """

    steps: int
    learning_rate: float
    weight_decay: float
    clip: float = 1.0
    ema: float = 0.995
    evaluate_every: int = 50
    patience: int | None = None

    @classmethod
    def of(cls, config: NetworkConfig, *, default: int) -> Self:
        """The schedule that a configuration asks for; ``default`` steps where it names none."""
        steps = config.steps or default
        return cls(
            steps=steps,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            ema=config.ema,
            evaluate_every=max(10, min(50, steps // 6)),
            patience=config.patience,
        )


@dataclass(frozen=True)
class Outcome:
    """What a training left: rows of the loss curve, and the step whose averaged weights the network now holds."""

    curve: list[dict[str, float]]
    best_step: int
    steps_taken: int


class Task(Protocol):
    """What a family asks of its network."""

    def loss(self, windows: Windows, rows: Tensor, noise: Generator, *, share: float) -> Tensor:
        """Loss of some windows, with a gradient, when this share of the training is over."""

    def look(self, windows: Windows, seed: int) -> float:
        """Loss of the validation windows, with noise that is the same at each call."""


def generator(seed: int, *key: int) -> Generator:
    """A generator of its own for each key, drawn through numpy's seed sequences."""
    state = np.random.SeedSequence(seed, spawn_key=key).generate_state(2, np.uint32)
    return Generator().manual_seed(int(state[0]) << 31 ^ int(state[1]))


def shuffled(count: int, batch: int, step: int, *, seed: int) -> Tensor:
    """Rows of the batch of this step: every epoch is a permutation of all rows, keyed by its number."""
    batch = min(batch, count)
    per_epoch = count // batch
    epoch, place = divmod(step, per_epoch)
    return torch.randperm(count, generator=generator(seed, 1, epoch))[place * batch : (place + 1) * batch]


def train(
    network: nn.Module,
    loss: Loss,
    validate: Validate | None,
    *,
    schedule: Schedule,
    seed: int,
    identity: Mapping[str, Any],
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Outcome:
    """Train a network in place; it ends with the averaged weights of the best validation loss, ready to evaluate.

    Args:
        network: The module whose parameters are trained; each `Backbone` in it is given this step's generator.
        loss: Training loss.
        validate: Validation loss of the averaged weights; without it the last weights are kept.
        schedule: Steps and rates.
        seed: Of all noise in training.
        identity: What the training is of (configuration, data): a checkpoint of another one is refused.
        progress: Told of each evaluation.
        checkpoint: Folder for checkpoints.

    Raises:
        ValueError: The checkpoint belongs to another training.
        FloatingPointError: The loss is no longer finite.
    """
    state = _State.begin(network, schedule)
    store = None if checkpoint is None else _Store(checkpoint, identity={**identity, **asdict(schedule), "seed": seed})
    if store is not None:
        store.load(state)
    for step in range(state.step, schedule.steps):
        if _is_out_of_patience(state, schedule):
            break
        _take_step(state, loss, schedule, step, generator(seed, 2, step, *here().key))
        if (step + 1) % schedule.evaluate_every == 0 or step + 1 == schedule.steps:
            _evaluate(state, validate, progress, schedule)
            if store is not None and here().is_first:
                store.save(state)
    state.put(state.best)
    network.eval()
    return Outcome(state.curve, state.best_step, state.step)


def train_on_windows(
    network: nn.Module,
    task: Task,
    windows: Windows,
    looks: Windows,
    *,
    config: NetworkConfig,
    seed: int,
    progress: Progress | None,
    checkpoint: Path | None,
) -> tuple[Outcome, dict[str, Any]]:
    """Train a network on windows of the record, and stop by others.

    Args:
        network: Trained in place, see :func:`train`.
        task: Its losses.
        windows: To train on.
        looks: To stop by; there may be none.
        config: Steps, rates and batch.
        seed: Of shuffling and noise.
        progress: Told of each evaluation.
        checkpoint: Folder for checkpoints.

    Returns:
        The outcome, and notes for the model's card.
    """
    schedule = Schedule.of(config, default=config.effort * SIZES[config.size].steps)

    def loss(step: int, noise: Generator) -> Tensor:
        rows = here().share(shuffled(len(windows), config.batch, step, seed=seed))
        return task.loss(windows, rows, noise, share=step / schedule.steps)

    outcome = train(
        network,
        loss,
        (lambda: task.look(looks, seed)) if len(looks) else None,
        schedule=schedule,
        seed=seed,
        identity={"config": config.model_dump(mode="json"), "version": config.version, "data": windows.digest()},
        progress=progress,
        checkpoint=checkpoint,
    )
    return outcome, {
        "parameters": parameter_count(network),
        "training_windows": len(windows),
        "validation_windows": len(looks),
        "best_step": outcome.best_step,
        "steps_taken": outcome.steps_taken,
    }


class _State:
    """Everything that changes while training."""

    def __init__(self, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self.network = network
        self.optimiser = optimiser
        self.average = self.weights()
        self.best = self.average
        self.best_step = 0
        self.best_loss = math.inf
        self.step = 0
        self.recent: list[float] = []
        self.curve: list[dict[str, float]] = []

    @classmethod
    def begin(cls, network: nn.Module, schedule: Schedule) -> "_State":
        kernels = [parameter for parameter in network.parameters() if parameter.ndim > 1]
        vectors = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
        groups = [{"params": kernels, "weight_decay": schedule.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        return cls(network, torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.99), fused=True))

    def weights(self) -> dict[str, Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self.network.named_parameters()}

    def put(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                parameter.copy_(weights[name])


def _take_step(state: _State, loss: Loss, schedule: Schedule, step: int, noise: Generator) -> None:
    for group in state.optimiser.param_groups:
        group["lr"] = schedule.learning_rate * _rate(step, schedule.steps)
    for module in state.network.modules():
        if isinstance(module, Backbone):
            module.set_generator(noise)
    state.network.train()
    state.optimiser.zero_grad(set_to_none=True)
    value = loss(step, noise)
    if not torch.isfinite(value):
        raise FloatingPointError(f"the training loss is {value.item()} at step {step}; lower learning_rate")
    value.backward()
    average_gradients(state.network)
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), schedule.clip)
    state.optimiser.step()
    state.recent.append(value.item())
    state.step = step + 1
    decay = min(schedule.ema, state.step / (state.step + 10.0))
    named = dict(state.network.named_parameters())
    get_ema_multi_avg_fn(decay)([state.average[name] for name in named], list(named.values()), state.step)


def _rate(step: int, steps: int) -> float:
    """Linear warm-up over the first twentieth, then a cosine down to nearly nothing."""
    warm = max(1, steps // 20)
    return (
        (step + 1) / warm
        if step < warm
        else 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) + 1e-3
    )


def _evaluate(state: _State, validate: Validate | None, progress: Progress | None, schedule: Schedule) -> None:
    row = {"step": float(state.step), "train": mean(sum(state.recent) / len(state.recent))}
    state.recent = []
    current = state.weights()
    state.put(state.average)
    state.network.eval()
    if validate is not None:
        with torch.no_grad():
            row["validate"] = as_first(validate() if here().is_first else math.nan)
    state.put(current)
    if validate is None or row["validate"] < state.best_loss:
        state.best = {name: value.clone() for name, value in state.average.items()}
        state.best_step, state.best_loss = state.step, row.get("validate", math.inf)
    state.curve.append(row)
    if progress is not None and here().is_first:
        progress(state.step, schedule.steps, {name: value for name, value in row.items() if name != "step"})


def _is_out_of_patience(state: _State, schedule: Schedule) -> bool:
    waited = state.step - state.best_step
    return schedule.patience is not None and waited > schedule.patience * schedule.evaluate_every and bool(state.curve)


class _Store:
    """One checkpoint in a folder, written whole and renamed."""

    def __init__(self, folder: Path, *, identity: Mapping[str, Any]) -> None:
        self.path = folder / "training.safetensors"
        self.identity = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()

    def save(self, state: _State) -> None:
        tensors = {f"{kind}.{name}": value for kind, name, value in _tensors(state)}
        facts = {name: getattr(state, name) for name in ("step", "best_step", "best_loss", "curve")}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(f".{os.getpid()}.partial")
        save_file(tensors, partial, metadata={"identity": self.identity, "facts": json.dumps(facts)})
        os.replace(partial, self.path)

    def load(self, state: _State) -> None:
        if not self.path.exists():
            return
        with safe_open(self.path, framework="pt") as file:
            metadata = file.metadata()
            if metadata["identity"] != self.identity:
                raise ValueError(
                    f"{self.path} belongs to a training with other settings or data: delete it to start anew"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        for name, value in json.loads(metadata["facts"]).items():
            setattr(state, name, value)
        state.put(_under(tensors, "weights"))
        state.best = _under(tensors, "best")
        for name, parameter in state.network.named_parameters():
            state.average[name].copy_(tensors[f"average.{name}"])
            if f"step.{name}" in tensors:
                # The fused step walks through memory: its moments must lie in it as the parameter does.
                moments = {
                    key: torch.empty_like(parameter).copy_(tensors[f"{key}.{name}"])
                    for key in ("exp_avg", "exp_avg_sq")
                }
                state.optimiser.state[parameter] = moments | {"step": tensors[f"step.{name}"].to(parameter.device)}


def _tensors(state: _State) -> Iterator[tuple[str, str, Tensor]]:
    for kind, weights in (("weights", state.weights()), ("average", state.average), ("best", state.best)):
        yield from ((kind, name, value.clone().contiguous()) for name, value in weights.items())
    for name, parameter in state.network.named_parameters():
        for key, value in state.optimiser.state[parameter].items():
            yield key, name, value.clone().contiguous()


def _under(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{kind}."): value for name, value in tensors.items() if name.startswith(f"{kind}.")}
