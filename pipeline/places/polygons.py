"""How much of each grid cell a polygon covers, exactly.

An edge of a ring that runs east sweeps the area below it, one that runs west takes it away again. So each edge is cut
at the lines of the grid, each piece adds the area between itself and the lower side of its own cell, and whole cells
below it; the sum over a ring is the overlap. Edges are straight in the lat-lon plane, and areas are those of the
sphere (the integral of the sine of latitude), so a box comes out exact, and cells that are covered in part are too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import affinity

from pipeline.events.errors import QuestionError
from pipeline.grid import EARTH_RADIUS_KM

TURNS = 2  # of the globe that a ring may span: each is a sweep over the grid

Array = NDArray[np.float64]
Rings = Sequence[Sequence[tuple[float, float]]]


def polygon_overlap(rings: Rings, latitude_edges: Array, longitude_edges: Array) -> tuple[Array, float]:
    """Area of a polygon in each cell of a grid.

    Args:
        rings: The outer ring, then its holes; vertices ``(latitude, longitude)`` in degrees, closed or not.
        latitude_edges: Ascending edges of rows, degrees north, ``(rows + 1,)``.
        longitude_edges: Ascending edges of columns, degrees east, ``(columns + 1,)``; at most one turn.

    Returns:
        Overlap in km², ``(rows, columns)``, and the area of the whole polygon in km².

    Raises:
        QuestionError: ``parse``, for a ring that winds round the globe.
    """
    total = 0.0
    overlap = np.zeros((latitude_edges.size - 1, longitude_edges.size - 1))
    for index, ring in enumerate(rings):
        inside, area = _ring_overlap(np.asarray(ring, dtype=np.float64), latitude_edges, longitude_edges)
        sign = 1.0 if index == 0 else -1.0
        overlap += sign * inside
        total += sign * area
    scale = EARTH_RADIUS_KM**2
    return np.maximum(overlap, 0.0) * scale, total * scale


def united(polygons: Sequence[Rings]) -> list[Rings]:
    """Polygons that cover what these cover, none of it twice: within one turn of longitude, from their western end.

    Args:
        polygons: Each as for :func:`polygon_overlap`.
    """
    shapes = [shapely.make_valid(_shape(rings)) for rings in polygons]
    west, _, east, _ = shapely.total_bounds(shapes)
    turns = 360.0 * np.arange(-np.ceil((east - west) / 360), 1)
    copies = [affinity.translate(shape, turn) for shape in shapes for turn in turns]
    whole = shapely.union_all(copies).intersection(shapely.box(west, -90.0, west + 360.0, 90.0))
    parts = shapely.get_parts(shapely.segmentize(whole, 90.0))  # a side of a whole turn would be one of none
    return [
        [[(y, x) for x, y in ring.coords] for ring in (part.exterior, *part.interiors)]
        for part in parts
        if part.geom_type == "Polygon"
    ]


def cell_edges(centres: Array, *, limit: float | None = None) -> Array:
    """Edges half way between centres, the outermost as far out as the next is in.

    Args:
        centres: Ascending, degrees; one alone gets an edge half a degree away on either side.
        limit: The furthest that an edge may lie from zero: 90 for latitudes.
    """
    if centres.size == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    edges = np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])
    return edges if limit is None else np.clip(edges, -limit, limit)


def cell_areas(latitude_edges: Array, longitude_edges: Array) -> Array:
    """Area of each cell in km², ``(rows, columns)``."""
    bands = np.diff(np.sin(np.radians(latitude_edges)))
    return EARTH_RADIUS_KM**2 * np.outer(bands, np.diff(np.radians(longitude_edges)))


def _ring_overlap(ring: Array, latitude_edges: Array, longitude_edges: Array) -> tuple[Array, float]:
    """Overlap of one ring with each cell and its whole area, on the unit sphere."""
    latitude, longitude = _unwrapped(ring)
    if np.ptp(longitude) > 360 * TURNS:
        raise QuestionError("parse", f"A ring of a polygon winds round the globe more than {TURNS} times.")
    area = float(np.sum(_mean_sine(latitude[:-1], latitude[1:]) * np.radians(np.diff(longitude))))
    overlap = np.zeros((latitude_edges.size - 1, longitude_edges.size - 1))
    first = int(np.floor((longitude_edges[0] - longitude.max()) / 360))
    last = int(np.ceil((longitude_edges[-1] - longitude.min()) / 360))
    for turn in range(first, last + 1):
        overlap += _swept(latitude, longitude + 360.0 * turn, latitude_edges, longitude_edges)
    return overlap * np.sign(area), abs(area)


def _unwrapped(ring: Array) -> tuple[Array, Array]:
    """Latitudes and longitudes of a closed ring, longitudes without jumps; one around a pole is led through it."""
    latitude = np.append(ring[:, 0], ring[0, 0])
    longitude = np.unwrap(np.append(ring[:, 1], ring[0, 1]), period=360.0)
    if abs(longitude[-1] - longitude[0]) > 180:
        pole = 90.0 if ring[:, 0].mean() > 0 else -90.0
        latitude = np.concatenate([latitude, [pole, pole, latitude[0]]])
        longitude = np.concatenate([longitude, [longitude[-1], longitude[0], longitude[0]]])
    return latitude, longitude


def _shape(rings: Rings) -> shapely.Polygon:
    """A polygon in the plane of longitude and latitude, its holes beside its ring."""
    (outer, *holes) = (np.stack(_unwrapped(np.asarray(ring, dtype=np.float64))[::-1], axis=1) for ring in rings)
    for hole in holes:
        hole[:, 0] -= 360.0 * np.floor((hole[0, 0] - outer[:, 0].min()) / 360.0)
    return shapely.Polygon(outer, holes)


def _swept(latitude: Array, longitude: Array, latitude_edges: Array, longitude_edges: Array) -> Array:
    """Signed area below a closed path in each cell, on the unit sphere."""
    y, x = _cut(latitude, longitude, latitude_edges, longitude_edges)
    middle_y, middle_x = (y[:-1] + y[1:]) / 2, (x[:-1] + x[1:]) / 2
    rows = np.searchsorted(latitude_edges, middle_y) - 1
    columns = np.searchsorted(longitude_edges, middle_x) - 1
    shape = (latitude_edges.size - 1, longitude_edges.size - 1)
    kept = (columns >= 0) & (columns < shape[1]) & (rows >= 0)
    rows, columns = rows[kept], columns[kept]
    width = np.radians(np.diff(x))[kept]
    height = _mean_sine(y[:-1], y[1:])[kept]
    sines = np.sin(np.radians(latitude_edges))
    passed = np.zeros((shape[0] + 1, shape[1]))
    np.add.at(passed, (rows, columns), width)
    overlap = np.cumsum(passed[::-1], axis=0)[::-1][1:] * np.diff(sines)[:, np.newaxis]
    own = rows < shape[0]
    np.add.at(overlap, (rows[own], columns[own]), width[own] * (height[own] - sines[rows[own]]))
    return overlap


def _cut(y: Array, x: Array, y_lines: Array, x_lines: Array) -> tuple[Array, Array]:
    """The vertices of a path and every point where it crosses a line of the grid, in order."""
    crossings = np.concatenate([_crossings(y, y_lines), _crossings(x, x_lines)], axis=1)
    along = np.sort(np.concatenate([np.zeros((y.size - 1, 1)), crossings], axis=1), axis=1)
    cut_y = (y[:-1, np.newaxis] + along * np.diff(y)[:, np.newaxis]).ravel()
    cut_x = (x[:-1, np.newaxis] + along * np.diff(x)[:, np.newaxis]).ravel()
    return np.append(cut_y, y[-1]), np.append(cut_x, x[-1])


def _crossings(values: Array, lines: Array) -> Array:
    """Where along each edge (0 to 1) it crosses each line; 0 where it does not. ``(edges, lines)``."""
    near = lines[(lines > values.min()) & (lines < values.max())]
    step = np.diff(values)[:, np.newaxis]
    with np.errstate(divide="ignore", invalid="ignore"):
        along = (near[np.newaxis, :] - values[:-1, np.newaxis]) / step
    return np.where((along > 0) & (along < 1), along, 0.0)


def _mean_sine(start: Array, end: Array) -> Array:
    """Mean sine of latitude along straight edges between two latitudes, in degrees."""
    half = np.radians(end - start) / 2
    return np.sin(np.radians(start + end) / 2) * np.sinc(half / np.pi)
