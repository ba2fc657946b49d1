"""Train: fit the background and each model on the training years, as tasks of the cluster."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from distributed import Client, Future, as_completed
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.cluster import connect, report
from flows.experiment import Experiment
from flows.progress import Reporter
from flows.ranks import Teams, use_the_clusters_network
from flows.starts import Fold
from flows.system import System
from pipeline.errors import TercileError
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from models.distributed import Rank


@dataclass(frozen=True)
class Fit:
    """A model that is to be fitted.

    Attributes:
        model: Its name.
        fold: Years that the fit must not see, for hindcasts.
    """

    model: str
    fold: Fold | None = None

    def __str__(self) -> str:
        return self.model if self.fold is None else f"{self.model} {self.fold.name}"


@flow(name="train", validate_parameters=False)
def train_flow(experiment: Experiment, workspace: Workspace, models: list[str], reporter: Reporter) -> None:
    """Train what has no card yet."""
    train_task(experiment, workspace, models, reporter)


def train_models(experiment: Experiment, workspace: Workspace, models: list[str], reporter: Reporter) -> None:
    """Submit one task for each model, and wait; the first failure ends the rest."""
    with connect(experiment.cluster, on_progress=reporter.on_event) as client:
        for fit, card in train_all(client, experiment, workspace, [Fit(name) for name in models], reporter):
            reporter.say(f"  {fit.model}: {card['seconds']:.1f} s, fingerprint {card['fingerprint']}")


train_task = task(name="train models", cache_policy=NO_CACHE)(train_models)


def train_all(
    client: Client, experiment: Experiment, workspace: Workspace, fits: Sequence[Fit], reporter: Reporter
) -> Iterator[tuple[Fit, dict[str, Any]]]:
    """Fit models on the cluster, and yield each with its card's head as it ends; the first failure ends the rest.

    Each is a task. Where the cluster trains networks by several ranks, these come last, each on a team of workers.
    """
    teams = experiment.cluster.ranks > 1
    by_teams = [fit for fit in fits if teams and not experiment.models[fit.model].is_quick]
    futures = {
        client.submit(train_model, experiment, workspace, fit, pure=False, retries=0): fit
        for fit in fits
        if fit not in by_teams
    }
    try:
        for future in as_completed(futures, loop=client.loop):
            yield futures[future], future.result()
    finally:
        client.cancel(list(futures), force=True)

    def submit(fit: Fit, rank: "Rank", worker: str) -> Future:
        return client.submit(train_model, experiment, workspace, fit, rank, workers=[worker], pure=False, retries=0)

    yield from Teams(client, experiment.cluster.ranks, say=reporter.say).run(by_teams, submit)


def train_model(experiment: Experiment, workspace: Workspace, fit: Fit, rank: "Rank | None" = None) -> dict[str, Any]:
    """Fit one model with its background and write it with its card; runs on a worker.

    Args:
        experiment: What the model is for.
        workspace: Where its data are, and where it goes.
        fit: Which model.
        rank: Which of the ranks this is, where several train it; the first one writes.

    Returns:
        The card's head: name, fingerprint and seconds.

    Raises:
        TercileError: No fit can use these data, or the training diverges; it says why.
    """
    import torch

    from models.device import networks_on
    from models.distributed import Rank, joined
    from models.settle import fit_settled
    from models.steps import training_data
    from models.trained import save_model

    torch.set_num_threads(experiment.cluster.torch_threads)
    if rank is not None:
        use_the_clusters_network()
    rank, name, fold = rank or Rank(), fit.model, fit.fold
    start, system, config = time.monotonic(), System(experiment, workspace), experiment.models[name]
    folder = system.model_folder(name) if fold is None else system.model_folder(name) / "folds" / fold.name
    refits = config.refits and bool(experiment.split.validate_)
    background, stretches = fit_system_background(system, fold, stops_early=not config.is_quick and not refits)
    data = training_data(stretches, background)
    how: dict[str, Any] = {
        "seed": experiment.seed,
        "progress": _progress(str(fit)),
        "checkpoint": folder / "checkpoints",
    }
    try:
        with networks_on(experiment.cluster.device), joined(rank):
            if not refits:
                fitted = config.build(data, **how)
            elif fold is not None:
                notes = system.card(name)["notes"]["early_stopping"]
                fitted = config.settled(notes, share=fold.share_seen(system)).build(data, **how)
            else:
                early, parts = fit_system_background(system, fold, stops_early=True)
                fitted = fit_settled(config, training_data(parts, early), data, **how)
    except (ValueError, FloatingPointError) as error:
        hint = "" if fold is None else ". More `folds` or a shorter `gap` under `hindcast` leave a fold more years"
        raise TercileError(f"model '{fit}': {error}{hint}") from error
    head = {"name": name, "fingerprint": system.fingerprint(name), "seconds": round(time.monotonic() - start, 2)}
    if rank.is_first:
        card = {**head, **card_of(system), "ranks": rank.count, "left_out": fold and fold.name}
        save_model(folder, fitted, config, background=background, grid=data.grid, card=card)
    return head


def fit_system_background(system: System, fold: Fold | None, *, stops_early: bool) -> tuple[Any, list[Any]]:
    """The background, and the stretches of the archive that models are fitted on.

    A fit that stops early on the validation years has a background of the training years alone; to all others the
    validation years are training years.
    """
    from models.steps import Stretch
    from pipeline.background import Sample, fit_background

    split, stretches, samples = system.experiment.split, [], []
    for group in dict.fromkeys(span.group for span in split.train):
        spans = [span for span in split.train if span.group == group]
        fields, covariates = system.fields(group, spans[0].realizations).load(), system.fit_covariates(group)
        seen = ~fold.unseen(system, group) if fold else np.ones(fields.sizes["time"], dtype=bool)
        train, validate = system.mask(group, spans) & seen, system.mask(group, split.validate_) & seen
        if not stops_early:
            train, validate = train | validate, np.zeros_like(validate)
        stretches.append(Stretch(Sample(fields, np.nan_to_num(covariates)), train, validate))
        samples.append(Sample(fields.isel(time=np.flatnonzero(train)), covariates[train]))
    transforms = {name: variable.transform for name, variable in system.experiment.described().items()}
    return fit_background(samples, system.experiment.background, transforms=transforms), stretches


def card_of(system: System) -> dict[str, Any]:
    """What every card says beside the model: experiment, split, data and software."""
    experiment = system.experiment
    return {
        "experiment": experiment.name,
        "split": experiment.split.model_dump(mode="json", by_alias=True),
        "background": experiment.background.model_dump(mode="json"),
        "variables": list(experiment.variables),
        "block": experiment.forecast.block,
        "torch_threads": experiment.cluster.torch_threads,
        "device": experiment.cluster.device,
        "archive_snapshot": system.workspace.snapshot("archive"),
        "software": {name: version(name) for name in ("tercile", "torch", "diffusers")},
        "seed": experiment.seed,
    }


def _progress(name: str) -> Any:
    def tell(step: int, total: int, facts: Mapping[str, float]) -> None:
        report({"task": name, "done": step, "total": total, "facts": dict(facts)})

    return tell
