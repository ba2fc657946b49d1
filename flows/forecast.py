"""Forecast: draw what is missing of each model's ensemble, and say which model issues."""

from distributed import Client
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.cluster import connect
from flows.draw import draw_ensemble
from flows.experience import beyond_experience
from flows.experiment import Experiment
from flows.progress import Reporter
from flows.system import System
from pipeline.products import publish_issue, publish_reference
from pipeline.workspace import Workspace


@flow(name="forecast", validate_parameters=False)
def forecast_flow(experiment: Experiment, workspace: Workspace, todo: list[str], reporter: Reporter) -> None:
    """Draw what is missing of each model's ensemble, and say which model issues."""
    models = [name for name in todo if name in experiment.models]
    if models:
        for found in beyond_experience(System(experiment, workspace)).values():
            reporter.say(f"  warning: {found['text']}")
        with connect(experiment.cluster, on_progress=reporter.on_event) as client:
            for model in models:
                forecast_task(experiment, workspace, model, client, reporter)
    publish_task(experiment, workspace)


def draw_forecasts(
    experiment: Experiment, workspace: Workspace, model: str, client: Client, reporter: Reporter
) -> None:
    """Draw one model's forecasts."""
    draw_ensemble(experiment, workspace, model, "forecast", client, reporter)


forecast_task = task(name="draw ensemble", task_run_name="draw {model}", cache_policy=NO_CACHE)(draw_forecasts)


def publish(experiment: Experiment, workspace: Workspace) -> None:
    """Store the reference climatology and the pointer to the model that issues."""
    system = System(experiment, workspace)
    publish_reference(workspace, system.reference(), group=experiment.reference.group, content=system.reference_hash)
    publish_issue(workspace, system.issue())


publish_task = task(name="publish", cache_policy=NO_CACHE)(publish)
