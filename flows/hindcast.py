"""Hindcast: refit each model without each fold of the training record, and forecast what it has not seen."""

from distributed import Client
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.cluster import connect
from flows.draw import draw_ensemble, model_folder
from flows.experiment import Experiment
from flows.progress import Reporter
from flows.starts import starts_of
from flows.system import System
from flows.train import Fit, train_all
from models.card import has_card
from pipeline.workspace import Workspace


@flow(name="hindcast", validate_parameters=False)
def hindcast_flow(experiment: Experiment, workspace: Workspace, models: list[str], reporter: Reporter) -> None:
    """Refit and draw what is missing of each model's hindcasts."""
    with connect(experiment.cluster, on_progress=reporter.on_event) as client:
        refit_task(experiment, workspace, models, client, reporter)
        for model in models:
            hindcast_task(experiment, workspace, model, client, reporter)


def refit(experiment: Experiment, workspace: Workspace, models: list[str], client: Client, reporter: Reporter) -> None:
    """Fit each model once for each fold that has no card yet; the first failure ends the rest."""
    system = System(experiment, workspace)
    wanted: dict[Fit, None] = {}
    for model in models:
        starts = starts_of(system, model, "hindcast")
        for position, number in enumerate(starts.fold):
            if not has_card(model_folder(system, model, starts, position)):
                wanted[Fit(model, starts.folds[number])] = None
    # Networks take longest: they go first, so that no core waits for the last of them.
    order = sorted(wanted, key=lambda fit: experiment.models[fit.model].is_quick)
    for done, _ in enumerate(train_all(client, experiment, workspace, order, reporter), start=1):
        reporter.update("refits", done, len(order))


refit_task = task(name="refit out of fold", cache_policy=NO_CACHE)(refit)


def draw_hindcasts(
    experiment: Experiment, workspace: Workspace, model: str, client: Client, reporter: Reporter
) -> None:
    """Draw one model's hindcasts."""
    draw_ensemble(experiment, workspace, model, "hindcast", client, reporter)


hindcast_task = task(name="draw hindcasts", task_run_name="hindcast {model}", cache_policy=NO_CACHE)(draw_hindcasts)
