"""Skill of every family on real outlooks: the tables of ``docs/models.md``.

Run ``python -m tests.benchmarks.skill DATA [--tables daily monthly] [--threads 1] [--into docs/models.md]`` with the
folder of the development data. Models are fitted and sampled by the road that the product takes. The last training
years serve for early stopping; the test years are looked at here and nowhere else.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from pydantic import TypeAdapter

from models.base import Fitted, ScenarioModel, TrainingData
from models.config import AnyModelConfig
from models.pool import Model as Pool
from models.settle import fit_settled
from models.steps import Stretch, context, to_fields, training_data
from pipeline.background import Background, BackgroundConfig, Sample, fit_background
from pipeline.grid import area_weights
from pipeline.judging.scores import crps_ensemble, ensemble_variance, spread_correction, squared_error
from pipeline.judging.significance import block_bootstrap
from pipeline.names import VARIABLES, canonical
from pipeline.periods import dates, with_bounds, years
from pipeline.sources.files import FilesSource

MEMBERS = 50
SEED = 1


@dataclass(frozen=True)
class Outlook:
    """A record, its split and what is asked of it.

    Attributes:
        title: Heading of the table.
        file: Name in the folder of data.
        variable: Short name.
        train: First and last training year; the years to ``test`` between them are for early stopping.
        test: First and last year of the targets.
        every: Steps between two starts.
        starts: How many.
        leads: Steps forecast.
        shown: Leads in the table.
        unit: Name and factor of the scores' unit.
        block: Starts in a block of the bootstrap.
        systems: Name in the table and configuration, those to compare with first.
        pools: Name in the table, members' names and shares.
    """

    title: str
    file: str
    variable: str
    train: tuple[int, int]
    test: tuple[int, int]
    every: int
    starts: int
    leads: int
    shown: tuple[int, ...]
    unit: tuple[str, float]
    block: int
    systems: Mapping[str, Mapping[str, Any]]
    pools: Mapping[str, Mapping[str, float]]


LIM = "linear inverse model"
PERSISTENCE = "damped persistence"
STATISTICAL = {
    "climatology": {"kind": "climatology"},
    PERSISTENCE: {"kind": "damped_persistence"},
    LIM: {"kind": "linear_inverse"},
    "vector autoregression": {"kind": "vector_autoregressive"},
    "direct ridge": {"kind": "direct_ridge"},
}
NETWORKS = {"autoregressive network": {"kind": "autoregressive"}, "diffusion": {"kind": "diffusion"}}

OUTLOOKS = {
    "daily": Outlook(
        title="Daily sea level pressure, North Atlantic",
        file="slp_daily_north_atlantic_2001_2008.nc",
        variable="slp",
        train=(2001, 2005),
        test=(2007, 2008),
        every=6,
        starts=121,
        leads=10,
        shown=(1, 2, 3, 5, 7, 10),
        unit=("hPa", 0.01),
        block=5,
        systems=STATISTICAL | NETWORKS,
        pools={
            "pool without networks": {"direct ridge": 1, "vector autoregression": 1},
            "pool": {"diffusion": 1, "autoregressive network": 3, "direct ridge": 1},
        },
    ),
    "monthly": Outlook(
        title="Monthly sea surface temperature, global",
        file="sst_monthly_global_1979_2005.nc",
        variable="sst",
        train=(1979, 1996),
        test=(2000, 2005),
        every=1,
        starts=61,
        leads=12,
        shown=(1, 2, 3, 6, 10, 12),
        unit=("K", 1.0),
        block=12,
        systems=STATISTICAL | {"direct ridge": {"kind": "direct_ridge", "leads": 12}} | NETWORKS,
        pools={
            "pool without networks": {"direct ridge": 1, LIM: 1, PERSISTENCE: 1},
            "pool": {"autoregressive network": 1, "direct ridge": 1},
        },
    ),
}


@dataclass(frozen=True)
class System:
    """An outlook with its data."""

    outlook: Outlook
    fields: xr.Dataset

    @classmethod
    def read(cls, outlook: Outlook, folder: Path) -> "System":
        """Open the file as an ingest would."""
        raw = FilesSource(paths=[str(folder / outlook.file)]).open()
        name = outlook.variable
        if "units" not in raw[name].attrs:
            raw[name].attrs["units"] = VARIABLES[name].units
        fields = with_bounds(canonical(raw, variables={name: VARIABLES[name]}, spelling={})).load()
        return cls(outlook, fields)

    def within(self, first: int, last: int) -> np.ndarray:
        """Steps of these years."""
        year = years(self.fields["time"])
        return np.asarray((year >= first) & (year <= last))

    @cached_property
    def background(self) -> Background:
        """Fitted on all years before the test."""
        return self._background(self.outlook.test[0] - 1)

    def data(self, *, stops_early: bool) -> TrainingData:
        """What models may see; the years of early stopping are training years to all but a fit that stops early."""
        train = self.within(*self.outlook.train)
        validate = self.within(self.outlook.train[1] + 1, self.outlook.test[0] - 1)
        sample = Sample(self.fields, np.zeros((train.size, 0)))
        if stops_early:
            return training_data([Stretch(sample, train, validate)], self._background(self.outlook.train[1]))
        return training_data([Stretch(sample, train | validate, np.zeros_like(validate))], self.background)

    def _background(self, last: int) -> Background:
        steps = np.flatnonzero(self.within(self.outlook.train[0], last))
        sample = Sample(self.fields.isel(time=steps), np.zeros((steps.size, 0)))
        return fit_background([sample], BackgroundConfig(), transforms={self.outlook.variable: "none"})

    @cached_property
    def starts(self) -> np.ndarray:
        """Steps of the first leads."""
        first = int(np.flatnonzero(self.within(*self.outlook.test))[0])
        return first + self.outlook.every * np.arange(self.outlook.starts)

    def members(self, model: ScenarioModel, start: int) -> xr.DataArray:
        """Members of the forecast whose first lead is this step, in physical units."""
        leads, history = self.outlook.leads, max(1, model.history)
        steps = slice(start - history, start + leads)
        bounds = dates(self.fields["time_bnds"])[steps]
        none = np.zeros((history + leads, 0))
        given = context(
            self.fields, self.background, covariates=none, bounds=bounds, init=bounds[history - 1, 1], history=history
        )
        drawn = model.sample(given, leads=leads, members=range(MEMBERS), seed=SEED)
        ahead = xr.DataArray(bounds[history:], dims=("time", "bnds"))
        values = to_fields(drawn, self.background, self.fields, bounds=ahead.values, covariates=none[history:])
        return xr.DataArray(values[self.outlook.variable], dims=("member", "time", "latitude", "longitude"))

    def score(self, model: ScenarioModel) -> xr.Dataset:
        """Area means of CRPS, variance and squared error, ``(start, lead)``, and seconds of a start."""
        rows, began = [], time.perf_counter()
        weights = xr.DataArray(area_weights(self.fields).values, dims=("latitude", "longitude"))
        observed = self.fields[self.outlook.variable].drop_vars(["time", "latitude", "longitude"])
        for start in self.starts:
            members = self.members(model, int(start))
            truth = observed.isel(time=slice(start, start + self.outlook.leads))
            scores = xr.Dataset(
                {
                    "crps": crps_ensemble(members, truth),
                    "plain": crps_ensemble(members, truth, fair=False),
                    "variance": ensemble_variance(members),
                    "error": squared_error(members, truth),
                }
            )
            rows.append(scores.weighted(weights).mean(("latitude", "longitude")))
        seconds = (time.perf_counter() - began) / len(self.starts)
        return xr.concat(rows, "start").assign(seconds=seconds)


def fit(system: System, spec: Mapping[str, Any]) -> tuple[Fitted, float]:
    """A fitted model and the seconds it took."""
    config: Any = TypeAdapter(AnyModelConfig).validate_python(dict(spec))
    began = time.perf_counter()
    whole = system.data(stops_early=False)
    if config.refits:
        fitted = fit_settled(config, system.data(stops_early=True), whole, seed=0)
    else:
        fitted = config.build(whole, seed=0)
    return fitted, time.perf_counter() - began


def evaluate(outlook: Outlook, folder: Path) -> dict[str, xr.Dataset]:
    """Scores of every model and pool by its name in the table, with the seconds of its training."""
    system = System.read(outlook, folder)
    models: dict[str, tuple[ScenarioModel, float]] = {}
    scores: dict[str, xr.Dataset] = {}
    for name, spec in outlook.systems.items():
        found, seconds = fit(system, spec)
        models[name] = (found.model, seconds)
        scores[name] = system.score(found.model).assign(training=seconds)
        _tell(outlook, name, scores[name])
    for name, shares in outlook.pools.items():
        weights = torch.tensor(list(shares.values()), dtype=torch.float64)
        pool = Pool(tuple(models[part][0] for part in shares), weights / weights.sum())
        scores[name] = system.score(pool).assign(training=sum(models[part][1] for part in shares))
        _tell(outlook, name, scores[name])
    return scores


def table(outlook: Outlook, scores: Mapping[str, xr.Dataset]) -> str:
    """Markdown: CRPS by lead, gain with its interval, spread over error, seconds."""
    unit, factor = outlook.unit
    shown = [lead - 1 for lead in outlook.shown]
    lines = [
        f"**{outlook.title}**, {outlook.test[0]}–{outlook.test[1]}, {outlook.starts} starts, {MEMBERS} members: "
        f"fair CRPS in {unit}, and its gain in % (90 % interval, blocks of {outlook.block} starts) over the better of "
        "the linear inverse model and damped persistence at that lead.",
        "",
        "| model | " + " | ".join(f"lead {lead}" for lead in outlook.shown) + " | spread/error | training | a start |",
        "|---" * (len(shown) + 4) + "|",
    ]
    means = {name: score["crps"].mean("start").values for name, score in scores.items()}
    for name, score in scores.items():
        cells = []
        for lead in shown:
            rival = min((LIM, PERSISTENCE), key=lambda one: means[one][lead])
            gain, low, high = _gain(score["crps"].values[:, lead], scores[rival]["crps"].values[:, lead], outlook.block)
            cells.append(f"{factor * means[name][lead]:.4g}<br>{gain:+.1f} ({low:+.1f}…{high:+.1f})")
        ratio = _spread_ratio(score)
        cells.append(" ".join(f"{ratio[lead]:.2f}" for lead in shown))
        cells += [f"{float(score['training']):.0f} s", f"{float(score['seconds']):.2f} s"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _gain(mine: np.ndarray, rival: np.ndarray, block: int) -> tuple[float, float, float]:
    """Gain in percent and the ends of its 90 % interval."""
    counts = block_bootstrap(len(mine), length=block)
    drawn = 1 - (counts @ mine) / (counts @ rival)
    return 100 * (1 - mine.mean() / rival.mean()), *(100 * np.quantile(drawn, [0.05, 0.95]))


def _spread_ratio(score: xr.Dataset) -> np.ndarray:
    ratio = spread_correction(MEMBERS) * np.sqrt(score["variance"].mean("start") / score["error"].mean("start"))
    return np.asarray(ratio.values)


def _tell(outlook: Outlook, name: str, score: xr.Dataset) -> None:
    mean = (outlook.unit[1] * score["crps"].mean("start")).isel(time=[lead - 1 for lead in outlook.shown]).values
    print(f"{name}: {np.round(mean, 4)} {float(score['training']):.0f} s, {float(score['seconds']):.2f} s", flush=True)


def replace_table(path: Path, name: str, text: str) -> None:
    """Put a table between the marks ``<!-- name -->`` and ``<!-- end name -->`` of a document."""
    document = path.read_text()
    first, last = f"<!-- {name} -->", f"<!-- end {name} -->"
    head, _, rest = document.partition(first)
    path.write_text(f"{head}{first}\n{text}\n{last}{rest.partition(last)[2]}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate what is asked for, print it, and put it into the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tables", nargs="+", choices=OUTLOOKS, default=list(OUTLOOKS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--into", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    for name in options.tables:
        outlook = OUTLOOKS[name]
        text = table(outlook, evaluate(outlook, options.data))
        print(text)
        if options.into:
            replace_table(options.into, name, text)


if __name__ == "__main__":
    main()
