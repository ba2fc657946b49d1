"""The last fit of a model that stops early: on all years, with what early stopping found.

Years that stop a training cannot be trained on, and often they are the newest, those most like what is to be forecast.
So a network is fitted twice: once to find out how long to train, and how wide to spread, on years that neither it nor
its background has seen; then anew on all of them, for as many passes over the record.
"""

from pathlib import Path

from models.base import Fitted, Progress, TrainingData
from models.config import ModelConfig


def fit_settled(
    config: ModelConfig,
    early: TrainingData,
    whole: TrainingData,
    *,
    seed: int,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Fitted:
    """Fit a model with early stopping, and then on everything.

    Args:
        config: Of a model that ``refits``.
        early: With validation steps, its background of the training steps alone.
        whole: The same record, those steps training steps as well.
        seed: See :meth:`ModelConfig.build`.
        progress: Likewise.
        checkpoint: Likewise; each of the two fits has a folder of its own below it.

    Returns:
        The last fit, with the curve of the first; ``notes["early_stopping"]`` are the notes of the first.
    """
    first = config.build(early, seed=seed, progress=progress, checkpoint=checkpoint and checkpoint / "early")
    last = config.settled(first.notes).build(
        whole, seed=seed, progress=progress, checkpoint=checkpoint and checkpoint / "whole"
    )
    return Fitted(last.model, first.curve, {**last.notes, "early_stopping": first.notes})
