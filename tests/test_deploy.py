"""The schedule, on a real Prefect server: it fires, issues what is new, and says when there was nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from pipeline.ensembles import open_ensemble
from pipeline.errors import TercileError
from pipeline.workspace import Workspace
from tests.command import tercile
from tests.conftest import experiment_text, monthly_record
from tests.serving import free_port

BIN = Path(sys.executable).parent
EVERY_FEW_SECONDS = "* * * * * */15"  # a sixth field counts seconds


def wait_for(found, *, seconds, processes=()):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for process in processes:
            assert process.poll() is None, "the process ended"
        try:
            result = found()
        except (httpx.HTTPError, TercileError):
            result = None
        if result:
            return result
        time.sleep(0.5)
    pytest.fail("waited in vain")


@pytest.fixture
def server(tmp_path):
    """A Prefect server of its own on the loopback, as an operator would start it."""
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_RUNNER_POLL_FREQUENCY": "2",
        "PREFECT_API_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
        "DO_NOT_TRACK": "1",
    }
    command = [BIN / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    client = httpx.Client(base_url=environment["PREFECT_API_URL"])
    try:
        wait_for(lambda: client.get("/health").status_code == 200, seconds=90, processes=[process])
        yield environment, client
    finally:
        os.killpg(process.pid, signal.SIGKILL)


def flow_runs(client):
    wanted = {"sort": "EXPECTED_START_TIME_ASC", "flows": {"name": {"any_": ["tercile"]}}}
    return client.post("/flow_runs/filter", json=wanted).json()


def test_the_schedule_fires_issues_what_is_new_and_records_when_nothing_is(tmp_path, server):
    environment, client = server
    whole = monthly_record()
    whole.isel(time=slice(0, 141)).to_netcdf(tmp_path / "record.nc")
    (tmp_path / "small.yaml").write_text(
        experiment_text(
            tmp_path / "record.nc",
            split={"train": [1990, 1997], "validate": [1998, 1998], "test": [1999, 2000]},
            forecast={"model": "persistence", "leads": 3, "members": 6, "block": 6},
            hindcast={"models": []},
            events={},
        )
    )
    command = [BIN / "tercile", "deploy", "small.yaml", "-w", "ws", "--cron", EVERY_FEW_SECONDS]
    with (tmp_path / "deploy.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    workspace = Workspace(tmp_path / "ws")

    def issued():
        ensemble = open_ensemble(workspace, model="persistence")
        return [
            str(time)[:10]
            for time, done in zip(ensemble["init_time"].values, ensemble["done"].values, strict=True)
            if done.all()
        ]

    def named(state):
        return [run for run in flow_runs(client) if run["state_name"] == state]

    try:
        wait_for(lambda: issued() == ["2001-10-01"], seconds=180, processes=[process])
        wait_for(lambda: named("NoNewInputs"), seconds=120, processes=[process])
        (tmp_path / "record.nc").unlink()
        whole.isel(time=slice(0, 142)).to_netcdf(tmp_path / "record.nc")
        wait_for(lambda: issued() == ["2001-10-01", "2001-11-01"], seconds=180, processes=[process])
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    state = named("NoNewInputs")[0]["state"]
    assert state["type"] == "COMPLETED"
    assert state["message"] == "small: no new inputs, nothing issued"


def test_without_a_server_it_says_what_to_do(tmp_path, experiment_file):
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    done = subprocess.run(
        [BIN / "tercile", "deploy", experiment_file],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == 2
    assert "prefect server start" in done.stderr


def test_a_schedule_that_cannot_be_read_is_refused_in_words(tmp_path, experiment_file):
    nowhere = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    done = tercile("deploy", experiment_file, "--cron", "at dawn", cwd=tmp_path, **nowhere)
    assert done.returncode == 2
    assert "error: schedule: cron 'at dawn', timezone 'UTC' cannot be read: write minute, hour" in done.stderr
    assert "Traceback" not in done.stderr
