"""Run: do everything of an experiment that is not yet done, stage by stage."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from flows.experiment import Experiment
from flows.interrupts import deaf_children, end_with_us
from flows.plan import STAGES
from flows.progress import Reporter
from pipeline.errors import TercileError
from pipeline.pinned import pinned_archive
from pipeline.workspace import Workspace, write_whole


def run(
    experiment: Experiment, workspace: Workspace, *, reporter: Reporter, stages: Sequence[str] = tuple(STAGES)
) -> list[str]:
    """Do the stages that have something to do; each is planned from the stores just before it would run.

    Args:
        experiment: What to do.
        workspace: Where; claimed for this experiment if it is nobody's yet.
        reporter: Hears of progress.
        stages: Which stages, in order; all of them by default.

    Returns:
        Names of the stages that did something.

    Raises:
        TercileError: Input, experiment or workspace is not as it must be; what was committed before stays.
    """
    workspace.claim(identity(experiment))
    done = []
    for stage in stages:
        # All of a stage, its workers too, sees the archive as it was planned on, whatever another run ingests.
        at = workspace if stage == "ingest" else pinned_archive(workspace, as_of=experiment.as_of)
        todo = STAGES[stage](experiment, at)
        if not todo:
            continue
        quiet_prefect()
        start_server()
        with reporter.stage(stage, ", ".join(todo)), without_heartbeat():
            import_module(f"flows.{stage}").__dict__[f"{stage}_flow"](experiment, at, todo, reporter)
        done.append(stage)
    write_whole(
        workspace.root / "experiment.json", json.dumps(experiment.model_dump(mode="json", by_alias=True), indent=2)
    )
    return done


def identity(experiment: Experiment) -> dict[str, object]:
    """What makes two runs the same system: runs that differ here may not share a workspace."""
    config = experiment.forecast
    return {
        "experiment": experiment.name,
        "variables": list(experiment.variables),
        "scenarios": config.scenarios,
        "leads": config.leads,
        "members": config.members,
        "block": config.block,
    }


def quiet_prefect() -> None:
    """Settings of Prefect that a run needs unless its user set others: no analytics, no chatter."""
    for name, value in PREFECT_SETTINGS.items():
        os.environ.setdefault(name, value)


def start_server() -> None:
    """Start a Prefect server for this run, which ends with it, unless one is set or runs already.

    Raises:
        TercileError: It does not start; without a folder to keep its records in it would not, and say so in minutes.
    """
    if not os.environ.get("PREFECT_API_URL"):
        _check_home(Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect"))
    from prefect.client.orchestration import get_client

    with deaf_children():
        try:
            get_client(sync_client=True)
        except RuntimeError as error:
            raise TercileError(
                f"Prefect's server for this run did not start: {error} The machine may be busy: run the same command "
                "again, or give it more seconds by PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS."
            ) from error
        module = sys.modules.get("prefect.server.api.server")  # slow to load, and loaded where there is an own server
        own = module and module.SubprocessASGIServer().server_process
        if own:
            end_with_us(own.pid)


def _check_home(folder: Path) -> None:
    reason = "Prefect keeps its records there; set PREFECT_HOME to a folder that can be written."
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TercileError(f"{folder}: {error.strerror}. {reason}") from error
    if not os.access(folder, os.W_OK):
        raise TercileError(f"{folder}: cannot be written. {reason}")


@contextmanager
def without_heartbeat() -> Iterator[None]:
    """Flow runs end when they are done: each would wait for up to a second for its heartbeat, which nobody hears.

    A scheduled run keeps its own, around the flow runs of its stages.
    """
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


PREFECT_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}
