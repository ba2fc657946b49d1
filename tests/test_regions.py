"""Regions on grids: exact areas, the date line, poles, and shapes smaller than a cell."""

import numpy as np
import pytest

from pipeline.answers.catalogue import Catalogue
from pipeline.events import QuestionError, parse_region
from pipeline.events.tree import Named
from pipeline.grid import EARTH_RADIUS_KM
from pipeline.places.polygons import cell_areas, cell_edges, polygon_overlap, united
from pipeline.places.regions import Area, ar6_regions, box_area, cells_of, country_names

CATALOGUE = Catalogue({}, regions={"mine": box_area("my own", 0, 10, 20, 30)})
LATITUDE = np.linspace(-88.75, 88.75, 72)
GRIDS = {
    "from 0": np.arange(0, 360, 2.5),
    "from -180": np.arange(-180, 180, 2.5),
    "off centre": np.arange(-178.75, 181, 2.5),
    "coarse": np.arange(0, 360, 7.5),
}


def found(text, longitude=GRIDS["from 0"], latitude=LATITUDE, **settings):
    return cells_of(parse_region(text), latitude, longitude, CATALOGUE, **settings)


def box_area_km2(south, north, width):
    return EARTH_RADIUS_KM**2 * np.radians(width) * (np.sin(np.radians(north)) - np.sin(np.radians(south)))


@pytest.mark.parametrize("longitude", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize(
    ("text", "south", "north", "width"),
    [
        ("box(lat=-5..5, lon=-170..-120)", -5, 5, 50),
        ("box(lat=-5..5, lon=190..240)", -5, 5, 50),
        ("box(lat=40.3..41.7, lon=-61.1..17.3)", 40.3, 41.7, 78.4),
        ("box(lat=-5..5, lon=160..-150)", -5, 5, 50),
        ("box(lat=-90..90, lon=-180..180)", -90, 90, 360),
        ("box(lat=10..20, lon=0..360)", 10, 20, 360),
        ("box(lat=10..20, lon=200..-100)", 10, 20, 60),
        ("nino34", -5, 5, 50),
        ("nino4", -5, 5, 50),
        ("globe", -90, 90, 360),
    ],
)
def test_boxes_have_their_exact_area_on_every_grid(text, south, north, width, longitude):
    cells = found(text, longitude)
    assert cells.area == pytest.approx(box_area_km2(south, north, width), rel=1e-9)
    assert cells.covered == pytest.approx(1)


@pytest.mark.parametrize("name", ["france", "russia", "fiji", "united_states_of_america", "australia"])
def test_the_grid_does_not_change_a_countrys_area(name):
    areas = [found(name, longitude).area for longitude in GRIDS.values()]
    np.testing.assert_allclose(areas, areas[0], rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "million_km2"),
    [("united_states_of_america", 9.5), ("australia", 7.7), ("brazil", 8.5), ("antarctica", 12.3), ("iso356", 3.2)],
)
def test_countries_are_as_large_as_they_are(name, million_km2):
    assert found(name).area / 1e6 == pytest.approx(million_km2, rel=0.04)


def test_the_whole_circle_is_named_from_west_to_east():
    assert found("box(lat=-30..30, lon=-180..180)").title == "the box 30S to 30N, 180W to 180E"
    assert found("box(lat=-5..5, lon=160..-150)").title == "the box 5S to 5N, 160E to 150W"


def test_the_ar6_regions_tile_the_globe():
    areas = {name: found(name).area for name in ar6_regions()}
    assert len(areas) == 58
    assert sum(areas.values()) == pytest.approx(box_area_km2(-90, 90, 360), rel=2e-4)


def test_ar6_regions_are_known_by_acronym_with_their_version():
    cells = found("ar6_med")
    assert (cells.title, cells.version) == ("Mediterranean (AR6 MED, land and ocean)", "4")
    with pytest.raises(QuestionError, match="Did you mean ar6_med"):
        found("ar6_MED")


def test_a_polygon_is_the_sum_of_its_parts():
    whole = found("polygon(0 0, 0 40, 35 40, 35 0)").area
    parts = [found(f"polygon({ring})").area for ring in ("0 0, 0 40, 35 40", "0 0, 35 40, 35 0")]
    assert sum(parts) == pytest.approx(whole)


def test_the_way_round_and_the_start_do_not_matter():
    ring = [(0.0, 0.0), (3.0, 41.0), (35.0, 40.0), (20.0, 17.0)]
    areas = []
    for order in (ring, ring[::-1], ring[2:] + ring[:2]):
        text = ", ".join(f"{lat} {lon}" for lat, lon in order)
        areas.append(found(f"polygon({text})").weights.sum())
    np.testing.assert_allclose(areas, areas[0])


def test_a_hole_is_left_out():
    edges = cell_edges(LATITUDE, limit=90), cell_edges(GRIDS["from 0"])
    outer, hole = [(0, 0), (0, 40), (30, 40), (30, 0)], [(10, 10), (20, 10), (20, 20), (10, 20)]
    overlap, area = polygon_overlap([outer, hole], *edges)
    assert area == pytest.approx(box_area_km2(0, 30, 40) - box_area_km2(10, 20, 10))
    assert overlap.sum() == pytest.approx(area)
    assert overlap[np.searchsorted(LATITUDE, 15), 6] == pytest.approx(0)


def test_a_ring_around_a_pole_holds_the_pole():
    ring = ", ".join(f"70 {lon}" for lon in range(-170, 180, 20))
    north, south = found(f"polygon({ring})"), found(f"polygon({ring.replace('70 ', '-70 ')})")
    assert north.area == south.area == pytest.approx(box_area_km2(70, 90, 360))
    assert north.rows[-1] == LATITUDE.size - 1
    assert south.rows[0] == 0


def test_a_ring_that_winds_round_the_globe_is_refused():
    with pytest.raises(QuestionError, match="winds round the globe more than 2 times"):
        found(f"polygon({', '.join(f'{10 * (step % 2)} {170 * step % 360 - 180}' for step in range(12))})")


def boxes(*parts, west=0):
    """Each as the polygon of one ring."""
    areas = [box_area("", south, north, west + start, west + end) for south, north, start, end in parts]
    return tuple(area.polygons[0] for area in areas)


@pytest.mark.parametrize("longitude", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("west", [0, 170, 350])
def test_what_several_parts_cover_counts_once(west, longitude):
    one, other, shared = (1, 11, 1, 19), (7, 17, 11, 23), (7, 11, 11, 19)
    areas = [box_area_km2(south, north, end - start) for south, north, start, end in (one, other, shared)]
    gazetteer = Catalogue({}, regions={"both": Area("both", "1", boxes(one, other, one, west=west))})
    cells = cells_of(Named("both"), LATITUDE, longitude, gazetteer)
    assert cells.area == pytest.approx(areas[0] + areas[1] - areas[2])
    assert cells.covered == pytest.approx(1)


def test_parts_that_touch_and_a_part_within_a_hole_are_left_as_they_are():
    outer, hole, within = (rings[0] for rings in boxes((1, 30, -20, 20), (5, 25, 341, 369), (7, 20, 343, 366)))
    edges = cell_edges(LATITUDE, limit=90), cell_edges(GRIDS["from 0"])
    for polygons in (boxes((1, 11, 1, 9), (1, 11, 9, 19)), ((outer, hole), (within,))):
        one_by_one, at_once = (
            sum(polygon_overlap(rings, *edges)[0] for rings in parts) for parts in (polygons, united(polygons))
        )
        np.testing.assert_allclose(at_once, one_by_one, atol=1e-6)


def test_parts_that_go_round_the_globe_and_over_a_pole_are_united():
    cap = [(60.0, lon) for lon in (0.0, 90.0, 180.0, 270.0)]
    belt = box_area("", 40, 70, 0, 360).polygons[0]
    edges = cell_edges(LATITUDE, limit=90), cell_edges(GRIDS["from 0"])
    parts = [polygon_overlap(rings, *edges) for rings in united([[cap], belt])]
    everything = box_area_km2(40, 90, 360)
    assert sum(overlap.sum() for overlap, _ in parts) == pytest.approx(everything)
    assert sum(size for _, size in parts) == pytest.approx(everything)


def test_a_union_agrees_with_counting_points():
    rng = np.random.default_rng(0)
    rings = [np.array([(2.0, 3.0), (33.0, 8.0), (18.0, 42.0)]), np.array([(28.0, 3.0), (3.0, 20.0), (38.0, 44.0)])]
    edges = cell_edges(np.arange(0.0, 50, 10), limit=90), cell_edges(np.arange(0.0, 60, 10))
    sine = rng.uniform(*np.sin(np.radians(edges[0][[0, -1]])), 1_000_000)
    y, x = np.degrees(np.arcsin(sine)), rng.uniform(*edges[1][[0, -1]], 1_000_000)
    either = inside(rings[0], y, x) | inside(rings[1], y, x)
    counts, _, _ = np.histogram2d(y[either], x[either], bins=edges)
    expected = counts / y.size * cell_areas(*edges).sum()
    overlap = sum(polygon_overlap(part, *edges)[0] for part in united([[ring] for ring in rings]))
    np.testing.assert_allclose(overlap, expected, atol=0.015 * cell_areas(*edges).max())


def inside(ring, y, x):
    found = np.zeros(y.size, dtype=bool)
    for (y0, x0), (y1, x1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        with np.errstate(divide="ignore"):
            found ^= ((x0 > x) != (x1 > x)) & (y < y0 + (x - x0) * (y1 - y0) / (x1 - x0))
    return found


def test_overlap_agrees_with_counting_points():
    rng = np.random.default_rng(0)
    longitude, latitude = np.arange(0.0, 60, 10), np.arange(0.0, 50, 10)
    ring = np.array([(2.0, 3.0), (33.0, 8.0), (18.0, 22.0), (38.0, 47.0), (5.0, 41.0)])
    edges = cell_edges(latitude, limit=90), cell_edges(longitude)
    overlap, _ = polygon_overlap([ring], *edges)
    sine = rng.uniform(*np.sin(np.radians(edges[0][[0, -1]])), 1_000_000)
    y, x = np.degrees(np.arcsin(sine)), rng.uniform(*edges[1][[0, -1]], 1_000_000)
    within = inside(ring, y, x)
    counts, _, _ = np.histogram2d(y[within], x[within], bins=edges)
    expected = counts / y.size * cell_areas(*edges).sum()
    np.testing.assert_allclose(overlap, expected, atol=0.015 * cell_areas(*edges).max())


def test_a_point_is_the_cell_that_contains_it():
    cells = found("point(40.4, -3.7)")
    assert (LATITUDE[cells.rows[0]], GRIDS["from 0"][cells.columns[0]], cells.count) == (41.25, 357.5, 1)
    assert GRIDS["from 0"][found("point(0, 359)").columns[0]] == 0
    assert found("point(90, 0)").rows[0] == LATITUDE.size - 1


def test_a_region_across_the_edge_of_the_grid_is_one_piece():
    cells = found("box(lat=40..65, lon=-60..10)")
    assert cells.columns.size == 29
    np.testing.assert_array_equal(np.diff(cells.columns) % 144, 1)


def test_a_region_smaller_than_a_cell_is_still_there():
    cells = found("luxembourg", GRIDS["coarse"], np.arange(-80.0, 81, 10))
    assert cells.count == 1
    assert cells.of_one_cell < 0.01


def test_the_stores_own_regions_come_first():
    assert found("mine").title == "my own"
    assert isinstance(country_names()["norway"], Area)


@pytest.mark.parametrize("text", ["point(40, -105)", "box(lat=30..40, lon=-10..0)", "france"])
def test_a_region_off_the_grid_is_refused(text):
    with pytest.raises(QuestionError, match=r"outside the grid \(lat 12\.5\.\.") as caught:
        found(text, np.arange(100.0, 140, 2), np.arange(13.0, 20))
    assert caught.value.code == "region_outside"


def test_a_region_partly_off_the_grid_needs_leave():
    local = np.arange(-10.5, 5, 1.0), np.arange(35.5, 50, 1.0)
    with pytest.raises(QuestionError, match="lies 50 % outside the grid"):
        found("box(lat=36..44, lon=-21..-1)", *local)
    cells = found("box(lat=36..44, lon=-21..-1)", *local, partial=True)
    assert cells.covered == pytest.approx(0.5)


def test_an_unknown_region_says_what_there_is():
    with pytest.raises(QuestionError) as caught:
        found("nino3.4")
    assert caught.value.text.startswith("No region 'nino3.4'. Did you mean nino34? Others near: nino12, nino3, nino4.")
    assert caught.value.did_you_mean == "nino34"
