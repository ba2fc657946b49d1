"""Every row of the specification's table of refusals and warnings, as people meet it: over HTTP and on a terminal.

The words of each in full are in ``test_refusals.py``; here are its code, status, exit code and what would do.
"""

import socket
from contextlib import ExitStack

import cftime
import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import app
from tests.issued_system import build, record, write_ensemble
from tests.serving import serving

MEAN = "sst.mean(over=middle).mean(time={})"
NOW = MEAN.format("lead 1")
TINY = NOW.replace("middle", "box(lat=-1..1, lon=195..197)")
OCTOBER = cftime.datetime(1960, 10, 1, calendar="noleap")


def two_forecasts(root):
    return with_newest(build(root, start=(1960, 4), hindcast_months=()))


def running(root):
    """Fifteen of twenty members of the newest forecast are stored."""
    return with_newest(build(root, start=(1960, 4), hindcast_months=(), block=5), block=5, stored=15)


def masked(root):
    truth = record()
    truth["sst"][:, :2, :3] = np.nan
    return build(root, hindcast_months=(), truth=truth)


def scenarios(root):
    """One of them ends after its fourth lead."""
    return build(root, hindcast_months=(), scenarios=("A1B", "E1"), ends={"E1": 4})


def with_newest(workspace, **options):
    write_ensemble(workspace, record(), [OCTOBER], kind="forecast", leads=6, count=20, seed=9, **options)
    return workspace


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The folder and a client of a store, made when it is first asked."""
    made = {}
    with ExitStack() as stack:

        def find(make):
            if make not in made:
                workspace = make(tmp_path_factory.mktemp("messages") / "w")
                address = stack.enter_context(serving(workspace))
                client = stack.enter_context(httpx.Client(base_url=address, timeout=30, trust_env=False))
                made[make] = workspace.root, client
            return made[make]

        yield find


def command(root, *words):
    return CliRunner().invoke(app, ["ask", *words, "--workspace", str(root)])


# code, store, question, HTTP status, exit code, a part of the text, what the fields say would do
REFUSALS = [
    ("unknown_variable", two_forecasts, f"{NOW} > 300 K".replace("sst", "ssh"), 422, 2, "Did you mean sst?", "sst"),
    ("unknown_region", two_forecasts, f"{NOW} > 300 K".replace("middle", "nino3.4"), 422, 2, "box(lat=…", "nino34"),
    ("unit_missing", two_forecasts, f"{NOW} > 27", 422, 2, "27 of what? sst is in K.", ["27 degC", "300.15 K"]),
    ("unit_wrong", two_forecasts, f"{NOW} > 27 mm", 422, 2, "'27 mm' is a length; sst is a temperature (K).", None),
    ("anomaly_offset", two_forecasts, f"{NOW} > 0.5 degC", 422, 2, "write sst.anom.", ["sst.anom"]),
    ("still_varies", two_forecasts, "sst.mean(over=middle) > 300 K", 422, 2, "varies in time: say time=<window>", None),
    ("still_varies", two_forecasts, "sst.mean(time=lead 1) > 300 K", 422, 2, "varies in space: say over=<reg", None),
    ("wrong_kind", two_forecasts, "(sst > 1 K).mean(over=middle)", 422, 2, "on a condition use .any .all .frac", None),
    (
        "region_outside",
        two_forecasts,
        f"{NOW.replace('middle', 'spain')} > 3 K",
        422,
        2,
        "outside the grid (lat -6..6",
        None,
    ),
    (
        "region_outside",
        two_forecasts,
        f"{NOW.replace('middle', 'box(lat=0..10, lon=190..210)')} > 300 K",
        422,
        2,
        "lies 40 % outside the grid (lat -6..6, lon 184..216). Allow a part to use the rest (--partial",
        ["--partial"],
    ),
    (
        "mostly_masked",
        masked,
        f"{NOW} > 300 K",
        422,
        4,
        "has data (sst has none in the rest); a region needs 50 %.",
        None,
    ),
    (
        "beyond_horizon",
        two_forecasts,
        f"{MEAN.format('JJA 1961')} > 3 K",
        422,
        2,
        "needs lead 9-11; this",
        ["lead 1..6"],
    ),
    (
        "before_init",
        two_forecasts,
        f"{MEAN.format('1960-05')} > 300 K",
        422,
        2,
        "1960-05 was before this forecast began (1960-10-01); its first step is 1960-10. Use the analysis, or forecast "
        "fc-1960-04-01.",
        ["forecast fc-1960-04-01"],
    ),
    ("before_init", two_forecasts, f"{MEAN.format('1960-01')} > 300 K", 422, 2, "or an earlier forecast.", None),
    (
        "too_few_members",
        two_forecasts,
        f"value of {NOW} exceeded with 1 %",
        422,
        4,
        "A 1-in-100 value cannot be read from 20 samples",
        ["exceeded with 25 %"],
    ),
    (
        "ambiguous_P90",
        two_forecasts,
        f"value of {NOW} exceeded with P90",
        422,
        2,
        "opposite things in statistics and energy",
        ["exceeded with 10 %", "not exceeded with 90 %"],
    ),
    (
        "given_too_rare",
        two_forecasts,
        f"{NOW} > 300 K given {NOW} > 303 K",
        422,
        4,
        "of 20 members meet the 'giv",
        None,
    ),
    ("percentile_too_fine", two_forecasts, f"{NOW} > p99", 422, 2, "p99 of 50 reference years: the finest is", ["p98"]),
    ("members_incomplete", running, f"{NOW} > 300 K", 409, 4, "15 of 20 members are stored; run sti", ["--partial"]),
    (
        "scenario_mismatch",
        scenarios,
        f"{MEAN.format('1961-02..1961-03')} > 300 K scenario A1B vs E1",
        422,
        2,
        "A1B has 20 members with data for 1961-02..1961-03, E1 has none: no common window.",
        ["scenario A1B"],
    ),
    ("unknown_scenario", scenarios, f"{NOW} > 300 K scenario A1", 422, 2, "this store has A1B, E1.", "A1B"),
    (
        "scenario_missing",
        scenarios,
        f"{NOW} > 300 K",
        422,
        2,
        "say under which.",
        ["scenario A1B", "scenario A1B vs E1"],
    ),
    ("unknown_forecast", two_forecasts, f"{NOW} > 3 K forecast 1961-10-01", 404, 3, "There are 2, from", "1960-10-01"),
    (
        "reference_period",
        two_forecasts,
        "sst.anom(clim=model:1911-1950).mean(over=middle).mean(time=lead 1) > 1 K",
        422,
        2,
        "No hindcasts are stored, so the model's own climatology is not known. The reference record is obs:1901-1950: ",
        [".anom"],
    ),
    (
        "parse",
        two_forecasts,
        "map of sst.maen(time=lead 1) > 1 K",
        422,
        2,
        "found 'maen'. Did you mean mean?\n  map of sst.maen(time=lead 1) > 1 K\n             ^\nFor example: map of ",
        "mean",
    ),
]


@pytest.mark.parametrize(
    ("code", "make", "question", "status", "exit_code", "words", "instead"),
    REFUSALS,
    ids=[f"{row[0]}-{number}" for number, row in enumerate(REFUSALS)],
)
def test_a_refusal_says_the_same_on_every_face(store, code, make, question, status, exit_code, words, instead):
    root, client = store(make)
    reply = client.get("/v1/ask", params={"q": question})
    problem = reply.json()
    assert (reply.status_code, problem["code"]) == (status, code)
    assert words in problem["text"]
    assert problem["text"] == problem["detail"]
    assert instead in (None, problem["did_you_mean"], problem["try"])
    told = command(root, question)
    assert told.exit_code == exit_code
    assert told.stderr == f"error: {problem['text']}\n"
    assert told.stdout == ""


# code, store, question, a part of the text
WARNINGS = [
    ("threshold_looks_wrong", two_forecasts, f"{NOW} > 27 K", "27 K is lower than anything in 50 reference years (low"),
    ("threshold_looks_wrong", two_forecasts, f"{NOW} > 27 K", "Did you mean 27 degC?"),
    (
        "threshold_never_seen",
        two_forecasts,
        f"{NOW} > 31 degC",
        "31 degC lies beyond all 50 reference years (highest 2",
    ),
    ("region_smaller_than_cell", two_forecasts, f"{TINY} > 300 K", "covers 13 % of one cell. You get that cell's"),
    ("region_partly_outside", two_forecasts, f"{NOW} > 3 K".replace("middle", "nino34"), "% of Niño 3.4 (5S-5N, 1"),
    ("members_incomplete", running, f"{NOW} > 300 K", "15 of 20 members are stored; run still going."),
    ("skill_not_measured", two_forecasts, f"{NOW} > 300 K", "No past forecasts are stored to replay"),
    ("uncalibrated", two_forecasts, f"{NOW} > 300 K", "not calibrated on past forecasts."),
]


@pytest.mark.parametrize(("code", "make", "question", "words"), WARNINGS)
def test_a_warning_stands_beside_the_answer_and_strictly_ends_it(store, code, make, question, words):
    root, client = store(make)
    reply = client.get("/v1/ask", params={"q": question, "partial": True})
    found = {warning["code"]: warning["text"] for warning in reply.json()["warnings"]}
    assert reply.status_code == 200
    assert words in found[code]
    told = command(root, question, "--partial", "--json")
    assert told.exit_code == 0
    assert f"note: {found[code]}\n" in told.stderr
    assert f"! {found[code][:40]}" in command(root, question, "--partial").stdout
    assert command(root, question, "--partial", "--strict").exit_code == 4
    assert command(root, question, "--partial", "--explain").exit_code == 0


def test_a_workspace_without_a_forecast_is_a_code_of_its_own(tmp_path):
    told = command(tmp_path / "empty", f"{NOW} > 300 K")
    assert told.exit_code == 3
    assert "has issued nothing yet. Run `tercile run NAME --workspace" in told.stderr


def test_a_service_that_cannot_listen_is_a_code_of_its_own(store):
    root, _ = store(two_forecasts)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = CliRunner().invoke(app, ["serve", "--workspace", str(root), "--port", str(port)])
    assert told.exit_code == 5
    assert f"error: 127.0.0.1:{port} cannot be listened at" in told.stderr
    assert "choose another --port." in told.stderr
