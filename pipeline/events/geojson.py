"""Polygons as GeoJSON has them: longitude first, rings closed, the outer one of each polygon before its holes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from pipeline.events.errors import QuestionError
from pipeline.events.tree import Expression, Outline, Polygon, Question, Ring

MAX_VERTICES = 10_000
FILE_BYTES = 4_000_000

Parts = tuple[tuple[Ring, ...], ...]


def polygon_of(plain: Mapping[str, Any], *, where: str = "over") -> Polygon:
    """A region from a GeoJSON geometry, feature or collection of features, which are taken together.

    Raises:
        QuestionError: ``parse``, for anything but polygons on the globe, or more than 10,000 vertices.
    """
    try:
        parts = tuple(part for geometry in _geometries(plain) for part in polygons_of(geometry))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _refused(where, f"this is no GeoJSON of polygons ({error!r})") from error
    return _checked(parts, where)


def polygons_of(geometry: Mapping[str, Any]) -> Parts:
    """The rings of a Polygon or MultiPolygon, ``(latitude, longitude)``, without the vertex that closes each.

    Raises:
        ValueError: Another kind of geometry.
    """
    kind, coordinates = geometry["type"], geometry["coordinates"]
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"a {kind}; a Polygon or MultiPolygon is expected")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    return tuple(tuple(_ring(ring) for ring in polygon) for polygon in polygons)


def with_files_read(question: Question) -> Question:
    """A question with the polygons of the GeoJSON files that it names: for the command line and Python alone.

    Raises:
        QuestionError: ``unknown_region`` for a file that is not there, ``parse`` for one that holds no polygons.
    """
    given = None if question.given is None else _read_below(question.given)
    return replace(question, subject=_read_below(question.subject), given=given)


def _read_below(node: Any) -> Any:
    """A node of the tree with every outline below it read."""
    if isinstance(node, Outline):
        return _read(Path(node.path))
    if isinstance(node, tuple):
        return tuple(_read_below(part) for part in node)
    if isinstance(node, Expression):
        return replace(node, **{field.name: _read_below(getattr(node, field.name)) for field in fields(node)})
    return node


def _read(path: Path) -> Polygon:
    if not path.is_file():
        raise QuestionError("unknown_region", f"No file '{path}' to take a polygon from.", where=str(path))
    if path.stat().st_size > FILE_BYTES:
        raise _refused(str(path), f"a file of more than {FILE_BYTES / 1e6:g} MB; simplify it")
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _refused(str(path), f"this is no JSON ({error})") from error
    return polygon_of(plain, where=str(path))


def _geometries(plain: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    match plain["type"]:
        case "FeatureCollection":
            return [feature["geometry"] for feature in plain["features"]]
        case "Feature":
            return [plain["geometry"]]
        case _:
            return [plain]


def _ring(points: list[Any]) -> Ring:
    ring = tuple((float(latitude), float(longitude)) for longitude, latitude, *_ in points)
    return ring[:-1] if len(ring) > 1 and ring[0] == ring[-1] else ring


def _checked(parts: Parts, where: str) -> Polygon:
    rings = [ring for part in parts for ring in part]
    vertices = [vertex for ring in rings for vertex in ring]
    if len(vertices) > MAX_VERTICES:
        raise _refused(where, f"{len(vertices):,} vertices; at most {MAX_VERTICES:,} vertices are allowed, simplify it")
    if not parts or not all(parts) or min(len(ring) for ring in rings) < 3:
        raise _refused(where, "a polygon needs rings of at least three vertices")
    if not all(abs(latitude) <= 90 and abs(longitude) <= 540 for latitude, longitude in vertices):
        raise _refused(where, "a vertex lies outside longitude -180 to 360 and latitude -90 to 90 (longitude is first)")
    return Polygon(parts)


def _refused(where: str, why: str) -> QuestionError:
    return QuestionError("parse", f"{where}: {why}.", where=where)
