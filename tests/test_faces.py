"""An answer's other faces: figures, files, the command line's options and its server."""

import io
import json
import subprocess
import sys
import time

import httpx
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure
from typer.testing import CliRunner

from flows.asking import ask_all
from flows.cli import app
from pipeline.answers.comparison import gap_text, ratio_text
from pipeline.answers.formats import as_coverage
from pipeline.answers.issued import ask
from pipeline.answers.plots import answer_picture
from pipeline.answers.views import exceedance, map_question, plume
from pipeline.errors import TercileError
from pipeline.events import parse, question_text
from tests.issued_system import build
from tests.serving import free_port
from tests.test_answers import ask as ask_toy
from tests.test_answers import projection

WARM = "prob sst.anom.mean(over=middle).mean(time=lead 1..2) > 0.5 K"
PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return build(tmp_path_factory.mktemp("faces") / "w", first=1930)


@pytest.fixture(scope="module")
def answer(workspace):
    return ask(workspace, WARM)


def run(workspace, *arguments):
    return CliRunner().invoke(app, ["ask", *arguments, "--workspace", str(workspace.root)])


def test_the_curve_and_the_plume_hold_the_members_that_were_counted(answer):
    curve, course = exceedance(answer.inquiry), plume(answer.inquiry)
    values = np.array(curve["values"][""])
    assert (values > 0.5).sum() == answer.to_json()["members"]["event"]
    assert np.array(course["members"][""])[:, :2].mean(axis=1) == pytest.approx(values, abs=0.02)
    usual = np.array(curve["reference"])
    assert (usual > curve["thresholds"][0]).mean() == answer.to_json()["base_rate"]["value"]
    assert curve["units"] == course["units"] == "K"
    assert len(course["low"]) == len(course["dates"]) == 6
    assert np.all(np.array(course["low"]) < np.array(course["high"]))


@pytest.mark.parametrize(
    ("text", "has_curve", "has_plume"),
    [
        ("prob (sst.mean(over=middle) > p66).any(time=lead 1..3)", False, True),
        ("prob (sst > p66).frac(over=middle).max(time=lead 1..3) >= 30 %", True, False),
        ("dist of sst.mean(over=middle).mean(time=lead 1)", True, True),
        ("prob (sst.mean(over=middle) > p66).run(time=lead 1..5) >= 2 months", False, True),
    ],
)
def test_only_what_can_be_drawn_is(workspace, text, has_curve, has_plume):
    inquiry = ask(workspace, text).inquiry
    assert (exceedance(inquiry) is not None, plume(inquiry) is not None) == (has_curve, has_plume)


@pytest.mark.parametrize(
    ("text", "everywhere"),
    [
        (WARM, "map of sst.anom.mean(time=lead 1..2) > 0.5 K"),
        ("prob (sst > p66).any(over=middle).any(time=lead 1)", "map of (sst > p66).any(time=lead 1..1)"),
        ("prob (sst > p66).frac(over=middle).max(time=lead 1..3) >= 30 %", None),
        (
            "prob sst.anom(clim=model).mean(over=middle).mean(time=lead 1) > 0 K",
            "map of sst.anom(clim=model).mean(time=lead 1..1) > 0 K",
        ),
    ],
)
def test_a_question_without_its_regions_is_a_map(text, everywhere):
    found = map_question(parse(text))
    assert (None if found is None else question_text(found)) == everywhere


@pytest.mark.parametrize(
    "text", [f"prob not ({WARM.removeprefix('prob ')})", f"prob not not {WARM.removeprefix('prob ')}"]
)
def test_a_picture_is_labelled_by_its_variable_however_a_question_begins(workspace, text):
    assert "sea surface temperature" in ask(workspace, text).plot.main().axes[0].get_title(loc="left")


def test_a_share_of_an_area_has_a_curve(workspace):
    text = "prob (sst > p66).frac(over=middle).max(time=lead 1..3) >= 30 %"
    axes = ask(workspace, text).plot.main().axes[0]
    assert axes.get_xlabel() == "share of the area (%)"
    assert exceedance(ask(workspace, text).inquiry)["thresholds"] == [30.0]


def test_figures_are_made_and_refused_in_words(workspace, answer):
    for draw in (answer.plot.exceedance, answer.plot.plume, answer.plot.reliability):
        assert isinstance(draw(), Figure)
    other = ask(workspace, WARM.replace("1..2", "5..6"))
    lines = answer.plot.compare(other).axes[0].get_lines()
    assert len(lines) == 3  # this, the other, and the reference
    with pytest.raises(TercileError, match="only a 'map of …' question"):
        answer.plot.map()
    with pytest.raises(TercileError, match="no one number behind"):
        ask(workspace, "prob (sst.mean(over=middle) > p66).any(time=lead 1..3)").plot.exceedance()
    with pytest.raises(TercileError, match="has not been measured"):
        ask_toy("tas.mean(over=west).mean(time=DJF 2004) > 5.1 degC").plot.reliability()


@pytest.mark.parametrize("question", ["dist of {}", "value of {} exceeded with 10 %"])
def test_the_card_of_numbers_has_quantiles_of_members_and_reference(workspace, question):
    answer = ask(workspace, question.format("sst.mean(over=middle).mean(time=lead 1)"))
    found = answer.to_json()["distribution"]
    for name, quantiles in (("members", found["quantiles"]), ("reference", found["reference_quantiles"])):
        (row,) = (line for line in answer.text.splitlines() if line.startswith(f"  {name} "))
        pairs = [pair.split(" % ") for pair in row.removeprefix(f"  {name}").removesuffix(" K").split(", ")]
        assert [rank.strip() for rank, _ in pairs] == ["5", "25", "50", "75", "95"]
        assert [float(value) for _, value in pairs] == pytest.approx(list(quantiles.values()), abs=0.006)


def test_the_card_says_which_scenario_its_numbers_are_of():
    text = "dist of tas.mean(over=west).mean(time=DJF 2004) scenario {}"
    both, one = (ask_toy(text.format(scenarios), projection()) for scenarios in ("high vs low", "high"))
    names = [line.split()[0] for line in both.text.splitlines() if line.startswith("  ")][-10:]
    assert names[:6] == ["high", "members", "reference", "low", "members", "reference"]
    assert both._repr_html_().count("text-align:left;padding-right:1em;font-weight:600'>high<") == 1
    assert "  high\n" not in one.text


def test_scenarios_are_drawn_together():
    answer = ask_toy("tas.mean(over=west).mean(time=DJF 2004) > 5.1 degC scenario high vs low", projection())
    assert len(answer.plot.exceedance().axes[0].get_lines()) == 4
    assert set(plume(answer.inquiry)["members"]) == {"high", "low"}
    maps = ask_toy("map of tas.mean(time=DJF 2004) > 5.1 degC scenario high vs low", projection())
    collection = as_coverage(maps)
    assert [each["id"] for each in collection["coverages"]] == ["high", "low", "difference"]


def test_csv_and_netcdf_hold_the_members(answer, tmp_path):
    text = answer.to_csv()
    assert text.startswith(f"# question: {answer.to_json()['question']['text']}\n# reads as: In what share")
    table = pd.read_csv(io.StringIO(text), comment="#")
    assert table["event"].sum() == answer.to_json()["members"]["event"]
    path = tmp_path / "answer.nc"
    answer.to_netcdf(path)
    answer.to_csv(tmp_path / "answer.csv")
    assert (tmp_path / "answer.csv").read_text() == text
    with xr.open_dataset(path) as data:
        assert data["member"].values.tolist() == list(range(20))
        assert data["event"].sum() == table["event"].sum()
        assert data.attrs["provenance_experiment"] == "perfect"
        told = {name: data.attrs[f"threshold_{name}"] for name in ("op", "text", "value", "units")}
        assert told == {"op": "above", "text": "0.5 K", "value": 0.5, "units": "K (difference)"}
        assert "threshold_reference" not in data.attrs


def test_files_tell_each_threshold_with_its_reference(workspace, tmp_path):
    answer = ask(workspace, "map of sst.mean(time=lead 1..2) > p66 and sst.anom.mean(time=lead 1) between 0 K and 2 K")
    answer.to_netcdf(tmp_path / "map.nc")
    with xr.open_dataset(tmp_path / "map.nc") as data:
        assert [data.attrs[f"threshold_{place}_text"] for place in (1, 2, 3)] == ["p66", "0 K", "2 K"]
        assert data.attrs["threshold_1_reference"] == "obs:1901-1950"
        low, high = data.attrs["threshold_1_range"]
        assert 295 < low < high < 305
    assert as_coverage(answer)["thresholds"] == answer.to_json()["question"]["resolved"]["thresholds"]


def test_a_picture_carries_its_question(answer):
    assert answer_picture(answer).startswith(PNG)
    drawn = answer_picture(answer, "svg").decode()  # its words are comments beside their outlines
    origin = answer.to_json()["provenance"]
    for words in (WARM, "Skill: skilful: Brier skill", origin["as_of"]):
        assert words[:30] in drawn


def test_a_file_of_questions_is_answered_in_one_call(workspace, tmp_path):
    path = tmp_path / "questions.yaml"
    steps = "steps:\n  event:\n  - {var: sst}\n  - anom: {}\n  - mean: {over: middle}\n"
    path.write_text(f"text: {WARM}\n{steps}  - mean: {{time: lead 1..2}}\n  - {{above: 0.5 K}}\n")
    found = run(workspace, "--batch", str(path), "--json")
    assert found.exit_code == 0
    answers = json.loads(found.stdout)
    assert answers["text"]["probability"] == answers["steps"]["probability"]
    cards = run(workspace, "--batch", str(path), "--plot", str(tmp_path / "answer.png"))
    assert cards.stdout.startswith("text\n")
    assert (tmp_path / "answer-text.png").read_bytes().startswith(PNG)
    path.write_text(f"good: {WARM}\nfar: prob sst.mean(over=middle).mean(time=lead 9) > 300 K\n")
    mixed = run(workspace, "--batch", str(path), "--json")
    assert mixed.exit_code == 2
    assert json.loads(mixed.stdout)["far"]["problem"]["code"] == "beyond_horizon"
    assert "far: lead 9" in mixed.stderr
    path.write_text(f"bad: prob sst.mean(over\ngood: {WARM}\n")
    typo = run(workspace, "--batch", str(path), "--json")
    assert typo.exit_code == 2
    assert json.loads(typo.stdout)["bad"]["problem"]["code"] == "parse"
    assert json.loads(typo.stdout)["good"]["probability"] == answers["text"]["probability"]
    path.write_text("bad: prob sst.mean(over\n")
    assert "bad: Expected" in run(workspace, "--batch", str(path)).stderr
    path.write_bytes(b"\xff\xfe\x00")
    assert "not text in UTF-8" in run(workspace, "--batch", str(path)).stderr


def test_the_command_writes_csv_and_pictures_and_need_not_wait(workspace, tmp_path):
    found = run(workspace, WARM, "--csv")
    assert found.stdout.count("\n") == 7 + 1 + 20
    picture = tmp_path / "answer.png"
    assert run(workspace, WARM, "--plot", str(picture)).exit_code == 0
    assert picture.read_bytes().startswith(PNG)
    drawn = tmp_path / "answer.svg"
    run(workspace, WARM, "--plot", str(drawn))
    assert drawn.read_text().startswith("<?xml")
    assert run(workspace, WARM, "--plot", str(tmp_path / "answer.pdf")).exit_code == 2
    quick = run(workspace, WARM.replace("0.5", "0.45"), "--quick")
    assert "skill       pending" in quick.stdout
    slow = run(workspace, WARM)
    assert "skill       skilful: Brier skill" in slow.stdout
    assert run(workspace, WARM, "--batch", "x.yaml").exit_code == 2


@pytest.mark.parametrize(("columns", "width"), [(20, 64), (90, 90), (300, 100), (None, 78)])
def test_cards_are_as_wide_as_the_terminal_within_bounds(workspace, monkeypatch, capsys, columns, width):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: columns is not None, raising=False)
    for asked in (WARM, (WARM, WARM.replace("0.5", "0.8"))):
        ask_all(workspace, {"": asked}, form="card", plot=None, strict=False, level=0.9, partial=False, skill="now")
        longest = max(map(len, capsys.readouterr().out.splitlines()))
        assert width - 12 < longest <= width


def test_the_command_puts_two_questions_side_by_side(workspace, answer, tmp_path):
    other = WARM.replace("middle", "point(4, 188)")
    expected = json.loads(json.dumps(answer.compare(ask(workspace, other))))
    card = run(workspace, WARM, "--against", other)
    assert card.exit_code == 0, card.output
    words = " ".join(card.stdout.split())
    for name, payload in zip(expected["names"], expected["answers"], strict=True):
        assert f"{name}: {payload['headline']['text']}" in words
        assert all(f"! {name}: {warning['text']}" in words for warning in payload["warnings"])
    assert f"difference {gap_text(expected['difference'])}" in words
    assert f"ratio {ratio_text(expected['probability_ratio'])}" in words
    picture = tmp_path / "both.png"
    found = json.loads(run(workspace, WARM, "--against", other, "--json", "--plot", str(picture)).stdout)
    assert picture.read_bytes().startswith(PNG)
    for part in ("names", "difference", "probability_ratio"):
        assert found[part] == expected[part]
    table = pd.read_csv(io.StringIO(run(workspace, WARM, "--against", other, "--csv").stdout), comment="#")
    assert table.groupby("side")["event"].sum()["first"] == answer.to_json()["members"]["event"]


def test_a_file_may_hold_questions_to_compare(workspace, tmp_path):
    other, path = WARM.replace("middle", "point(4, 188)"), tmp_path / "questions.yaml"
    warm = "{event: 'sst.anom.mean(over=middle).mean(time=lead 1..2) > 0.5 K'}"
    path.write_text(f"one: {WARM}\nboth:\n  ask: {warm}\n  against: {other}\n")
    expected = json.loads(json.dumps(ask(workspace, WARM).compare(ask(workspace, other))))
    whole = json.loads(run(workspace, "--batch", str(path), "--json").stdout)
    assert whole["one"]["schema"] == "answer/1"
    for part in ("schema", "names", "difference", "probability_ratio", "warnings"):
        assert whole["both"][part] == expected[part]
    picture = tmp_path / "answer.png"
    cards = run(workspace, "--batch", str(path), "--plot", str(picture)).stdout
    alone = run(workspace, WARM, "--against", other)
    assert cards.endswith(f"both\n{alone.stdout}\n")
    assert (tmp_path / "answer-both.png").read_bytes().startswith(PNG)
    table = run(workspace, "--batch", str(path), "--csv").stdout
    assert table.endswith(run(workspace, WARM, "--against", other, "--csv").stdout)
    path.write_text(f"- ask: {WARM}\n  against: {WARM}\n")
    listed = json.loads(run(workspace, "--batch", str(path), "--json").stdout)
    assert listed["difference"]["value"] == 0
    assert run(workspace, "--batch", str(path), "--strict").exit_code == 4  # it is uncalibrated


def test_what_cannot_be_compared_in_a_file_does_not_stop_the_others(workspace, tmp_path):
    path = tmp_path / "questions.yaml"
    map_of = "map of sst.anom.mean(time=lead 1) > 0 K"
    path.write_text(f"both: {{ask: '{WARM}', against: '{map_of}'}}\none: {WARM}\n")
    found = run(workspace, "--batch", str(path), "--json")
    assert found.exit_code == 2
    assert "both: Two 'prob' questions are compared" in found.stderr
    answers = json.loads(found.stdout)
    assert answers["both"]["problem"]["code"] == "not_comparable"
    assert answers["one"]["probability"]
    path.write_text(f"both: {{ask: '{WARM}', against: '{WARM}', scenario: A1B}}\n")
    refused = run(workspace, "--batch", str(path))
    assert "both: A comparison is 'ask: question' and 'against: question'" in refused.stderr
    path.write_text(f"both: {{ask: '{WARM}', against: [1, 2]}}\n")
    assert "both: A question in YAML is a mapping" in run(workspace, "--batch", str(path)).stderr


def test_a_comparison_that_cannot_be_is_refused_with_its_code(workspace):
    assert run(workspace, WARM, "--against", f"{WARM} forecast 1850-01-01").exit_code == 3
    assert run(workspace, WARM, "--against", "map of sst.anom.mean(time=lead 1) > 0 K").exit_code == 2
    assert run(workspace, WARM, "--against", WARM, "--explain").exit_code == 2
    assert run(workspace, WARM, "--against", WARM, "--strict").exit_code == 4  # it is uncalibrated
    assert "--against" in run(workspace, "--help").stdout


def test_a_ratio_to_nothing_has_only_a_lower_end():
    ratio = {"value": None, "low": 1.25, "high": None, "level": 0.9}
    assert ratio_text(ratio) == "at least 1.2 times (90 % interval, open above)"
    assert ratio_text({**ratio, "value": 2.1, "high": 3.4}) == "2.1 times (90 % interval 1.2 to 3.4)"
    assert ratio_text({**ratio, "low": 0.0}) == "not known"


def test_refusals_end_with_their_codes(workspace):
    assert run(workspace, f"{WARM} forecast 1850-01-01").exit_code == 3
    assert run(workspace, "value of sst.mean(over=middle).mean(time=lead 1) exceeded with 1 %").exit_code == 4
    assert run(workspace, WARM, "--strict").exit_code == 4  # it is uncalibrated


def test_serve_answers_on_the_loopback_and_wants_a_token_elsewhere(workspace):
    command = [sys.executable, "-m", "flows.cli", "serve", "--workspace", str(workspace.root)]
    for token in ([], ["--token", ""]):  # as of a variable that is not set
        outside = subprocess.run(
            [*command, "--host", "0.0.0.0", *token], capture_output=True, text=True, check=False, timeout=60
        )
        assert outside.returncode == 2
        assert "set TERCILE_TOKEN" in outside.stderr
    port = free_port()
    server = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout.readline() == f"tercile: http://127.0.0.1:{port}/\n"
        for _ in range(100):
            try:
                page = httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        assert "How likely is it?" in page.text
    finally:
        server.terminate()
        assert server.wait(20) in (0, -15)
