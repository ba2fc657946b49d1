"""Emulation of annual temperature under two forcings: the tables of ``docs/models.md``.

Run ``python -m tests.benchmarks.emulation DATA [--threads 1] [--into docs/models.md]`` with the folder of the
development data. Models learn from member 1 of each forcing and are judged on member 2, from nothing but the forcing:
the smoothed warming of member 1. For the stronger forcing they learn from ``natural`` and the first 70 years of
``historical`` and are judged on its last 40.
"""

import argparse
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from pydantic import TypeAdapter

from models.base import ScenarioModel
from models.config import AnyModelConfig
from models.steps import Stretch, context, to_fields, training_data
from pipeline.background import Background, BackgroundConfig, Sample, fit_background
from pipeline.grid import EARTH_RADIUS_KM, area_mean, area_weights
from pipeline.judging.multivariate import energy_score
from pipeline.judging.realism import box_index
from pipeline.judging.scores import crps_ensemble, ensemble_variance, spread_correction, squared_error
from pipeline.judging.significance import block_bootstrap
from pipeline.names import VARIABLES, canonical
from pipeline.pathway import warming_pathway
from pipeline.periods import dates, with_bounds
from pipeline.sources.files import FilesSource
from tests.benchmarks.skill import replace_table

MEMBERS = 50
SEEDS = (1, 2, 3, 4)
"""Ensembles whose scores are averaged: with blocks of whole fields, one of 50 members scores up to 1 % by chance."""
FORCINGS = ("historical", "natural")
SEEN, YEARS_PER_BLOCK = 70, 10
REFERENCE = "pattern scaling, resampled residuals"
SYSTEMS = {
    REFERENCE: {"kind": "climatology"},
    "residual blocks, uncertain response": {"kind": "residual_blocks"},
    "vector autoregression": {"kind": "vector_autoregressive"},
}
FAR = (6000.0, 10000.0)
EL_NINO = {"latitude": (-5.0, 5.0), "longitude": (190.0, 240.0)}


@dataclass(frozen=True)
class Emulation:
    """Runs of one climate model, and how much of each member 1 may be seen.

    Attributes:
        runs: Fields by forcing and member.
        seen: Years that models may learn from, by forcing.
    """

    runs: dict[tuple[str, int], xr.Dataset]
    seen: dict[str, int]

    @cached_property
    def covariates(self) -> dict[str, np.ndarray]:
        """Smoothed warming of member 1 since the first thirty years of ``natural``, ``(time, 1)``."""
        zero = area_mean(self.runs["natural", 1]["tas"].isel(time=slice(30))).mean().item()
        found = {}
        for forcing in FORCINGS:
            field = self.runs[forcing, 1]["tas"]
            path = warming_pathway(field, reference=(1890, 1890), window=21)
            found[forcing] = (path - path[0] + _first(field) - zero).values[:, None]
        return found

    @cached_property
    def background(self) -> Background:
        """Pattern scaling on the years that may be seen."""
        samples = [
            Sample(self.runs[forcing, 1].isel(time=slice(years)), self.covariates[forcing][:years])
            for forcing, years in self.seen.items()
        ]
        return fit_background(samples, BackgroundConfig(), transforms={"tas": "none"})

    def fit(self, spec: dict[str, Any]) -> tuple[ScenarioModel, float]:
        """A model and the seconds it took."""
        stretches = []
        for forcing, years in self.seen.items():
            train = np.arange(self.runs[forcing, 1].sizes["time"]) < years
            sample = Sample(self.runs[forcing, 1], self.covariates[forcing])
            stretches.append(Stretch(sample, train, np.zeros_like(train)))
        config: Any = TypeAdapter(AnyModelConfig).validate_python(spec)
        began = time.perf_counter()
        model = config.build(training_data(stretches, self.background), seed=0).model
        return model, time.perf_counter() - began

    def draw(self, model: ScenarioModel, forcing: str, *, first: int = 0, seed: int = SEEDS[0]) -> xr.DataArray:
        """Members from a year on, under the forcing alone, ``(member, time, latitude, longitude)`` in K."""
        fields = self.runs[forcing, 1]
        bounds, covariates = dates(fields["time_bnds"])[first:], self.covariates[forcing][first:]
        given = context(fields, self.background, covariates=covariates, bounds=bounds, init=bounds[0, 0], history=0)
        drawn = model.sample(given, leads=len(bounds), members=range(MEMBERS), seed=seed)
        values = to_fields(drawn, self.background, fields, bounds=bounds, covariates=covariates)["tas"]
        space = {name: fields[name] for name in ("latitude", "longitude")}
        return xr.DataArray(values, dims=("member", "time", *space), coords=space)

    def expected(self, forcing: str) -> np.ndarray:
        """The response to the forcing, ``(time, latitude, longitude)``."""
        steps = self.runs[forcing, 1].sizes["time"]
        return self.background.expected("tas", np.zeros(steps), self.covariates[forcing])


def read(folder: Path) -> dict[tuple[str, int], xr.Dataset]:
    """The four runs as an ingest would open them."""
    runs = {}
    for forcing in FORCINGS:
        for member in (1, 2):
            raw = FilesSource(paths=[str(folder / f"tas_annual_{forcing}_{member}.nc")]).open()
            runs[forcing, member] = with_bounds(canonical(raw, variables={"tas": VARIABLES["tas"]}, spelling={})).load()
    return runs


def scores(members: xr.DataArray, truth: xr.DataArray) -> xr.Dataset:
    """Area means for each year."""
    weights = area_weights(members)
    found = xr.Dataset(
        {
            "crps": crps_ensemble(members, truth),
            "variance": ensemble_variance(members),
            "error": squared_error(members, truth),
        }
    )
    mean = found.weighted(weights).mean(("latitude", "longitude"))
    dims = ("latitude", "longitude")
    return mean.assign(energy=energy_score(members, truth, dims=dims, weights=weights / weights.sum()))


def teleconnection(anomalies: np.ndarray, latitude: np.ndarray, longitude: np.ndarray) -> float:
    """Mean squared correlation of cells 6 000 to 10 000 km apart, every fourth row and column, ``(time, …)``."""
    rows, columns = np.deg2rad(latitude[::4]), np.deg2rad(longitude[::4])
    phi, theta = (part.ravel() for part in np.meshgrid(rows, columns, indexing="ij"))
    cosine = np.sin(phi) * np.sin(phi)[:, None] + np.cos(phi) * np.cos(phi)[:, None] * np.cos(theta - theta[:, None])
    distance = EARTH_RADIUS_KM * np.arccos(np.clip(cosine, -1, 1))
    weight = np.where((distance > FAR[0]) & (distance < FAR[1]), np.cos(phi) * np.cos(phi)[:, None], 0.0)
    correlation = np.corrcoef(anomalies[:, ::4, ::4].reshape(len(anomalies), -1).T)
    return float((weight * correlation**2).sum() / weight.sum())


def el_nino_share(index: np.ndarray) -> float:
    """Share of a series' variance at periods of three to seven years."""
    steps = np.arange(len(index))
    power = np.abs(np.fft.rfft(index - np.polyval(np.polyfit(steps, index, 1), steps)))[1:] ** 2
    period = 1 / np.fft.rfftfreq(len(index))[1:]
    return float(power[(period >= 3) & (period <= 7)].sum() / power.sum())


def realism(emulation: Emulation, forcing: str, fields: xr.DataArray) -> tuple[float, float]:
    """Teleconnection and share of El Niño's periods in one run."""
    anomalies = fields - emulation.expected(forcing)
    index = box_index(anomalies.transpose("latitude", "longitude", ...), **EL_NINO)
    latitude, longitude = (fields[name].values for name in ("latitude", "longitude"))
    return teleconnection(anomalies.values, latitude, longitude), el_nino_share(index.values)


def table(emulation: Emulation) -> str:
    """Markdown: each forcing's scores with the gain over pattern scaling, and realism against all four runs."""
    lines = [
        "| model | forcing | CRPS, K | energy score | spread/error | r² far away | 3–7-year share | fit | draw |",
        "|---" * 9 + "|",
    ]
    truth = {key: run["tas"].drop_vars("time") for key, run in emulation.runs.items()}
    runs = np.mean([realism(emulation, forcing, run) for (forcing, _), run in truth.items()], axis=0)
    lines.append(f"| climate model, four runs | both | | | | {runs[0]:.4f} | {runs[1]:.2f} | | |")
    reference = {}
    for name, spec in SYSTEMS.items():
        model, seconds = emulation.fit(dict(spec))
        for forcing in FORCINGS:
            began = time.perf_counter()
            members = emulation.draw(model, forcing)
            drawing = time.perf_counter() - began
            ensembles = (emulation.draw(model, forcing, seed=seed) for seed in SEEDS)
            found = xr.concat([scores(one, truth[forcing, 2]) for one in ensembles], "seed").mean("seed")
            real = [realism(emulation, forcing, members.isel(member=row)) for row in range(MEMBERS)]
            mine = np.mean(real, axis=0)
            rival = reference.setdefault(forcing, found)
            gains = [
                f"{float(found[score].mean()):.4f}<br>{_gain(found[score].values, rival[score].values)}"
                for score in ("crps", "energy")
            ]
            ratio = spread_correction(MEMBERS) * float(np.sqrt(found["variance"].mean() / found["error"].mean()))
            cells = [name, forcing, *gains, f"{ratio:.2f}", f"{mine[0]:.4f}", f"{mine[1]:.2f}"]
            lines.append(f"| {' | '.join(cells)} | {seconds:.1f} s | {drawing:.1f} s |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


def coverage_table(runs: dict[tuple[str, int], xr.Dataset]) -> str:
    """Markdown: how often the last 40 years of ``historical`` lie in the 90 % interval of the warming to come."""
    emulation = Emulation(runs, {"historical": SEEN, "natural": runs["natural", 1].sizes["time"]})
    lines = ["| model | member 1 | member 2 | CRPS, member 2 |", "|---" * 4 + "|"]
    for name, spec in SYSTEMS.items():
        members = emulation.draw(emulation.fit(dict(spec))[0], "historical", first=SEEN)
        low, high = (members.quantile(level, "member") for level in (0.05, 0.95))
        weights, shares = area_weights(members), []
        for member in (1, 2):
            truth = runs["historical", member]["tas"].isel(time=slice(SEEN, None)).drop_vars("time")
            shares.append(float(((truth >= low) & (truth <= high)).mean("time").weighted(weights).mean()))
        crps = float(crps_ensemble(members, truth).mean("time").weighted(weights).mean())
        lines.append(f"| {name} | {100 * shares[0]:.1f} % | {100 * shares[1]:.1f} % | {crps:.4f} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def _first(field: xr.DataArray) -> float:
    """Mean of the area in the first eleven years: what the smoothed pathway starts from."""
    return float(area_mean(field.isel(time=slice(11))).mean())


def _gain(mine: np.ndarray, rival: np.ndarray) -> str:
    counts = block_bootstrap(len(mine), length=YEARS_PER_BLOCK)
    low, high = 100 * np.quantile(1 - (counts @ mine) / (counts @ rival), [0.05, 0.95])
    return f"{100 * (1 - mine.mean() / rival.mean()):+.2f} ({low:+.2f}…{high:+.2f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Make both tables, print them, and put them into the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--into", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    runs = read(options.data)
    years = runs["natural", 1].sizes["time"]
    tables = {
        "annual": table(Emulation(runs, dict.fromkeys(FORCINGS, years))),
        "coverage": coverage_table(runs),
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    tables["coverage"] += f"\n\nPeak memory of the whole script, all of it 8 192 cells: {peak:.1f} GiB."
    for name, text in tables.items():
        print(text)
        if options.into:
            replace_table(options.into, name, text)


if __name__ == "__main__":
    main()
