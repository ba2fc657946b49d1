"""The card of a trained model, ``card.json``: what is known of it, and the sign that it is whole. Needs no torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import TercileError
from pipeline.workspace import SCHEMA_VERSION, check_schema, write_whole

_FILE = "card.json"


def has_card(folder: Path) -> bool:
    """Whether a whole model is there: the card is written last."""
    return (folder / _FILE).exists()


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Write a model's card whole."""
    write_whole(folder / _FILE, json.dumps({**card, "schema_version": SCHEMA_VERSION}, indent=2, default=str))


def read_card(folder: Path) -> dict[str, Any]:
    """A model's card.

    Raises:
        TercileError: There is none, the file is no card, or a newer version wrote it.
    """
    try:
        card = json.loads((folder / _FILE).read_text())
    except FileNotFoundError as error:
        raise TercileError(f"no trained model in {folder}. Run `tercile train`.") from error
    except ValueError as error:
        raise _no_card(folder, error) from error
    missing = {"config", "version", "history", "notes", "weights_sha256"} - set(card if isinstance(card, dict) else ())
    if missing:
        raise _no_card(folder, f"lacks {', '.join(sorted(missing))}")
    check_schema(card.get("schema_version"), folder / _FILE)
    return dict(card)


def _no_card(folder: Path, why: object) -> TercileError:
    return TercileError(f"{folder}: {_FILE} is no card of a model ({why}). Delete the folder and train again.")
