"""A person's own regions, from a GeoJSON file."""

import json

import pytest

from pipeline.answers.issued import ask, open_issued
from pipeline.errors import TercileError
from pipeline.places.geojson import areas_of_geojson
from tests.issued_system import build

SQUARE = [[192, -6], [208, -6], [208, 6], [192, 6], [192, -6]]
HOLE = [[192, -2], [192, 2], [208, 2], [208, -2], [192, -2]]


def collection(*features):
    return json.dumps({"type": "FeatureCollection", "features": list(features)})


def feature(coordinates, kind="Polygon", **properties):
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def test_features_become_areas_by_acronym_and_title():
    found = areas_of_geojson(collection(feature([SQUARE], Acronym="N.Pac", Name="Northern Pacific")))
    assert found["n_pac"].title == "Northern Pacific"
    assert found["n_pac"].polygons[0][0][0] == (-6.0, 192.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "this is no FeatureCollection of polygons"),
        ('{"type": "Feature"}', "this is no FeatureCollection of polygons"),
        (collection(feature([SQUARE])), "feature 1 has no name; give it one of the properties id, acronym, name"),
        (collection(feature([0, 1], kind="Point", name="here")), "'here' is a Point; a Polygon or MultiPolygon"),
        (collection(feature([SQUARE * 30_000], name="long")), "150000 vertices are more than the 100000 allowed"),
    ],
)
def test_what_is_refused(text, words):
    with pytest.raises(TercileError, match=words):
        areas_of_geojson(text)


def test_a_workspace_answers_over_its_own_regions_and_sees_when_they_change(tmp_path):
    workspace = build(tmp_path / "w", hindcast_months=())
    question = "prob sst.anom.mean(over=mine).mean(time=lead 1) > 0 K"
    path = workspace.root / "regions.geojson"
    path.write_text(collection(feature([SQUARE], name="mine")))
    own = ask(workspace, question).to_json()
    named = ask(workspace, question.replace("mine", "middle")).to_json()
    assert own["probability"] == named["probability"]
    assert own["question"]["resolved"]["region"]["title"] == "mine"
    path.write_text(collection(feature([[SQUARE, HOLE]], kind="MultiPolygon", name="mine")))
    holed = ask(workspace, question).to_json()["question"]["resolved"]["region"]
    assert (own["question"]["resolved"]["region"]["cells"], holed["cells"]) == (6, 4)
    assert "regions" in open_issued(workspace).snapshots
