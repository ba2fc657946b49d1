"""A person's own regions: a workspace's named ones, and polygons of a question, from a GeoJSON file or inline."""

import json

import httpx
import pytest
from typer.testing import CliRunner

from flows.cli import app
from pipeline.answers.compose import prob, var
from pipeline.answers.issued import ask, explain_question, open_issued
from pipeline.errors import TercileError
from pipeline.events import QuestionError, from_yaml, parse, question_text
from pipeline.events.geojson import polygon_of
from pipeline.places.geojson import areas_of_geojson
from tests.issued_system import build
from tests.serving import serving

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


def test_names_are_written_as_those_of_countries_are():
    found = areas_of_geojson(collection(feature([SQUARE], name="Österreich"), feature([SQUARE], name="Côte d'Ivoire")))
    assert list(found) == ["österreich", "côte_divoire"]
    assert parse(f"prob sst.mean(over={next(iter(found))}).mean(time=lead 1) > 1 K")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "this is no FeatureCollection of polygons"),
        ('{"type": "Feature"}', "this is no FeatureCollection of polygons"),
        (collection(feature([SQUARE])), "feature 1 has no name; give it one of the properties id, acronym, name"),
        (collection(feature([0, 1], kind="Point", name="here")), "'here' is a Point; a Polygon or MultiPolygon"),
        (collection(feature([SQUARE], name="a b"), feature([SQUARE], name="A.B")), "2 features are called 'a_b'"),
        (collection(feature([SQUARE * 30_000], name="long")), "149999 vertices are more than the 100000 allowed"),
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


WARM = "prob sst.anom.mean(over={}).mean(time=lead 1..1) > 0 K"
WITH_HOLE = {"type": "Polygon", "coordinates": [SQUARE, HOLE]}


@pytest.fixture(scope="module")
def issued(tmp_path_factory):
    return build(tmp_path_factory.mktemp("geojson") / "w", hindcast_months=())


@pytest.fixture(scope="module")
def outline(tmp_path_factory):
    path = tmp_path_factory.mktemp("outlines") / "basin_1.geojson"
    path.write_text(collection(feature([SQUARE])))
    return path


def region(answer):
    return answer.to_json()["question"]["resolved"]["region"]


def test_a_file_is_the_polygon_that_it_holds_in_python_and_on_the_command_line(issued, outline):
    named, by_file = ask(issued, WARM.format("middle")), ask(issued, WARM.format(f"polygon({outline})"))
    built = prob(var("sst").anom().mean(over=f"polygon({outline})").mean(time="lead 1") > "0 K")
    for found in (by_file, ask(issued, built)):
        assert found.to_json()["probability"] == named.to_json()["probability"]
        assert region(found)["cells"] == 6
    told = CliRunner().invoke(
        app, ["ask", WARM.format(f"polygon({outline})"), "--json", "--workspace", str(issued.root)]
    )
    assert json.loads(told.stdout)["probability"] == named.to_json()["probability"]
    self_contained = by_file.to_json()["question"]["text"]
    assert self_contained == WARM.format("polygon(-6 192, -6 208, 6 208, 6 192)")
    assert "the polygon of 4 vertices" in explain_question(issued, WARM.format(f"polygon({outline})"))["reads_as"]


def test_a_condition_may_name_a_file_too(issued, outline):
    given = "given (sst.mean(over=polygon({})) > 290 K and sst.mean(over=middle) > 290 K).any(time=lead 1)"
    by_file, named = (ask(issued, f"{WARM.format('middle')} {given.format(name)}") for name in (outline, "middle"))
    assert by_file.to_json()["members"] == named.to_json()["members"]


def test_holes_and_parts_are_written_and_read_back(issued):
    text = WARM.format("polygon(-6 192, -6 208, 6 208, 6 192 hole -2 192, 2 192, 2 208, -2 208)")
    plain = {"type": "Feature", "geometry": WITH_HOLE}
    steps = [{"var": "sst"}, {"anom": {}}, {"mean": {"over": plain}}, {"mean": {"time": "lead 1"}}, {"above": "0 K"}]
    asked = from_yaml(json.dumps({"event": steps}))
    assert question_text(asked) == text
    assert parse(text) == asked
    assert region(ask(issued, asked))["cells"] == 4
    apart = {"type": "MultiPolygon", "coordinates": [[SQUARE], [HOLE]]}
    assert polygon_of(apart).parts == (polygon_of(WITH_HOLE).parts[0][:1], polygon_of(WITH_HOLE).parts[0][1:])


def test_over_http_a_polygon_is_inline_or_a_name_and_never_a_file(issued, outline):
    with serving(issued) as address, httpx.Client(base_url=address, trust_env=False) as client:
        named = client.get("/v1/ask", params={"q": WARM.format("middle")}).json()
        by_name = client.get("/v1/ask", params={"q": WARM.format("polygon(middle)")}).json()
        steps = [{"var": "sst"}, {"anom": {}}, {"mean": {"over": {"type": "Polygon", "coordinates": [SQUARE]}}}]
        body = {"question": {"event": [*steps, {"mean": {"time": "lead 1"}}, {"above": "0 K"}]}}
        inline = client.post("/v1/ask", json=body).json()
        assert by_name["question"] == named["question"]
        assert inline["probability"] == named["probability"]
        for path in (str(outline), "/nowhere/else.json"):
            for face in ("/v1/ask", "/v1/explain"):
                reply = client.get(face, params={"q": WARM.format(f"polygon({path})")})
                assert (reply.status_code, reply.json()["code"]) == (422, "unknown_region")
                assert reply.json()["text"].startswith(f"'{path}' is a file, which only `tercile ask` and ask(…) in")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No file '"),
        ("{", "this is no JSON"),
        ("[1]", "this is no GeoJSON of polygons"),
        (json.dumps({"type": "Point", "coordinates": [0, 1]}), "a Point; a Polygon or MultiPolygon is expected"),
        (
            json.dumps({"type": "Polygon", "coordinates": [[[0, 1], [1, 1], [0, 1]]]}),
            "rings of at least three vertices",
        ),
        (json.dumps({"type": "Polygon", "coordinates": []}), "rings of at least three vertices"),
        (json.dumps({"type": "Polygon", "coordinates": [[[0, 91], [1, 1], [2, 3]]]}), "a vertex lies outside"),
        ('{"type": "Polygon", "coordinates": [[[0, NaN], [1, 1], [2, 3]]]}', "a vertex lies outside"),
        (json.dumps({"type": "Polygon", "coordinates": [SQUARE * 2500]}), "12,499 vertices; at most 10,000"),
        ('"' + "x" * 4_000_001 + '"', "a file of more than 4 MB"),
    ],
)
def test_a_file_without_a_polygon_is_refused(issued, tmp_path, text, words):
    path = tmp_path / "spoilt.geojson"
    if text is not None:
        path.write_text(text)
    with pytest.raises(QuestionError, match=words):
        ask(issued, WARM.format(f"polygon({path})"))


def test_a_coordinate_too_large_for_a_number_is_refused():
    with pytest.raises(QuestionError, match="this is no GeoJSON of polygons"):
        polygon_of({"type": "Polygon", "coordinates": [[[10**400, 0], *SQUARE]]})


def test_a_polygon_off_the_grid_is_not_spelt_out(issued):
    text = WARM.format("polygon(40 10, 40 20, 50 20)")
    with pytest.raises(QuestionError, match=r"^The polygon of 3 vertices lies outside the grid \(lat -6\.\.6"):
        ask(issued, text)
