"""Deploy: the whole road on a schedule of a Prefect server. A firing without new inputs records just that."""

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.schedules import CronSchedule
from prefect.states import Completed

from flows.experiment import Experiment
from flows.experiment_file import load_experiment
from flows.progress import Reporter
from flows.run import run
from pipeline.errors import TercileError
from pipeline.workspace import Workspace

CRON = "write minute, hour, day, month and weekday, as in '0 6 1 * *', and a zone as in Europe/Paris."
"""How a schedule is written."""


@flow(name="tercile", flow_run_name="{name}", validate_parameters=False)
def scheduled_run(name: str, workspace: str, overrides: list[str]) -> Any:
    """Do what is not yet done of an experiment; the state says what that was."""
    experiment = load_experiment(name, overrides=overrides)
    done = run(experiment, Workspace(Path(workspace)), reporter=Reporter())
    text = f"{experiment.name}: did {', '.join(done)}" if done else f"{experiment.name}: no new inputs, nothing issued"
    create_markdown_artifact(markdown=text, key=f"{experiment.name}-run", description="What a scheduled run did")
    return Completed(message=text, name="Completed" if done else "NoNewInputs")


def serve(experiment: Experiment, name: str, workspace: Path, *, overrides: list[str], cron: str | None = None) -> None:
    """Register the schedule with the Prefect server and stay to run it, until stopped.

    Args:
        experiment: The experiment, already validated.
        name: Its name or absolute path, as the runs will load it.
        workspace: Where, an absolute path.
        overrides: Settings on top of the file.
        cron: Another schedule than the experiment's.

    Raises:
        TercileError: Neither the experiment nor the caller gives a schedule, or one that cannot be read.
    """
    timezone = experiment.schedule.timezone if experiment.schedule else "UTC"
    when = cron or (experiment.schedule.cron if experiment.schedule else None)
    if when is None:
        raise TercileError(f"{experiment.name} has no schedule. Add `schedule: {{cron: …}}` or give --cron.")
    from prefect.schedules import Cron

    try:
        CronSchedule(cron=when, timezone=timezone)
    except ValueError as error:
        raise TercileError(f"schedule: cron '{when}', timezone '{timezone}' cannot be read: {CRON}") from error
    scheduled_run.serve(
        name=experiment.name,
        schedule=Cron(when, timezone=timezone),
        parameters={"name": name, "workspace": str(workspace), "overrides": overrides},
        print_starting_message=True,
        limit=1,
    )
