"""The service: a real server on the loopback, asked over HTTP."""

import io
import json
import re
import threading
from datetime import datetime

import cftime
import httpx
import netCDF4
import numpy as np
import pandas as pd
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from pipeline.answers.issued import _opened, ask
from pipeline.ensemble_writer import EnsembleWriter
from pipeline.errors import TercileError
from pipeline.events import Question, QuestionError, parse, question_text, question_url, to_steps
from pipeline.service import Limits
from pipeline.service.desk import Desk
from pipeline.service.formats import MEDIA
from pipeline.service.jobs import Jobs
from tests.issued_system import build, record, write_ensemble
from tests.questions import Asker
from tests.serving import serving

WARM = "prob sst.anom.mean(over=middle).mean(time=lead 1..2) > 0.5 K"
MAP = "map of sst.anom.mean(time=lead 1) > 0 K"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return build(tmp_path_factory.mktemp("service") / "w", first=1940)


@pytest.fixture(scope="module")
def address(workspace):
    with serving(workspace) as address:
        yield address


@pytest.fixture(scope="module")
def client(address):
    with httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
        yield client


def plain(payload):
    return {key: value for key, value in payload.items() if key != "timing_ms"}


def test_the_answer_is_the_one_that_python_gives(client, workspace):
    served = client.get("/v1/ask", params={"q": WARM, "skill": "now"}).json()
    assert plain(served) == plain(json.loads(json.dumps(ask(workspace, WARM).to_json())))


def test_text_url_and_steps_are_one_question(client):
    by_text = client.get("/v1/ask", params={"q": WARM, "skill": "now"}).json()
    by_url = client.get(f"/v1/ask?{question_url(parse(WARM))}&skill=now").json()
    body = {"question": {key: value for key, value in to_steps(parse(WARM)).items()}, "skill": "now"}
    by_steps = client.post("/v1/ask", json=body).json()
    assert plain(by_text) == plain(by_url) == plain(by_steps)


def test_a_batch_answers_each_and_refuses_where_it_must(client):
    batch = [{"question": WARM}, {"question": "prob sst > 1 K"}]
    answered, refused = client.post("/v1/ask", json=batch).json()
    assert answered["schema"] == "answer/1"
    assert refused["problem"]["code"] == "still_varies"
    too_many = client.post("/v1/ask", json=[{"question": WARM}] * 33)
    assert (too_many.status_code, too_many.json()["code"]) == (413, "too_big")


def test_pending_skill_is_measured_meanwhile(workspace, client):
    text = WARM.replace("0.5", "0.4")
    first = client.get("/v1/ask", params={"q": text})
    assert first.json()["skill"]["verdict"] == "pending"
    assert "etag" not in first.headers
    for _ in range(200):
        again = client.get("/v1/ask", params={"q": text})
        if again.json()["skill"]["verdict"] != "pending":
            break
        threading.Event().wait(0.05)
    assert again.json()["skill"]["verdict"] in ("skilful", "no_evidence")
    assert "etag" in again.headers


def test_an_unchanged_answer_is_not_sent_again_until_something_is_committed(tmp_path):
    workspace = build(tmp_path / "w", hindcast_months=())
    with serving(workspace) as address, httpx.Client(base_url=address, trust_env=False) as client:
        told = client.get("/v1/ask", params={"q": WARM}).headers
        tag = told["etag"]
        same = client.get("/v1/ask", params={"q": WARM}, headers={"If-None-Match": f'"x", {tag}'})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
        assert [same.headers[name] for name in ("cache-control", "vary")] == [told["cache-control"], told["vary"]]
        other = client.get("/v1/ask", params={"q": WARM, "level": 80}, headers={"If-None-Match": tag})
        assert other.status_code == 200
        before = client.get("/v1/catalog").json()
        truth = record()
        start = truth["time_bnds"].values[-1, 1]
        write_ensemble(workspace, truth, [start], kind="forecast", leads=6, count=20, seed=9)
        newer = client.get("/v1/ask", params={"q": WARM}, headers={"If-None-Match": tag})
        assert newer.status_code == 200
        assert newer.json()["provenance"]["forecast"] == "fc-1961-01-01"
        assert len(client.get("/v1/catalog").json()["forecasts"]) == len(before["forecasts"]) + 1
        assert newer.json()["provenance"]["supersedes"] == "fc-1960-10-01"
        again = client.get("/v1/ask", params={"q": WARM, "as_of": before["as_of"]}).json()
        assert again["provenance"]["forecast"] == "fc-1960-10-01"
        assert again["provenance"]["as_of"] == before["as_of"]
        assert plain(client.post("/v1/ask", json={"question": WARM, "as_of": before["as_of"]}).json()) == plain(again)
        assert plain(again) == plain(
            json.loads(json.dumps(ask(workspace, WARM, as_of=datetime.fromisoformat(before["as_of"])).to_json()))
        )
        never = client.get("/v1/ask", params={"q": WARM, "as_of": "1999-01-01T00:00:00Z"})
        assert (never.status_code, never.json()["code"]) == (404, "unknown_forecast")


def test_reads_during_a_running_ensemble_see_the_last_commit(tmp_path, monkeypatch):
    workspace = build(tmp_path / "w", hindcast_months=())
    before, seen, commit = ask(workspace, WARM).to_json(), [], EnsembleWriter.commit

    def asked_before(*args):  # all members are drawn and written, none is committed
        seen.append(ask(workspace, WARM).to_json())
        commit(*args)

    monkeypatch.setattr(EnsembleWriter, "commit", asked_before)
    truth = record()
    write_ensemble(workspace, truth, [truth["time_bnds"].values[-1, 1]], kind="forecast", leads=6, count=20, seed=9)
    assert [answer["members"] for answer in seen] == [before["members"]]
    assert seen[0]["provenance"]["forecast"] == before["provenance"]["forecast"]
    assert ask(workspace, WARM).to_json()["provenance"]["forecast"] == "fc-1961-01-01"


@pytest.mark.parametrize(
    ("form", "media"),
    [
        ("json", "application/json"),
        ("covjson", "application/prs.coverage+json"),
        ("netcdf", "application/x-netcdf"),
        ("csv", "text/csv"),
        ("png", "image/png"),
        ("svg", "image/svg+xml"),
    ],
)
def test_a_map_comes_in_every_form_by_name_and_by_accept(client, form, media):
    by_name = client.get("/v1/ask", params={"q": MAP, "format": form})
    by_accept = client.get("/v1/ask", params={"q": MAP}, headers={"Accept": f"application/pdf, {media};q=0.8"})
    for reply in (by_name, by_accept):
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith(media)


def test_the_forms_hold_the_same_numbers(client, tmp_path):
    coverage = client.get("/v1/ask", params={"q": MAP, "format": "covjson"}).json()
    assert coverage["domain"]["axes"]["y"]["values"] == [-4.0, 0.0, 4.0]
    chances = np.array(coverage["ranges"]["probability"]["values"]).reshape(3, 4)
    path = tmp_path / "map.nc"
    path.write_bytes(client.get("/v1/ask", params={"q": MAP, "format": "netcdf"}).content)
    with netCDF4.Dataset(path) as data:
        assert np.allclose(data["probability"][:], chances)
        assert data.ask_text == question_text(parse(MAP))
        assert "provenance_snapshot" in data.ncattrs()
    table = client.get("/v1/ask", params={"q": MAP, "format": "csv"}).text
    header = [line for line in table.splitlines() if line.startswith("#")]
    assert header[0] == f"# question: {question_text(parse(MAP))}"
    assert len(table.splitlines()) == len(header) + 1 + chances.size
    series = client.get("/v1/ask", params={"q": "series of sst.anom.mean(over=middle) > 0 K", "format": "covjson"})
    assert series.json()["domain"]["axes"]["t"]["values"][0] == "1960-10-01"


def test_a_map_of_two_scenarios_has_their_difference_in_every_form(tmp_path):
    workspace = build(tmp_path / "w", hindcast_months=(), scenarios=("high", "low"))
    question = f"{MAP} scenario high vs low"
    single = ask(workspace, "prob sst.anom.mean(over=point(0, 196)).mean(time=lead 1) > 0 K scenario high vs low")
    expected = {name: single.to_json()["difference"][name] for name in ("value", "low", "high")}
    with serving(workspace) as address, httpx.Client(base_url=address, trust_env=False) as client:
        reply = {form: client.get("/v1/ask", params={"q": question, "format": form}) for form in MEDIA}
    assert {form: each.status_code for form, each in reply.items()} == dict.fromkeys(MEDIA, 200)
    coverages = {each["id"]: each["ranges"] for each in reply["covjson"].json()["coverages"]}
    found = [coverages["difference"][name]["values"][5] for name in ("difference", "difference_low", "difference_high")]
    assert found == pytest.approx(list(expected.values()), abs=1e-6)
    assert reply["json"].json()["field"]["difference"]["min"] <= expected["value"]
    assert "difference_verdict" in reply["csv"].text
    assert reply["png"].content.startswith(b"\x89PNG")


def test_the_catalogue_and_the_restatement(client):
    catalog = client.get("/v1/catalog").json()
    assert catalog["variables"][0]["name"] == "sst"
    assert catalog["lead"] == {
        "units": "months",
        "count": 6,
        "labels": [f"1960-{m}-01" for m in (10, 11, 12)] + [f"1961-0{m}-01" for m in (1, 2, 3)],
    }
    found = client.get("/v1/explain", params={"q": WARM}).json()
    assert "averaged over lead 1..2 (1960-10-01 to 1960-11-30)" in found["reads_as"]
    assert found["related"]["map"] == "map of sst.anom.mean(time=lead 1..2) > 0.5 K"
    assert client.post("/v1/explain", json={"question": WARM}).json() == found
    part = {"q": WARM.replace("middle", "nino34"), "partial": True}
    found = client.get("/v1/explain", params=part).json()
    assert 0 < found["resolved"]["region"]["on_grid"] < 1
    assert client.post("/v1/explain", json={"question": part["q"], "partial": True}).json() == found


def test_what_is_drawn_comes_from_the_members_of_the_answer(client, workspace):
    view = client.get("/v1/view", params={"q": WARM}).json()
    answer = ask(workspace, WARM)
    over = [value > 0.5 for value in view["exceedance"]["values"][""]]
    assert over == [bool(event) for event in answer.members["event"].values] == [event == 1 for event in view["event"]]
    assert np.array(view["plume"]["members"][""]).shape == (20, 6)
    assert view["plume"]["numbers"] == answer.members["member"].values.tolist() == list(range(20))
    assert view["plume"]["thresholds"] == [0.5]


def test_two_questions_are_compared_from_one_state_of_the_stores(client, workspace):
    middle, corner = (WARM.replace("0.5", "-0.8").replace("middle", place) for place in ("middle", "point(4, 188)"))
    found = client.get("/v1/compare", params={"q": middle, "with": corner, "skill": "now", "level": 80}).json()
    first, second = (ask(workspace, text, level=0.8) for text in (middle, corner))
    expected = json.loads(json.dumps(first.compare(second)))
    assert [plain(each) for each in found.pop("answers")] == [plain(each) for each in expected.pop("answers")]
    assert found == expected
    assert found["difference"]["level"] == 0.8
    assert found["difference"]["correlation"] > 0.2


def test_a_comparison_has_a_tag_of_both_questions_and_their_order(client):
    both = {"q": WARM, "with": WARM.replace("0.5", "0.3"), "skill": "now"}
    tag = client.get("/v1/compare", params=both).headers["etag"]
    same = client.get("/v1/compare", params=both, headers={"If-None-Match": tag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    turned = {**both, "q": both["with"], "with": both["q"]}
    for other in (turned, {**both, "level": 80}, {**both, "format": "csv"}):
        reply = client.get("/v1/compare", params=other, headers={"If-None-Match": tag})
        assert reply.status_code == 200
        assert reply.headers["etag"] != tag
    pending = client.get("/v1/compare", params={**both, "q": WARM.replace("0.5", "0.31"), "skill": "pending"})
    assert "etag" not in pending.headers


def test_a_comparison_is_a_table_and_a_picture_where_two_numbers_share_an_axis(client):
    both = {"q": WARM, "with": WARM.replace("middle", "point(4, 188)"), "skill": "now"}
    found = client.get("/v1/compare", params=both).json()
    reply = client.get("/v1/compare", params=both, headers={"Accept": "text/csv"})
    assert reply.headers["content-type"].startswith("text/csv")
    table = pd.read_csv(io.StringIO(reply.text), comment="#")
    for side, answer in zip(("first", "second"), found["answers"], strict=True):
        assert table.loc[table["side"] == side, "event"].sum() == answer["members"]["event"]
    assert f"# difference: value {found['difference']['value']}" in reply.text
    picture = client.get("/v1/compare", params={**both, "format": "png"})
    assert (picture.headers["content-type"], picture.content[:4]) == ("image/png", b"\x89PNG")
    no_number = {**both, "with": "prob (sst.mean(over=middle) > p66).any(time=lead 1..3)", "format": "png"}
    refused = client.get("/v1/compare", params=no_number)
    assert (refused.status_code, refused.json()["code"]) == (406, "not_acceptable")
    assert "no one number behind" in refused.json()["text"]
    assert client.get("/v1/compare", params=both, headers={"Accept": "application/x-netcdf"}).status_code == 406
    assert client.get("/v1/compare", params={**both, "format": "netcdf"}).status_code == 422


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/v1/compare?q={WARM}", 422, "bad_request"),
        (f"/v1/compare?q={WARM}&with={MAP}", 422, "not_comparable"),
        (f"/v1/compare?q={WARM}&with={WARM} forecast 1850-01-01", 404, "unknown_forecast"),
        ("/v1/ask?q=prob temp.mean(over=middle).mean(time=lead 1) > 1 K", 422, "unknown_variable"),
        ("/v1/ask?q=prob sst.mean(over=middle).mean(time=lead 9) > 1 K", 422, "beyond_horizon"),
        ("/v1/ask?q=prob sst.mean(over", 422, "parse"),
        ("/v1/ask?q=" + "(" * 500, 422, "parse"),
        ("/v1/ask", 422, "bad_request"),
        (f"/v1/ask?q={WARM}&level=120", 422, "bad_request"),
        (f"/v1/ask?q={WARM}&forecast=1850-01-01", 422, "bad_request"),
        (f"/v1/ask?q={WARM} forecast 1850-01-01", 404, "unknown_forecast"),
        (f"/v1/ask?q={WARM}&format=covjson", 406, "not_acceptable"),
        ("/v1/nothing", 404, "not_found"),
        ("/docs", 404, "not_found"),
        ("/explorer/../../pyproject.toml", 404, "not_found"),
        ("/v1/ask?q=prob sst.mean(over=polygon(file:///etc/passwd)).mean(time=lead 1) > 1 K", 422, "parse"),
    ],
)
def test_refusals_are_problem_documents(client, path, status, code):
    reply = client.get(path)
    problem = reply.json()
    assert (reply.status_code, problem["code"], problem["status"]) == (status, code, status)
    assert reply.headers["content-type"] == "application/problem+json"
    assert problem["detail"]
    assert "Traceback" not in reply.text


def test_refusals_carry_what_would_do(client):
    problem = client.get("/v1/ask", params={"q": WARM.replace("middle", "midle")}).json()
    assert problem["did_you_mean"] == "middle"
    assert problem["text"].startswith("No region 'midle'. Did you mean middle?")
    problem = client.get("/v1/explain", params={"q": WARM, "as-of": "2026-01-01"}).json()
    assert (problem["did_you_mean"], problem["where"]) == ("as_of", "query.as-of")


def test_every_response_carries_the_security_headers_and_no_cors(client):
    for path in ("/", "/v1/catalog", "/v1/ask?q=x", "/nothing", "/healthz"):
        headers = client.get(path, headers={"Origin": "https://elsewhere.example"}).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert not [name for name in headers if name.startswith("access-control")]
    assert client.options("/v1/ask", headers={"Origin": "https://e.example"}).status_code == 405


def test_another_host_name_is_refused_on_the_loopback(client):
    assert client.get("/v1/catalog", headers={"Host": "rebound.example"}).json()["code"] == "forbidden"


def test_a_token_guards_data_and_not_the_page(workspace):
    with serving(workspace, token="secret") as address, httpx.Client(base_url=address, trust_env=False) as client:
        assert client.get("/").status_code == client.get("/healthz").status_code == 200
        refused = client.get("/v1/catalog")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        wrong = client.get("/v1/catalog", headers={"Authorization": "Bearer sécret".encode()})
        assert wrong.status_code == 401
        assert client.get("/v1/catalog", headers={"Authorization": "Bearer secret"}).status_code == 200


@pytest.mark.parametrize(("token", "shown", "status"), [("", "", 403), ("schlüssel", "Bearer schlüssel", 200)])
def test_an_empty_token_is_none_and_any_other_may_be_in_any_script(workspace, token, shown, status):
    with serving(workspace, token=token) as address, httpx.Client(base_url=address, trust_env=False) as client:
        headers = {"Host": "elsewhere.example", "Authorization": shown.encode()}
        assert client.get("/v1/catalog", headers=headers).status_code == status


def test_an_earlier_start_that_was_drawn_later_is_not_the_newest_forecast(tmp_path):
    workspace = build(tmp_path / "w", hindcast_months=())
    earlier = cftime.datetime(1955, 10, 1, calendar="noleap")
    write_ensemble(workspace, record(), [earlier], kind="forecast", leads=6, count=20, seed=9)
    with serving(workspace) as address, httpx.Client(base_url=address, trust_env=False) as client:
        origin = client.get("/v1/ask", params={"q": WARM}).json()["provenance"]
        assert (origin["forecast"], origin["supersedes"]) == ("fc-1960-10-01", "fc-1955-10-01")
        catalog = client.get("/v1/catalog").json()
        assert catalog["forecasts"] == ["fc-1955-10-01", "fc-1960-10-01"]
        assert catalog["lead"]["labels"][0] == "1960-10-01"


def test_too_much_is_refused(workspace):
    small = Limits(body=1000, cells=5, read=1000, seconds=0.0)
    with serving(workspace, limits=small) as address, httpx.Client(base_url=address, trust_env=False) as client:
        assert client.post("/v1/ask", content=b"x" * 2000).status_code == 413
        pieces = (b"x" * 300 for _ in range(10))
        assert client.post("/v1/ask", content=pieces).status_code == 413
        slow = client.get("/v1/explain", params={"q": WARM})
        assert (slow.status_code, slow.json()["code"]) == (503, "too_slow")
    with (
        serving(workspace, limits=Limits(cells=5)) as address,
        httpx.Client(base_url=address, trust_env=False) as client,
    ):
        reply = client.get("/v1/ask", params={"q": MAP, "format": "csv"})
        assert reply.json()["text"] == "60 values are more than the 5 of one response. Ask for less."
    with (
        serving(workspace, limits=Limits(read_job=1000)) as address,
        httpx.Client(base_url=address, trust_env=False) as client,
    ):
        reply = client.get("/v1/ask", params={"q": MAP})
        assert (reply.status_code, reply.json()["code"]) == (413, "too_big")
    with (
        serving(workspace, limits=Limits(waiting=0)) as address,
        httpx.Client(base_url=address, trust_env=False) as client,
    ):
        busy = client.get("/v1/catalog")
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "2")


def finished(client, reply):
    """The result of the job that a reply announces."""
    for _ in range(600):
        job = client.get(reply.headers["location"]).json()
        if job["state"] != "running":
            break
        threading.Event().wait(0.05)
    assert job == {**job, "state": "done", "progress": 1.0}
    return client.get(job["result"])


def test_a_map_too_large_to_wait_for_becomes_a_job(workspace):
    with (
        serving(workspace, limits=Limits(read=1000, read_rate=100)) as address,
        httpx.Client(base_url=address, trust_env=False) as client,
    ):
        reply = client.get("/v1/ask", params={"q": MAP})
        name = reply.headers["location"].rsplit("/", 1)[1]
        assert (reply.status_code, reply.json()["code"]) == (202, "too_big")
        told = re.fullmatch(rf"This map reads 0.0 GB: about (\d+) s\. Job {name} started\.", reply.json()["text"])
        assert told is not None
        assert 10 < int(told[1]) < 10_000  # more than 1000 bytes at 100 bytes a second
        assert finished(client, reply).json()["field"]["dims"] == ["latitude", "longitude"]
        refused = client.post("/v1/ask", json={"question": MAP})
        assert (refused.status_code, refused.json()["code"]) == (413, "too_big")
        answered, row = client.post("/v1/ask", json=[{"question": WARM}, {"question": MAP}]).json()
        assert (answered["schema"], row["problem"]["code"]) == ("answer/1", "too_big")
        assert client.get("/v1/jobs/nothing").json()["code"] == "unknown_job"


@pytest.mark.parametrize("error", [RuntimeError("/secret"), TercileError("/secret")])
def test_a_job_that_fails_is_in_the_log_and_names_no_folder(error, caplog):
    def work(progress):
        raise error

    jobs = Jobs()
    job = jobs.start("one", work)
    jobs._worker.shutdown()
    assert (job.state, job.text) == ("failed", "The service failed at this job; its log says why.")
    assert [(record.levelname, record.exc_info[1]) for record in caplog.records] == [("ERROR", error)]


def test_what_a_stopped_service_still_works_on_fails_in_silence(caplog):
    begun, stopped = threading.Event(), threading.Event()

    def work(progress):
        begun.set()
        stopped.wait(5)
        raise RuntimeError("cannot schedule new futures after shutdown")

    jobs = Jobs()
    job = jobs.start("one", work)
    begun.wait(5)
    jobs.close()
    stopped.set()
    jobs._worker.shutdown()
    assert (job.state, caplog.records) == ("failed", [])


def test_an_answer_is_another_once_the_next_forecast_is_overdue(workspace, monkeypatch):
    desk, settings = Desk(workspace, Limits()), {"as_of": None, "form": "json"}
    fresh = desk.tag(parse(WARM), **settings)
    assert desk.tag(parse(WARM), **settings) == fresh
    monkeypatch.setattr("pipeline.service.desk.overdue", lambda ensemble: "Newest forecast is 41 days old.")
    assert desk.tag(parse(WARM), **settings) != fresh


def test_what_another_version_worked_out_is_worked_out_again(workspace, monkeypatch):
    desk, settings = Desk(workspace, Limits()), {"as_of": None, "form": "json"}
    held = desk.tag(parse(WARM), **settings), desk.issued().snapshots
    _opened.cache_clear()
    monkeypatch.setattr("pipeline.answers.issued.version", lambda name: "99.0")
    assert desk.tag(parse(WARM), **settings) != held[0]
    assert desk.issued().snapshots == {**held[1], "software": "99.0"}
    _opened.cache_clear()


def test_the_skill_of_every_cell_is_a_job_and_that_of_the_cells_own_question(client, workspace):
    question = {"q": MAP.replace("> 0 K", "> 0.3 K"), "skill": "everywhere", "format": "covjson"}
    ranges = finished(client, client.get("/v1/ask", params=question)).json()["ranges"]
    own = ask(workspace, "prob sst.anom.mean(over=point(0, 196)).mean(time=lead 1) > 0.3 K").to_json()["skill"]
    found = {name: ranges[name]["values"][5] for name in ("skill", "skill_low", "skill_high")}
    assert found == pytest.approx({"skill": own["value"], "skill_low": own["low"], "skill_high": own["high"]}, abs=1e-5)
    assert ranges["skill_verdict"]["values"][5] == 1


def test_a_workspace_that_has_issued_nothing_says_so_without_its_folder(tmp_path):
    from pipeline.workspace import Workspace

    with serving(Workspace(tmp_path / "empty")) as address, httpx.Client(base_url=address, trust_env=False) as client:
        reply = client.get("/v1/catalog")
        assert reply.status_code == 503
        assert str(tmp_path) not in reply.text


def test_many_clients_at_once_get_the_same_answers(address):
    texts = [WARM.replace("0.5", f"0.{n}") for n in range(1, 9)]
    found = {}

    def work(text):
        with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
            found.setdefault(text, []).append(client.get("/v1/ask", params={"q": text}).json()["members"]["event"])

    threads = [threading.Thread(target=work, args=(text,)) for text in texts * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(answers) == 4 and len(set(answers)) == 1 for answers in found.values())
    assert sorted(answers[0] for answers in found.values())[0] <= 20


GRAMMAR = st.lists(
    st.sampled_from(
        "sst prob map of series dist value ( ) . , = > >= < mean any all over time run first each anom roll then "
        "within middle nino34 point(0,200) box(lat=-5..5,lon=190..210) polygon(0 190, 0 210, 5 200) lead 1..3 lead "
        "1960-10 DJF p66 p101 -p1 record 2 sigma 30 % K degC nan 1e309 and or not given scenario A vs B exceeded with "
        "10 return 20 years forecast 1960-10-01 🌡 \u0000 '".split(" ")
    ),
    max_size=40,
)


@given(words=GRAMMAR, glue=st.sampled_from([" ", ""]))
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_words_are_answered_or_refused(words, glue):
    text = glue.join(words)
    try:
        question = parse(text)
    except QuestionError:
        return
    assert parse(question_text(question)) == question


def test_random_sensible_questions_never_fail(client):
    asker = Asker(11)
    for _ in range(40):
        text = (
            question_text(Question(asker.question()))
            .replace("tas", "sst")
            .replace("pr.", "sst.")
            .replace("west", "middle")
        )
        reply = client.get("/v1/ask", params={"q": text})
        assert reply.status_code in (200, 422), reply.text


def test_the_service_keeps_to_its_openapi(address):
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    checks = (not_a_server_error, status_code_conformance, response_schema_conformance)

    for result in schema.get_all_operations():
        operation = result.ok()

        @given(case=operation.as_strategy())
        @settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def conform(case):
            case.call_and_validate(checks=checks)

        conform()
