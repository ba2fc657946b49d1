"""Forecast: draw the pieces that no commit holds, where the workers are, and commit them as they come."""

from functools import lru_cache
from typing import Any

import icechunk
import numpy as np
from distributed import Client, as_completed
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.cluster import connect
from flows.experiment import Experiment
from flows.progress import Reporter
from flows.system import System
from pipeline.ensembles import EnsembleWriter, Piece, write_piece
from pipeline.periods import dates
from pipeline.products import publish_issue, publish_reference
from pipeline.workspace import Workspace


@flow(name="forecast", validate_parameters=False)
def forecast_flow(experiment: Experiment, workspace: Workspace, todo: list[str], reporter: Reporter) -> None:
    """Draw what is missing of each model's ensemble, and say which model issues."""
    models = [name for name in todo if name in experiment.models]
    if models:
        with connect(experiment.cluster, on_progress=reporter.on_event) as client:
            for model in models:
                forecast_task(experiment, workspace, model, client, reporter)
    publish_task(experiment, workspace)


def draw_ensemble(experiment: Experiment, workspace: Workspace, model: str, client: Client, reporter: Reporter) -> None:
    """Prepare one model's ensemble, draw its missing pieces on the cluster, commit each batch that is ready."""
    system = System(experiment, workspace)
    writer = system.writer(model)
    starts, history = writer.layout.init_times, system.history(model)
    writer.prepare(inputs_hash=[system.inputs_hash(init, history=history) for init in starts], fold=[-1] * len(starts))
    pieces, rows = writer.missing(), writer.rows()
    total, done = len(pieces), 0
    reporter.update(model, 0, total)
    with writer.drawing() as base:
        tasks = {
            client.submit(
                draw_piece, experiment, workspace, model, piece, int(rows[piece.init]), base.fork(), pure=False
            ): piece
            for piece in pieces
        }
        try:
            for batch in as_completed(tasks, loop=client.loop, with_results=True).batches():
                writer.commit([fork for _, fork in batch], [int(rows[tasks[future].init]) for future, _ in batch])
                done += len(batch)
                reporter.update(model, done, total)
        finally:
            client.cancel(list(tasks), force=True)


forecast_task = task(name="draw ensemble", task_run_name="draw {model}", cache_policy=NO_CACHE)(draw_ensemble)


def publish(experiment: Experiment, workspace: Workspace) -> None:
    """Store the reference climatology and the pointer to the model that issues."""
    system = System(experiment, workspace)
    publish_reference(workspace, system.reference(), group=experiment.reference.group, content=system.reference_hash)
    publish_issue(workspace, system.issue())


publish_task = task(name="publish", cache_policy=NO_CACHE)(publish)


def draw_piece(
    experiment: Experiment, workspace: Workspace, model: str, piece: Piece, row: int, fork: icechunk.ForkSession
) -> icechunk.ForkSession:
    """Draw one block of members and write it into the forked session; runs on a worker.

    Returns:
        The fork, which now knows the chunks that were written.
    """
    import torch

    from models.steps import context, to_fields

    torch.set_num_threads(experiment.cluster.torch_threads)
    system, trained, writer = _loaded(experiment, workspace, model)
    layout, history = writer.layout, trained.model.history
    group = layout.scenarios[piece.scenario] if layout.scenarios else experiment.lead_group
    init = layout.init_times[piece.init]
    held = _realization(system.fields(group))
    ends = dates(held["time_bnds"])
    past = ends[np.searchsorted(ends[:, 1], init, side="right") - history :][:history] if history else ends[:0]
    bounds = np.concatenate([past, layout.valid_bounds[piece.init]])
    covariates = system.covariates(group, bounds)
    situation = context(held, trained.background, covariates=covariates, bounds=bounds, init=init, history=history)
    drawn = trained.model.sample(
        situation, leads=layout.leads, members=layout.members_of(piece), seed=experiment.forecast.seed
    )
    mask = trained.grid.mask
    drawn = torch.where(mask, drawn, torch.nan)
    fields = to_fields(
        drawn, trained.background, layout.template, bounds=bounds[history:], covariates=covariates[history:]
    )
    write_piece(
        fork.store, writer.path, piece, row, fields, members=layout.members, forced=layout.scenarios is not None
    )
    return fork


@lru_cache(maxsize=8)
def _remembered(
    experiment: str, workspace: Workspace, model: str, fingerprint: str
) -> tuple[System, Any, EnsembleWriter]:
    from models.cards import load_model

    system = System(Experiment.model_validate_json(experiment), workspace)
    return system, load_model(system.model_folder(model)), system.writer(model)


def _loaded(experiment: Experiment, workspace: Workspace, model: str) -> tuple[System, Any, EnsembleWriter]:
    snapshot = workspace.snapshot("archive")
    return _remembered(experiment.model_dump_json(by_alias=True), workspace, model, snapshot)


def _realization(fields: Any) -> Any:
    return fields.isel(realization=0, drop=True) if "realization" in fields.dims else fields
