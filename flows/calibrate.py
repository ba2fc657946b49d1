"""Calibrate: learn from each model's hindcasts how its members must be changed, and store that as a product."""

import numpy as np
import xarray as xr
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.experiment import Experiment
from flows.progress import Reporter
from flows.starts import Starts, hindcast_group, starts_of
from flows.system import System
from pipeline.calibration import VERSION, fit_calibration, summarise
from pipeline.ensembles import open_background, open_ensemble
from pipeline.grid import area_weights
from pipeline.judging.matching import at_valid_times
from pipeline.member_by_member import season_numbers
from pipeline.periods import seconds
from pipeline.products import publish_calibration
from pipeline.workspace import Workspace


@flow(name="calibrate", validate_parameters=False)
def calibrate_flow(experiment: Experiment, workspace: Workspace, models: list[str], reporter: Reporter) -> None:
    """Learn the calibration of each model whose hindcasts, or their truth, are new."""
    for done, model in enumerate(models, start=1):
        calibrate_task(experiment, workspace, model)
        reporter.update("models", done, len(models))


def learn(experiment: Experiment, workspace: Workspace, model: str) -> None:
    """Learn one model's calibration and store it."""
    system = System(experiment, workspace)
    starts, fingerprint = starts_of(system, model, "hindcast"), system.fingerprint(model)
    hindcasts = open_ensemble(workspace, model=model, kind="hindcast", fingerprint=fingerprint, with_dask=False)
    backgrounds = open_background(workspace, model=model, kind="hindcast", fingerprint=fingerprint, with_dask=False)
    rows = np.searchsorted(seconds(hindcasts["init_time"]), seconds(xr.DataArray(starts.init_times)))
    members, found, summaries = hindcasts.isel(init_time=rows), {}, {}
    seen = float(np.mean([fold.share_seen(system) for fold in starts.folds]))
    for name, variable in experiment.described().items():
        expected, deviation = (part[name].isel(init_time=rows) for part in backgrounds)
        truth = hindcast_truth(system, starts, name, members)
        cases = summarise(members[name], expected, deviation, truth, transform=variable.transform)
        learnt = fit_calibration(
            cases.assign_coords(lead_time=members["lead_time"]),
            weights=area_weights(members),
            fold=members["fold"].values,
            season=season_numbers(members),
            members=members.sizes["member"],
            pool_leads=starts.is_forced,
            seen=seen,
        )
        found[name] = learnt.coefficients.assign_attrs(transform=variable.transform)
        summaries[name] = learnt.summary
    about = {
        "content": system.calibration_hash(starts, model),
        "version": VERSION,
        "members": experiment.forecast.members,
        "hindcasts": len(rows),
        "folds": [fold.name for fold in starts.folds],
        "learnt": summaries,
    }
    publish_calibration(workspace, xr.Dataset(found), model=model, fingerprint=fingerprint, about=about)


calibrate_task = task(name="calibrate", task_run_name="calibrate {model}", cache_policy=NO_CACHE)(learn)


def hindcast_truth(system: System, starts: Starts, name: str, hindcasts: xr.Dataset) -> xr.DataArray:
    """What happened at the valid times of hindcasts, laid out as they are; NaN where a fit has seen it.

    Returns:
        ``([scenario], init_time, lead_time, [level], latitude, longitude)``.
    """
    group = hindcast_group(system)
    train = system.experiment.split.train
    runs = [run for span in train if span.group == group for run in span.realizations or []]
    values = system.fields(group, runs or None)[name]
    values = values.isel(realization=0, drop=True) if "realization" in values.dims else values
    known = system.mask(group, train)
    valid = hindcasts["valid_time"].compute()
    found = at_valid_times(values, valid)
    unseen = [(fold.unseen(system, group) & known).astype(float) for fold in starts.folds]
    by_fold = at_valid_times(xr.DataArray(unseen, dims=("fold", "time"), coords={"time": values["time"]}), valid)
    found = found.where(by_fold.isel(fold=xr.DataArray(starts.fold, dims="init_time")) == 1)
    return found.expand_dims(scenario=list(starts.groups)) if starts.is_forced else found
