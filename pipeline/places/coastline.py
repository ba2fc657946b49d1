"""Coastlines for maps: a small public-domain set that ships with the package, so that no map needs a network."""

import json
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray


def coastline(*, west: float, east: float) -> list[NDArray[np.float64]]:
    """Coastlines that touch a span of longitudes, in that span's own count of degrees.

    A map may run from -180, from 0, or from 225 to 315: each line is turned by whole circles until it lies there.
    Lines are not cut at the span's edges; the axes clip them.

    Args:
        west: Western edge, degrees east.
        east: Eastern edge, degrees east, at most 360 more than ``west``.

    Returns:
        Lines of ``(point, 2)`` longitudes and latitudes, degrees east and north.

    Raises:
        ValueError: ``east`` does not lie east of ``west``.

    Source:
        Natural Earth, 1:110m land, public domain; rounded to 0.1 degree.
    """
    if not west < east <= west + 361:
        raise ValueError(f"coastline: east ({east}) must lie within one circle east of west ({west}).")
    turns = range(int(np.floor((west - 180) / 360)), int(np.ceil((east + 180) / 360)) + 1)
    turned = [line + np.array([360.0 * turn, 0.0]) for turn in turns for line in _lines()]
    return [line for line in turned if line[:, 0].max() >= west and line[:, 0].min() <= east]


def _lines() -> list[NDArray[np.float64]]:
    text = files("pipeline").joinpath("data/coastline.json").read_text(encoding="utf-8")
    return [np.asarray(line, dtype=float).reshape(-1, 2) for line in json.loads(text)["lines"]]
