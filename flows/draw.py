"""Draw: the pieces that no commit holds, sampled where the workers are and committed as they come."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
from distributed import Client, as_completed

from flows.experiment import Experiment
from flows.lacking import lacking_sentences, lacking_values
from flows.progress import Reporter
from flows.starts import Starts, starts_of
from flows.system import System
from pipeline.ensemble_layout import Piece
from pipeline.ensemble_writer import EnsembleWriter, write_piece
from pipeline.ensembles import Kind
from pipeline.errors import TercileError
from pipeline.workspace import Workspace


def draw_ensemble(
    experiment: Experiment, workspace: Workspace, model: str, kind: Kind, client: Client, reporter: Reporter
) -> None:
    """Prepare one model's ensemble, draw its missing pieces on the cluster, commit each batch that is ready."""
    system = System(experiment, workspace)
    starts = starts_of(system, model, kind)
    writer = system.writer(model, starts)
    with writer.drawing(inputs_hash=system.inputs_hashes(starts, model), fold=starts.fold.tolist()) as base:
        pieces, rows = writer.missing(), writer.rows()
        if kind == "forecast" and pieces:
            drawn = starts.init_times[sorted({piece.init for piece in pieces})]
            _keep_what_is_missing(system, writer, starts.groups, drawn, reporter)
        total, done = len(pieces), 0
        reporter.update(model, 0, total)
        tasks = {
            client.submit(
                draw_piece, experiment, workspace, model, kind, piece, int(rows[piece.init]), base.fork(), pure=False
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


def _keep_what_is_missing(
    system: System, writer: EnsembleWriter, groups: Sequence[str], init_times: np.ndarray, reporter: Reporter
) -> None:
    """Say and store what the states that these forecasts begin from lack."""
    lacking = lacking_values(system, writer.model, groups, init_times)
    writer.keep_lacking(init_times, lacking_sentences(lacking, groups, init_times))
    for name, (counts, _) in lacking.items():
        if counts.any():
            reporter.say(
                f"  warning: {writer.model}: {np.count_nonzero(counts)} of {counts.size} starts lack values of {name} "
                f"that training had, up to {counts.max()} of them; there they begin from what is usual."
            )


def draw_piece(
    experiment: Experiment,
    workspace: Workspace,
    model: str,
    kind: Kind,
    piece: Piece,
    row: int,
    fork: icechunk.ForkSession,
) -> icechunk.ForkSession:
    """Draw one block of members and write it into the forked session; runs on a worker.

    Returns:
        The fork, which now knows the chunks that were written.
    """
    import torch

    from models.device import networks_on
    from models.steps import background_fields, context, to_fields

    torch.set_num_threads(experiment.cluster.torch_threads)
    system, starts, writer = _planned(experiment, workspace, model, kind)
    with networks_on(experiment.cluster.device):
        trained = _trained(model_folder(system, model, starts, piece.init))
    layout, history = writer.layout, trained.model.history
    group, init = starts.groups[piece.scenario], layout.init_times[piece.init]
    held, periods = system.start_fields(group, kind), system.periods(group)
    last = periods.until(init)
    if last < history:
        raise TercileError(
            f"{kind} from {init}: '{group}' holds {last} period(s) up to then, model '{model}' starts from {history}. "
            "Ask for later initial times."
        )
    held = held.isel(time=slice(max(0, last - max(2, history)), max(2, last)))  # two steps tell the cadence
    bounds = np.concatenate([periods.ends[max(0, last - history) : last], layout.valid_bounds[piece.init]])
    covariates = system.covariates(group, bounds)
    situation = context(held, trained.background, covariates=covariates, bounds=bounds, init=init, history=history)
    drawn = trained.model.sample(
        situation, leads=layout.leads, members=layout.members_of(piece), seed=experiment.forecast.seed
    )
    drawn = torch.where(trained.grid.mask, drawn, torch.nan)
    ahead = {"bounds": bounds[history:], "covariates": covariates[history:]}
    write_piece(
        fork.store,
        writer.path,
        piece,
        row,
        to_fields(drawn, trained.background, layout.template, **ahead),
        background=background_fields(trained.background, layout.template, **ahead),
        members=layout.members,
        forced=starts.is_forced,
    )
    return fork


def model_folder(system: System, model: str, starts: Starts, position: int) -> Path:
    """Where the model lies that an initial time is drawn from: its own, or the one of its fold."""
    fold = starts.fold_of(position)
    return system.model_folder(model) / "folds" / fold.name if fold else system.model_folder(model)


def _planned(
    experiment: Experiment, workspace: Workspace, model: str, kind: Kind
) -> tuple[System, Starts, EnsembleWriter]:
    return _remembered(experiment.model_dump_json(by_alias=True), workspace, model, kind, workspace.snapshot("archive"))


@lru_cache(maxsize=8)
def _remembered(
    experiment: str, workspace: Workspace, model: str, kind: Kind, snapshot: str
) -> tuple[System, Starts, EnsembleWriter]:
    system = System(Experiment.model_validate_json(experiment), workspace)
    starts = starts_of(system, model, kind)
    return system, starts, system.writer(model, starts)


@lru_cache(maxsize=16)
def _trained(folder: Path) -> Any:
    from models.trained import load_model

    return load_model(folder)
