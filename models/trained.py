"""Trained models on disk: ``weights.safetensors`` beside their card.

Never a pickle. The card holds the checksum of the weights, so that a truncated or altered file is refused.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from safetensors.torch import load, save

from models.base import Fitted, Grid, ScenarioModel
from models.card import read_card, write_card
from models.config import AnyModelConfig, ModelConfig
from pipeline.background import Background
from pipeline.errors import TercileError
from pipeline.workspace import write_whole

_GRID, _BACKGROUND, _MODEL = "grid.", "background.", "model."


@dataclass(frozen=True)
class TrainedModel:
    """A model with its background and its card."""

    model: ScenarioModel
    background: Background
    grid: Grid
    card: dict[str, Any]


def save_model(
    folder: Path, fitted: Fitted, config: ModelConfig, *, background: Background, grid: Grid, card: Mapping[str, Any]
) -> None:
    """Write a trained model whole: weights first, then the card that makes it count."""
    tensors = {f"{_MODEL}{name}": tensor for name, tensor in fitted.model.arrays().items()}
    tensors |= {
        f"{_BACKGROUND}{name}": torch.from_numpy(np.array(array)) for name, array in background.arrays().items()
    }
    tensors |= {
        f"{_GRID}weights": grid.weights,
        f"{_GRID}mask": grid.mask,
        f"{_GRID}is_global": torch.tensor(grid.is_global),
    }
    weights = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})
    write_whole(folder / "weights.safetensors", weights)
    content = {
        **card,
        "config": config.model_dump(mode="json"),
        "version": config.version,
        "transforms": dict(background.transforms),
        "history": fitted.model.history,
        "notes": fitted.notes,
        "curve": fitted.curve,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    write_card(folder, content)


def load_model(folder: Path) -> TrainedModel:
    """Read a trained model back.

    Raises:
        TercileError: No model there, no whole card, or weights that are not those of the card.
    """
    card = read_card(folder)
    path = folder / "weights.safetensors"
    weights = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(weights).hexdigest() != card["weights_sha256"]:
        raise TercileError(
            f"{folder}: weights.safetensors is not the file its card describes (truncated or altered). "
            "Delete the folder and train again."
        )
    tensors = load(weights)
    grid = Grid(tensors[f"{_GRID}weights"], tensors[f"{_GRID}mask"], bool(tensors[f"{_GRID}is_global"]))
    background = Background.from_arrays(
        {name: tensor.numpy() for name, tensor in _under(tensors, _BACKGROUND).items()}, transforms=card["transforms"]
    )
    config: ModelConfig = TypeAdapter(AnyModelConfig).validate_python(card["config"])
    if config.version != card["version"]:
        raise TercileError(
            f"{folder}: trained by version {card['version']} of its family, now {config.version}. Train again."
        )
    return TrainedModel(config.restore(_under(tensors, _MODEL), grid=grid), background, grid, card)


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
