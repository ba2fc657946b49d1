"""A person's own regions: the features of a GeoJSON file, each an area with a name.

A workspace takes them from ``regions.geojson`` in its folder. Coordinates are longitude and latitude in degrees, as RFC
7946 has them; edges are straight in that plane.
"""

import json
from collections import Counter
from typing import Any

from pipeline.errors import TercileError
from pipeline.events.geojson import polygons_of
from pipeline.places.regions import Area, identifier_of

FILE = "regions.geojson"
NAMES = ("id", "acronym", "name")
"""Properties that give a region its name, the first that is there; a feature's own ``id`` comes before them."""

MAX_VERTICES = 100_000


def areas_of_geojson(text: str) -> dict[str, Area]:
    """Areas by name, in small letters, digits and underscores.

    Args:
        text: A FeatureCollection of polygons and multi-polygons.

    Raises:
        TercileError: No GeoJSON of polygons, a feature without a name or with another's, or more than 100,000
            vertices.
    """
    try:
        features = json.loads(text)["features"]
        named = [_area(feature, place) for place, feature in enumerate(features, start=1)]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        if isinstance(error, TercileError):
            raise
        raise TercileError(f"{FILE}: this is no FeatureCollection of polygons ({error!r}).") from error
    found = dict(named)
    name, count = next(iter(Counter(name for name, _ in named).most_common(1)), ("", 0))
    if count > 1:
        raise TercileError(f"{FILE}: {count} features are called '{name}'; make them one MultiPolygon, or rename them.")
    vertices = sum(len(ring) for area in found.values() for polygon in area.polygons for ring in polygon)
    if vertices > MAX_VERTICES:
        raise TercileError(f"{FILE}: {vertices} vertices are more than the {MAX_VERTICES} allowed; simplify it.")
    return found


def _area(feature: dict[str, Any], place: int) -> tuple[str, Area]:
    properties = {str(key).lower(): value for key, value in (feature.get("properties") or {}).items()}
    properties |= {"id": feature["id"]} if "id" in feature else {}
    named = [str(properties[key]) for key in NAMES if properties.get(key)]
    if not named:
        raise TercileError(f"{FILE}: feature {place} has no name; give it one of the properties {', '.join(NAMES)}.")
    try:
        polygons = polygons_of(feature["geometry"])
    except ValueError as error:
        raise TercileError(f"{FILE}: '{named[0]}' is {error}.") from error
    return identifier_of(named[0]), Area(named[-1], "1", polygons)
