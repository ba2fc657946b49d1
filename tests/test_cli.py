"""The command line as its user meets it: real processes, real exit codes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import typer
from pydantic import BaseModel, model_serializer

from flows.cli import _clear_errors
from flows.progress import Reporter
from pipeline.ensembles import open_ensemble
from pipeline.workspace import Workspace
from tests.command import TERCILE, tercile
from tests.conftest import experiment_text, monthly_record


def seconds(command):
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        best = min(best, time.perf_counter() - start)
    return best


def test_help_answers_within_a_second_and_teaches():
    assert seconds([TERCILE, "--help"]) < 1
    shown = tercile("--help").stdout
    for command in ("run", "ingest", "train", "forecast", "verify", "report", "ask", "deploy", "doctor", "schema"):
        assert command in shown
    assert "tercile run north-america" in shown


def test_what_an_older_encoding_lacks_is_spelt_out():
    shown = tercile("--help", PYTHONIOENCODING="ascii")
    assert (shown.returncode, "\\xb7 1 failed" in shown.stdout) == (0, True), shown.stderr


def test_an_interrupt_that_pydantic_meets_stops_in_words(capsys):
    class Slow(BaseModel):
        @model_serializer
        def written(self):
            raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as stopped, _clear_errors():
        Slow().model_dump()
    assert (stopped.value.exit_code, "stopped; what was" in capsys.readouterr().err) == (130, True)


def test_a_terminal_without_a_cursor_gets_plain_lines(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    reporter = Reporter()
    with reporter.stage("train"):
        reporter.update("linear", 1, 2)
    assert re.sub(r"in [\d.]+ s", "soon", capsys.readouterr().err) == "train\n  linear: 1/2\ntrain: done soon\n"


def test_import_of_pipeline_is_quick_and_light():
    assert seconds([sys.executable, "-c", "import pipeline"]) < 2
    code = "import pipeline, flows.plan, flows.run, sys; print([m for m in ('torch', 'prefect') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_schema_is_json_and_experiments_are_listed():
    assert "forecast" in json.loads(tercile("schema").stdout)["properties"]
    assert "north-america" in tercile("experiments").stdout


def test_doctor_names_what_is_installed():
    found = json.loads(tercile("doctor", "--json").stdout)
    assert found["torch"].startswith("2.")


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (("run", "north-amerika"), "Did you mean 'north-america'", 2),
        (("run", "north-america", "--set", "forcast.members=5"), "Did you mean 'forecast'", 2),
        (("ask", "prob tas > 1 K"), "which workspace", 2),
        (("archive", "-w", "nowhere"), "nowhere has no archive yet", 3),
        (("verify", "--compare", "nowhere", "elsewhere"), "evidence.nc is not there", 3),
        (("ask", "--batch", "nofile.yaml"), "file 'nofile.yaml' does not exist", 2),
        (("run", sys.executable), "not text in UTF-8", 2),
        (("run", "north-america", "-w", "/proc/nowhere"), "error: /proc/nowhere: No such file or directory.", 1),
    ],
)
def test_a_wrong_call_gets_one_clear_message(tmp_path, words, message, code):
    done = tercile(*words, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_run_says_what_it_does_and_where_the_report_is(small):
    folder, done = small
    for stage in ("ingest", "train", "forecast", "verify", "report"):
        assert re.search(rf"{stage}: done in [\d.]+ s", done.stderr)
    assert "report: workspaces/small/reports/index.html" in done.stderr
    assert (folder / "workspaces/small/reports/index.html").exists()


def test_a_second_run_takes_less_than_ten_seconds(small):
    """Of processor time, its own processes' too: other tests run beside this one."""
    before = os.times()
    done = tercile("run", "small.yaml", cwd=small[0])
    after = os.times()
    assert "nothing to do" in done.stderr
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert 1 < spent < 10


def test_one_stage_speaks_for_itself_alone(small, server):
    done = tercile("ingest", "small.yaml", cwd=small[0], **server)
    assert done.stderr.strip() == "small: nothing to ingest"


def test_archive_takes_an_experiment_by_its_file_too(small):
    shown = tercile("archive", "small.yaml", cwd=small[0]).stdout
    assert "sst" in shown
    assert shown == tercile("archive", "small", cwd=small[0]).stdout


def test_ask_answers_from_the_store(small):
    question = "prob sst.mean(over=box(lat=-5..5, lon=205..225)).mean(time=lead 1) > 280 K"
    done = tercile("ask", question, cwd=small[0])
    assert done.returncode == 0
    assert "members" in done.stdout.lower()
    answer = json.loads(tercile("ask", question, "--json", cwd=small[0]).stdout)
    assert answer["schema"] == "answer/1"
    assert "area mean" in tercile("ask", question, "--explain", cwd=small[0]).stdout.lower()


def test_a_bad_question_is_refused_with_code_two(small):
    for question, message in (
        ("prob tas.mean(over=point(0, -145)).mean(time=lead 1) > 280 K", "No variable 'tas'"),
        ("prob sst.mean(time=lead 1) > 280 K", "still varies in space"),
    ):
        done = tercile("ask", question, cwd=small[0])
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data.assign(sst=data["sst"].drop_attrs()), "gives no units"),
        (lambda data: data.assign(sst=data["sst"].assign_attrs(units="bananas")), "cannot convert 'bananas'"),
        (lambda data: data.where(data["time"] != data["time"][7]), "[no_empty_fields]"),
        (lambda data: data.isel(time=[0, 1, 2, 1, 4, 5]), "does not come after"),
    ],
)
def test_bad_input_stops_at_the_gate(tmp_path, server, spoil, message):
    spoil(monthly_record()).to_netcdf(tmp_path / "record.nc")
    (tmp_path / "small.yaml").write_text(experiment_text(tmp_path / "record.nc"))
    done = tercile("run", "small.yaml", cwd=tmp_path, **server)
    assert done.returncode == 4, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert Workspace(tmp_path / "workspaces/small").groups("archive") == []


def test_a_record_that_is_too_short_for_a_model_is_said_in_words(tmp_path, server):
    monthly_record().to_netcdf(tmp_path / "record.nc")
    short = {"split": {"train": [1990, 1990], "validate": [1991, 1991], "test": [1999, 2001]}}
    (tmp_path / "small.yaml").write_text(experiment_text(tmp_path / "record.nc", **short))
    done = tercile("run", "small.yaml", cwd=tmp_path, **server)
    assert re.search("error: model '(climatology|persistence)': the training mask holds 24 steps", done.stderr)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_missing_file_and_a_wrong_variable_are_named(tmp_path, server):
    (tmp_path / "small.yaml").write_text(experiment_text("nowhere.nc"))
    done = tercile("run", "small.yaml", cwd=tmp_path, **server)
    assert (done.returncode, "no file matches 'nowhere.nc'" in done.stderr) == (4, True)
    monthly_record().to_netcdf(tmp_path / "record.nc")
    (tmp_path / "small.yaml").write_text(experiment_text(tmp_path / "record.nc"))
    done = tercile("run", "small.yaml", "--set", "sources.obs.spelling={sst: stt}", cwd=tmp_path, **server)
    assert (done.returncode, "no 'stt' in the source. Did you mean 'sst'" in done.stderr) == (4, True)


def stopped(words, blow, *, when, cwd, environment, pause=1.0):
    """Exit code of a run that gets a signal some seconds after a line, and what it still said.

    All its processes get it, but for SIGTERM, which is sent to the run alone; none of them may hold the pipe for long.
    """
    # A shell starts what it runs in the background deaf to Ctrl-C, and a test run may be that.
    hearing = ["env", "--default-signal=INT", TERCILE, *words]
    setting = {**os.environ, **environment}
    process = subprocess.Popen(hearing, cwd=cwd, env=setting, stderr=subprocess.PIPE, text=True, start_new_session=True)
    for line in process.stderr:
        if when in line:
            break
    time.sleep(pause)
    (os.kill if blow is signal.SIGTERM else os.killpg)(process.pid, blow)
    try:
        _, rest = process.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, rest


def test_a_run_that_is_stopped_and_then_killed_goes_on_where_it_was(small, server, tmp_path):
    folder = tmp_path / "stopped"
    shutil.copytree(small[0], folder)
    often = "forecast.init_times={first: 1999-02-01, last: 2001-09-01, every: 1}"
    words = ["run", "small.yaml", "--set", often]
    own = {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": ""}
    apart = [*words, "--set", "cluster.kind=processes"]

    def drawn():
        return open_ensemble(Workspace(folder / "workspaces/small"), model="persistence")

    for blow, when in ((signal.SIGINT, "climatology: 0/"), (signal.SIGTERM, "forecast: ")):
        code, rest = stopped(apart, blow, when=when, cwd=folder, environment=own)
        assert code == 130, rest
        assert "Run the same command again" in rest
        assert "Traceback" not in rest
    code, rest = stopped(words, signal.SIGKILL, when="persistence: 0/", cwd=folder, environment=server, pause=0.2)
    assert code == -9, rest
    assert not drawn()["done"].values.all()
    again = tercile("forecast", *words[1:], cwd=folder, **server)
    assert again.returncode == 0, again.stderr
    assert drawn()["done"].values.all()
    assert int(drawn()["sst"].isnull().sum()) == 32 * 3 * 6  # the one cell of land


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PREFECT_HOME": "small.yaml/prefect"}, "small.yaml/prefect: Not a directory. Prefect keeps"),
        ({"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "0"}, "Prefect's server for this run did not start"),
    ],
)
def test_a_server_that_cannot_start_is_a_sentence(small, tmp_path, environment, said):
    own = {"PREFECT_HOME": str(tmp_path / "new" / "prefect"), "PREFECT_API_URL": "", **environment}
    refused = tercile("run", "small.yaml", "--workspace", tmp_path / "ws", cwd=small[0], **own)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_what_a_killed_run_had_started_for_itself_ends_with_it():
    code = "\n".join(
        (
            "import subprocess, time",
            "from flows.interrupts import end_with_us",
            "own = subprocess.Popen(['sleep', '100'])",
            "end_with_us(own.pid)",
            "print('started', flush=True)",
            "time.sleep(100)",
        )
    )
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "started\n"
    run.kill()
    run.communicate(timeout=20)  # its output ends when ``sleep``, which has it too, ends


def test_a_machine_that_sleeps_wakes_to_the_same_run(small, server, tmp_path):
    shutil.copytree(small[0], tmp_path / "asleep")
    often = "forecast.init_times={first: 1999-02-01, last: 2001-09-01, every: 1}"
    soon = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "1s"}  # five seconds, which is the least
    process = subprocess.Popen(
        [TERCILE, "forecast", "small.yaml", "--set", often],
        cwd=tmp_path / "asleep",
        env={**os.environ, **server, **soon},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stderr:
        if "climatology: 0/" in line:
            break
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(7)
    os.killpg(process.pid, signal.SIGCONT)
    try:
        _, rest = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, rest


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False
    ).returncode:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_said_plainly_and_the_run_goes_on_later(small_disk, tmp_path, server):
    (small_disk / "ballast").write_bytes(bytes(900_000))
    monthly_record().to_netcdf(tmp_path / "record.nc")
    (tmp_path / "small.yaml").write_text(experiment_text(tmp_path / "record.nc"))
    words = ("run", "small.yaml", "-w", small_disk / "ws", "--set", "events={}", "--set", "hindcast={models: []}")
    done = tercile(*words, cwd=tmp_path, **server)
    assert done.returncode == 1
    assert "the disk is full. Free some space" in done.stderr
    assert "Traceback" not in done.stderr
    (small_disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    assert tercile(*words, cwd=tmp_path, **server).returncode == 0


def test_the_wheel_installs_and_runs_outside_the_checkout(tmp_path):
    """With the data, the experiments and the page's template that it needs."""
    root = Path(__file__).parent.parent
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, root]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("tercile-*.whl")
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel]
    subprocess.run(install, check=True, capture_output=True)
    code = "\n".join(
        (
            "import sys; sys.path.insert(0, sys.argv[1])",
            "import flows, pipeline.reporting.report, pipeline.places.coastline as c, pipeline.places.regions as r",
            "from flows.experiment_file import load_experiment",
            "assert flows.__file__.startswith(sys.argv[1]), flows.__file__",
            "found = len(c.coastline(west=-180, east=180)) > 9, len(r.country_names()) > 99",
            "print(load_experiment('north-america').title, *found)",
        )
    )
    shown = subprocess.run(
        [sys.executable, "-I", "-c", code, target], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert shown.stdout.strip() == "North American temperature under A1B and E1 True True", shown.stderr
