"""Regions of a question as cells of a grid and the area of each that they cover.

A point is the cell that contains it. Boxes and polygons take each cell by the area that they share with it, never by
whether its centre lies inside, so that a region smaller than a cell still has a value. ``any``, ``all`` and ``frac``
look at every cell with a share.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.events.errors import PARTIAL, QuestionError
from pipeline.events.tree import Box, Named, Outline, Point, Polygon, Region, Ring
from pipeline.events.write import region_text
from pipeline.places.polygons import cell_areas, cell_edges, polygon_overlap, united

SLIVER = 1e-9  # a share of a cell below which the overlap is rounding
WHOLE = 0.99  # a share of the region on the grid that counts as all of it


@dataclass(frozen=True)
class Area:
    """The shape behind a name: polygons of ``(latitude, longitude)`` rings, the outer one first.

    Attributes:
        title: What people call it.
        version: Rises when the shape changes, because answers then do too.
        polygons: Each with its outer ring first and holes after it.
    """

    title: str
    version: str
    polygons: tuple[tuple[Ring, ...], ...]


@dataclass(frozen=True)
class Cells:
    """A region on a grid.

    Attributes:
        region: What was asked for.
        title: What to call it in a sentence.
        version: The version of a named region.
        rows: Indices of latitudes that it touches, neighbouring.
        columns: Indices of longitudes that it touches; they wrap where the region crosses the edge of the grid.
        weights: Area in km² that region and cell share, ``(rows, columns)``; zero for cells that it does not touch.
        covered: The share of the region that lies on the grid.
        of_one_cell: The share that it takes of the cell that it takes most of.
    """

    region: Region
    title: str
    version: str | None
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    weights: NDArray[np.float64]
    covered: float
    of_one_cell: float

    @property
    def count(self) -> int:
        """How many cells it touches."""
        return int(np.count_nonzero(self.weights))

    @property
    def area(self) -> float:
        """Area on the grid in km²."""
        return float(self.weights.sum())

    @property
    def outside(self) -> str:
        """The share off the grid of a region that lies partly on it."""
        return share_outside(self.covered)


class Gazetteer(Protocol):
    """Something that knows areas by name, as a catalogue does."""

    def region(self, name: str) -> Area:
        """The area that a name means."""
        ...


def share_outside(covered: float) -> str:
    """What is off the grid where a part is on it: never 0, never 100 %."""
    return f"{min(99, max(1, round(100 * (1 - covered))))} %"


def box_area(title: str, south: float, north: float, west: float, east: float, *, version: str = "1") -> Area:
    """A box as an area; ``west`` greater than ``east`` crosses the date line."""
    return Area(title, version, ((_box_ring(Box(south, north, west, east)),),))


@cache
def index_regions() -> dict[str, Area]:
    """The regions of well-known indices, by name."""
    return {
        "nino12": box_area("Niño 1+2 (10S-0, 90-80W)", -10, 0, -90, -80),
        "nino3": box_area("Niño 3 (5S-5N, 150-90W)", -5, 5, -150, -90),
        "nino34": box_area("Niño 3.4 (5S-5N, 170-120W)", -5, 5, -170, -120),
        "nino4": box_area("Niño 4 (5S-5N, 160E-150W)", -5, 5, 160, -150),
        "globe": box_area("the globe", -90, 90, -180, 180),
        "tropics": box_area("the tropics (23.5S-23.5N)", -23.5, 23.5, -180, 180),
    }


@cache
def country_names() -> dict[str, Area]:
    """Countries by name (``united_kingdom``) and by ISO 3166 numeric code (``iso826``); read once."""
    found = {}
    for country in _shipped("countries"):
        area = Area(country["name"], "1", _polygons(country))
        found[identifier_of(country["name"])] = area
        if country["id"]:
            found[f"iso{country['id']}"] = area
    return found


@cache
def ar6_regions() -> dict[str, Area]:
    """The reference regions of the IPCC's sixth assessment by acronym (``ar6_med``); read once.

    Source:
        Iturbide et al. (2020), doi:10.5194/essd-12-2959-2020, version 4, CC BY 4.0.
    """
    return {
        f"ar6_{region['id'].lower()}": Area(
            f"{region['name']} (AR6 {region['id']}, {region['type']})", "4", _polygons(region)
        )
        for region in _shipped("ar6")
    }


def builtin_regions() -> dict[str, Area]:
    """Every area that a name means in any store."""
    return {**country_names(), **ar6_regions(), **index_regions()}


def cells_of(
    region: Region,
    latitude: NDArray[np.float64],
    longitude: NDArray[np.float64],
    gazetteer: Gazetteer,
    *,
    partial: bool = False,
) -> Cells:
    """Find a region on a grid.

    Args:
        region: What was asked for.
        latitude: Ascending centres of rows, degrees north.
        longitude: Ascending centres of columns, degrees east, at most one turn.
        gazetteer: Where names are looked up.
        partial: Whether a part of the region on the grid will do.

    Raises:
        QuestionError: ``unknown_region``, or ``region_outside`` when it is not, or not all, on the grid.
    """
    edges = cell_edges(latitude, limit=90.0), cell_edges(longitude)
    if isinstance(region, Point):
        return _point_cells(region, *edges)
    area = area_of(region, gazetteer)
    overlap, covered = _overlap(area, *edges)
    shares = overlap / cell_areas(*edges)
    overlap[shares < SLIVER] = 0.0
    if covered < (SLIVER if partial else WHOLE):
        raise _outside(region, covered, *edges)
    rows = np.flatnonzero(overlap.any(axis=1))
    rows = np.arange(rows[0], rows[-1] + 1)
    columns = _hull(np.flatnonzero(overlap.any(axis=0)), longitude.size)
    version = area.version if isinstance(region, Named) else None
    largest = min(1.0, float(shares.max()))
    return Cells(region, area.title, version, rows, columns, overlap[np.ix_(rows, columns)], covered, largest)


def _overlap(
    area: Area, latitude_edges: NDArray[np.float64], longitude_edges: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Area in km² that a region shares with each cell, what several polygons cover once, and its share on the grid."""
    parts = [polygon_overlap(rings, latitude_edges, longitude_edges) for rings in area.polygons]
    if np.any(sum((overlap > 0).astype(int) for overlap, _ in parts) > 1):
        parts = [polygon_overlap(rings, latitude_edges, longitude_edges) for rings in united(area.polygons)]
    overlap, whole = (sum(part) for part in zip(*parts, strict=True))
    return overlap, float(overlap.sum() / whole) if whole else 0.0


def region_weights(regions: Mapping[str, Region], grid: xr.Dataset, gazetteer: Gazetteer) -> xr.DataArray:
    """Area that each cell shares with each region, in mean cells, dims ``(region, latitude, longitude)``.

    Args:
        regions: By name; what lies outside the grid is left out.
        grid: Has ``latitude`` and ``longitude``, ascending.
        gazetteer: Where names are looked up.

    Raises:
        QuestionError: A region is unknown or lies wholly outside the grid.
    """
    latitude, longitude = grid["latitude"].values.astype(float), grid["longitude"].values.astype(float)
    weights = np.zeros((len(regions), latitude.size, longitude.size))
    for place, region in enumerate(regions.values()):
        cells = cells_of(region, latitude, longitude, gazetteer, partial=True)
        weights[place][np.ix_(cells.rows, cells.columns)] = cells.weights
    mean = cell_areas(cell_edges(latitude, limit=90.0), cell_edges(longitude)).mean()
    coords = {"region": list(regions), "latitude": grid["latitude"], "longitude": grid["longitude"]}
    return xr.DataArray(weights / mean, dims=("region", "latitude", "longitude"), coords=coords)


def area_of(region: Region, gazetteer: Gazetteer) -> Area:
    """A region's shape."""
    match region:
        case Named():
            return gazetteer.region(region.name)
        case Box():
            return Area(_box_title(region), "1", ((_box_ring(region),),))
        case Polygon():
            return Area(f"the polygon of {region.size} vertices", "1", region.parts)
        case Outline():
            raise QuestionError(
                "unknown_region",
                f"'{region.path}' is a file, which only `tercile ask` and ask(…) in Python open. Send its GeoJSON as "
                "{over: …} in the body of POST /v1/ask, or write polygon(lat lon, …).",
                where=region.path,
            )
        case _:
            raise TypeError(f"{region} has no area")


def _point_cells(point: Point, latitude_edges: NDArray[np.float64], longitude_edges: NDArray[np.float64]) -> Cells:
    """The one cell that contains a point."""
    turned = longitude_edges[0] + (point.longitude - longitude_edges[0]) % 360.0
    row = int(np.searchsorted(latitude_edges, point.latitude, side="right")) - 1
    column = int(np.searchsorted(longitude_edges, turned, side="right")) - 1
    if point.latitude == latitude_edges[-1]:
        row -= 1
    if not (0 <= row < latitude_edges.size - 1 and 0 <= column < longitude_edges.size - 1):
        raise _outside(point, 0.0, latitude_edges, longitude_edges)
    size = cell_areas(latitude_edges[row : row + 2], longitude_edges[column : column + 2])
    title = f"the grid cell of {_degrees(point.latitude, 'NS')} {_degrees(_signed(point.longitude), 'EW')}"
    return Cells(point, title, None, np.array([row]), np.array([column]), size, 1.0, 1.0)


def _hull(columns: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """The shortest unbroken run of columns around the circle that holds all of these."""
    gaps = np.diff(np.append(columns, columns[0] + size))
    widest = int(np.argmax(gaps))
    length = size - int(gaps[widest]) + 1
    start = int(columns[(widest + 1) % columns.size])
    if start + length > size and length > 0.9 * size:
        return np.arange(size)
    return (start + np.arange(length)) % size


def _box_ring(box: Box) -> Ring:
    """A box as a ring whose steps in longitude are short enough to be read the right way round."""
    width = (box.east - box.west) % 360.0 or 360.0
    steps = [box.west + width * part / 4 for part in range(5)]
    return (*((box.north, longitude) for longitude in steps), *((box.south, longitude) for longitude in steps[::-1]))


def _box_title(box: Box) -> str:
    south, north = _degrees(box.south, "NS"), _degrees(box.north, "NS")
    west = (box.west + 180.0) % 360.0 - 180.0  # the whole circle runs from 180W to 180E
    return f"the box {south} to {north}, {_degrees(west, 'EW')} to {_degrees(_signed(box.east), 'EW')}"


def _outside(
    region: Region, covered: float, latitude_edges: NDArray[np.float64], longitude_edges: NDArray[np.float64]
) -> QuestionError:
    grid = f"lat {latitude_edges[0]:g}..{latitude_edges[-1]:g}, lon {longitude_edges[0]:g}..{longitude_edges[-1]:g}"
    where = "lies outside the grid" if covered < SLIVER else f"lies {share_outside(covered)} outside the grid"
    name = f"The polygon of {region.size} vertices" if isinstance(region, Polygon) else region_text(region)
    text = f"{name} {where} ({grid})."
    if covered < SLIVER:
        return QuestionError("region_outside", text, where=name)
    return QuestionError(
        "region_outside", f"{text} Allow a part to use the rest ({PARTIAL}).", where=name, try_=("--partial",)
    )


def _shipped(name: str) -> list[dict[str, Any]]:
    """The areas of a file of the package."""
    return list(json.loads(files("pipeline").joinpath(f"data/{name}.json").read_text(encoding="utf-8"))["areas"])


def _polygons(area: Mapping[str, Any]) -> tuple[tuple[Ring, ...], ...]:
    return tuple(
        tuple(tuple((float(latitude), float(longitude)) for latitude, longitude in ring) for ring in polygon)
        for polygon in area["polygons"]
    )


def identifier_of(name: str) -> str:
    """A name as questions can write it: small letters, digits and underscores."""
    letters = "".join(letter if letter.isalnum() else " " for letter in name.lower().replace("'", ""))
    return "_".join(letters.split())


def _signed(longitude: float) -> float:
    """A longitude from -180 (not included) to 180."""
    turned = longitude % 360.0
    return turned - 360.0 if turned > 180.0 else turned


def _degrees(value: float, letters: str) -> str:
    return f"{abs(value):g}{letters[0] if value >= 0 else letters[1]}"
