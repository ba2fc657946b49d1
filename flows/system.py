"""What an experiment means on the data of its workspace: groups, training steps, pathways, layouts and hashes.

Everything that decides whether work is still to be done is here, and none of it needs torch or Prefect.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cftime
import numpy as np
import xarray as xr

from flows.experiment import BEST, Experiment, Span
from models.card import read_card
from pipeline.archive import open_archive
from pipeline.background import VERSION as BACKGROUND_VERSION
from pipeline.background import TrendConfig, WarmingConfig
from pipeline.calibration import VERSION as CALIBRATION_VERSION
from pipeline.calibration import expected_crps
from pipeline.ensemble_layout import Layout
from pipeline.ensemble_writer import EnsembleWriter
from pipeline.errors import TercileError
from pipeline.judging import VERSION as SCORECARD_VERSION
from pipeline.pathway import warming_pathway
from pipeline.periods import Periods, daily_cycle, dates, years
from pipeline.products import open_calibration
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from flows.starts import Starts

OWN_WARMING = "given its own warming"
"""Label of scores whose pathway was taken from the run being scored."""

TIE = 0.001
"""Share of a CRPS that hindcasts cannot tell apart."""


@dataclass(frozen=True)
class System:
    """An experiment and its workspace. Values are read from the archive once and kept."""

    experiment: Experiment
    workspace: Workspace
    _pathways: dict[str, dict[cftime.datetime, float]] = field(default_factory=dict, repr=False, compare=False)
    _periods: dict[str, Periods] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def groups(self) -> dict[str, xr.Dataset]:
        """The archive's groups, lazily opened."""
        names, as_of = self.experiment.sources, self.experiment.as_of
        return {name: open_archive(self.workspace, group=name, as_of=as_of, with_dask=False) for name in names}

    def mask(self, group: str, spans: Iterable[Span]) -> np.ndarray:
        """Steps of a group that lie in the spans, ``(time,)``."""
        year = years(self.groups[group]["time"])
        inside = np.zeros(year.size, dtype=bool)
        for span in spans:
            if span.group == group:
                inside |= (year >= span.years[0]) & (year <= span.years[1])
        return inside

    def fields(self, group: str, realizations: list[int] | None = None) -> xr.Dataset:
        """Variables and period ends of a group, of some realizations where it has them."""
        dataset = self.groups[group][[*self.experiment.variables, "time_bnds"]]
        if "realization" in dataset.dims and realizations is not None:
            return dataset.sel(realization=realizations)
        return dataset

    def start_fields(self, group: str, kind: str) -> xr.Dataset:
        """Fields of the realization whose states forecasts under a group start from.

        It is the one that judges them; scenarios that nothing judges start from the run of those that are judged.
        """
        run = self._start_run(group, kind)
        return self.fields(group) if run is None else self.fields(group, [run]).isel(realization=0, drop=True)

    def _start_run(self, group: str, kind: str) -> Any:
        if "realization" not in self.groups[group].dims:
            return None
        held = self.groups[group]["realization"].values.tolist()
        spans = self.experiment.split.train if kind == "hindcast" else self.experiment.split.test
        own = next((span for span in spans if span.group == group), spans[0])
        named = [run for run in own.realizations or [] if run in held]
        return (named or held)[0]

    def periods(self, group: str) -> Periods:
        """The periods of a group's record."""
        if group not in self._periods:
            self._periods[group] = Periods.of(self.groups[group])
        return self._periods[group]

    # Forcing

    def fit_covariates(self, group: str) -> np.ndarray:
        """Covariates of a group's steps for fitting, ``(time, covariates)``, from training and validation years alone.

        Steps outside those years are NaN.
        """
        fit_years = self.mask(group, [*self.experiment.split.train, *self.experiment.split.validate_])
        fields = self.groups[group].isel(time=np.flatnonzero(fit_years))
        known = _with_hours(self._covariates_of(fields, group), dates(fields["time_bnds"]))
        found = np.full((fit_years.size, known.shape[1]), np.nan)
        found[fit_years] = known
        return found

    def covariates(self, group: str, bounds: np.ndarray) -> np.ndarray:
        """Covariates of the periods with these ends, for a forecast under a group's forcing, which comes first.

        Raises:
            TercileError: The group's pathway does not reach that far.
        """
        covariate = self.experiment.background.covariate
        if isinstance(covariate, TrendConfig):
            return _with_hours(_trend(bounds), bounds)
        if covariate is None:
            return _with_hours(np.zeros((len(bounds), 0)), bounds)
        known = self._pathway(group)
        beyond = [str(start) for start in bounds[:, 0] if start not in known]
        if beyond:
            raise TercileError(
                f"forcing: the pathway of '{group}' has no value for {beyond[0]} and {len(beyond) - 1} more periods."
            )
        return _with_hours(np.array([[known[start]] for start in bounds[:, 0]]), bounds)

    def pathway_label(self, group: str) -> str | None:
        """How a group's pathway must be labelled, or None where nothing needs saying."""
        is_own = isinstance(self.experiment.background.covariate, WarmingConfig) and not self._trained_through(group)
        return OWN_WARMING if is_own else None

    def _pathway(self, group: str) -> dict[cftime.datetime, float]:
        if group not in self._pathways:
            self._pathways[group] = self._read_pathway(group)
        return self._pathways[group]

    def _read_pathway(self, group: str) -> dict[cftime.datetime, float]:
        fields = self.groups[group]
        values = self._covariates_of(fields, group)[:, 0]
        return dict(zip(dates(fields["time_bnds"])[:, 0], values, strict=True))

    def _trained_through(self, group: str) -> bool:
        return bool(self.mask(group, self.experiment.split.train).all())

    def _covariates_of(self, fields: xr.Dataset, group: str) -> np.ndarray:
        covariate = self.experiment.background.covariate
        if isinstance(covariate, WarmingConfig):
            train = [span.realizations for span in self.experiment.split.train if span.group == group]
            field = fields[covariate.variable]
            if "realization" in field.dims and train and train[0]:
                field = field.sel(realization=train[0])
            return warming_pathway(field, reference=covariate.reference, window=covariate.window).values[:, None]
        return _trend(dates(fields["time_bnds"])) if covariate else np.zeros((fields.sizes["time"], 0))

    # Fingerprints

    def fingerprint(self, model: str) -> str:
        """Hash of all that a trained model depends on: configuration, version, and the values it is fitted on."""
        config, ranks = self.experiment.models[model], self.experiment.cluster.ranks
        return _digest(
            {
                "model": config.model_dump(mode="json"),
                "versions": [*config.versions, BACKGROUND_VERSION],
                "background": self.experiment.background.model_dump(mode="json"),
                "variables": {name: vars(variable) for name, variable in self.experiment.described().items()},
                "seed": self.experiment.seed,
                "threads": self.experiment.cluster.torch_threads,
                "device": self.experiment.cluster.device,
                "data": self._training_hash,
                **({"ranks": ranks} if ranks > 1 and not config.is_quick else {}),
                **({"hours": True} if self.periods(self.experiment.lead_group).cadence.is_within_a_day else {}),
            }
        )

    @cached_property
    def _training_hash(self) -> str:
        split, parts = self.experiment.split, []
        for role, spans in (("train", split.train), ("validate", split.validate_)):
            for span in spans:
                held = self.groups[span.group]
                hashes = held["content_hash"].values[self.mask(span.group, [span])]
                parts.append([role, span.group, span.realizations, hashlib.sha256(hashes.tobytes()).hexdigest()])
        grid = self.groups[split.train[0].group]
        return _digest([parts, grid["latitude"].values.tolist(), grid["longitude"].values.tolist()])

    def inputs_hash(self, starts: "Starts", position: int, *, history: int) -> int:
        """Hash of what the members of one initial time depend on beside the model."""
        init = starts.init_times[position]
        past, *pasts = (self._past(group, init, history) for group in starts.groups)
        ahead = self.periods(starts.groups[0]).ahead(init, starts.leads)[1]
        forcing = [self._forcing(group, init, history, ahead) for group in starts.groups]
        config, fold = self.experiment.forecast, starts.fold_of(position)
        others = [one for group in starts.groups for one in self._other_run(group, starts.kind)]
        others += [[group, own] for group, own in zip(starts.groups[1:], pasts, strict=True) if own != past]
        digest = _digest(
            [past, forcing, config.seed, starts.leads, config.block, *([fold.name] if fold else []), *others]
        )
        return int.from_bytes(bytes.fromhex(digest)[:8], "big", signed=True)

    def _past(self, group: str, init: cftime.datetime, history: int) -> list[int]:
        """Hashes of the states that a forecast under a group starts from."""
        last = self.periods(group).until(init)
        return self.groups[group]["content_hash"].values[max(0, last - history) : last].tolist()

    def _forcing(self, group: str, init: cftime.datetime, history: int, ahead: np.ndarray) -> list[list[float]]:
        """Covariates of a forecast; of its history too where they come from data."""
        if isinstance(self.experiment.background.covariate, WarmingConfig):
            periods = self.periods(group)
            last = periods.until(init)
            ahead = np.concatenate([periods.ends[max(0, last - history) : last], ahead])
        return self.covariates(group, ahead).tolist()

    def _other_run(self, group: str, kind: str) -> list[Any]:
        """The run that forecasts under a group start from, where it is not the group's first."""
        run = self._start_run(group, kind)
        return [] if run is None or run == self.groups[group]["realization"].values[0] else [group, run]

    def inputs_hashes(self, starts: "Starts", model: str) -> list[int]:
        """``inputs_hash`` of each initial time of a model that is trained."""
        history = self.history(model)
        return [self.inputs_hash(starts, position, history=history) for position in range(len(starts.init_times))]

    def calibration_hash(self, starts: "Starts", model: str) -> str:
        """Hash of all that a model's calibration is learnt from."""
        held = self.groups[starts.groups[0]]["content_hash"].values
        truth = held[self.mask(starts.groups[0], self.experiment.split.train)].tolist()
        folds = [fold.name for fold in starts.folds]
        return _digest([CALIBRATION_VERSION, self.fingerprint(model), self.inputs_hashes(starts, model), folds, truth])

    # Products

    def reference(self) -> xr.Dataset:
        """The reference record: one realization over the reference years."""
        span = self.experiment.reference
        fields = self.fields(span.group, span.realizations).isel(time=np.flatnonzero(self.mask(span.group, [span])))
        return fields.isel(realization=0, drop=True) if "realization" in fields.dims else fields

    @cached_property
    def reference_hash(self) -> str:
        """Hash of the reference record."""
        span = self.experiment.reference
        hashes = self.groups[span.group]["content_hash"].values[self.mask(span.group, [span])]
        return _digest([span.model_dump(), hashes.tolist(), list(self.experiment.variables)])

    @cached_property
    def issuing(self) -> str:
        """The model that issues: the one the experiment names, or the one of which hindcasts promise the least CRPS.

        Raises:
            TercileError: It is to be chosen, and nothing has been learnt from hindcasts yet.
        """
        if self.experiment.forecast.model != BEST:
            return self.experiment.forecast.model
        scores = {}
        for name in self.experiment.hindcast_models:
            learnt = open_calibration(self.workspace, model=name, fingerprint=self.fingerprint(name))
            if learnt is not None:
                rows = [row for rows in learnt.attrs["about"]["learnt"].values() for row in rows]
                scores[name] = expected_crps(rows)
        if not scores:
            raise TercileError(
                "forecast: `model: best` is chosen on hindcasts, and there are none: the training record is too short, "
                "or `tercile calibrate` has not run. Name a model instead."
            )
        return least(scores, reference=self.experiment.verify.reference)

    def issue(self) -> dict[str, Any]:
        """What answers need to know of the forecast that is issued."""
        from flows.experience import beyond_experience
        from flows.starts import hindcast_group

        experiment, model = self.experiment, self.issuing
        groups = experiment.forecast.scenarios or [experiment.lead_group]
        other = self._other_run(hindcast_group(self), "hindcast")
        return {
            **({"hindcast_run": other[1]} if other else {}),
            "experiment": experiment.name,
            "title": experiment.title,
            "model": model,
            "kind": experiment.models[model].kind,
            "fingerprint": self.fingerprint(model),
            "version": experiment.models[model].version,
            "seed": experiment.forecast.seed,
            "variables": {name: vars(variable) for name, variable in experiment.described().items()},
            "regions": dict(experiment.regions),
            "events": {name: text.strip() for name, text in experiment.events.items()},
            "pathways": {group: self.pathway_label(group) for group in groups},
            "extrapolated": beyond_experience(self),
            "attributions": sorted(
                {source.attribution for source in experiment.sources.values() if source.attribution}
            ),
            "reference": {
                "group": experiment.reference.group,
                "years": list(experiment.reference.years),
                "content": self.reference_hash,
            },
            "data": {group: self.provenance(group)["extent"] for group in groups},
            "as_of": experiment.as_of and experiment.as_of.isoformat(),
        }

    def provenance(self, group: str) -> dict[str, Any]:
        """The newest provenance record of a group."""
        return dict(json.loads(str(self.groups[group].attrs["provenance"]))[-1])

    # Layout

    def layout(self, starts: "Starts") -> Layout:
        """What an ensemble from these starts looks like."""
        config, held = self.experiment.forecast, self.groups[starts.groups[0]]
        record = self.periods(starts.groups[0])
        periods = [record.ahead(init, starts.leads) for init in starts.init_times]
        template = held[list(self.experiment.variables)].isel(time=0, drop=True)
        return Layout(
            template=template.isel(realization=0, drop=True) if "realization" in template.dims else template,
            scenarios=starts.groups if starts.is_forced else None,
            init_times=starts.init_times,
            valid_times=np.array([labels for labels, _ in periods]),
            valid_bounds=np.array([ends for _, ends in periods]),
            cadence=record.cadence,
            members=config.members,
            block=config.block,
        )

    def writer(self, model: str, starts: "Starts") -> EnsembleWriter:
        """The writer of one model's ensemble."""
        return EnsembleWriter(self.workspace, model, self.fingerprint(model), starts.kind, self.layout(starts))

    @cached_property
    def verify_hash(self) -> str:
        """Hash of all that the scorecard is made from, as the stores hold it: what they lack now may come later."""
        from flows.starts import forecasts

        split, starts, parts = self.experiment.split, forecasts(self), []
        for name in self.experiment.models:
            fingerprint, hashes = self.fingerprint(name), self.inputs_hashes(starts, name)
            learnt = open_calibration(self.workspace, model=name, fingerprint=fingerprint)
            calibration = None if learnt is None else learnt.attrs["about"]["content"]
            writer = self.writer(name, starts)
            lacking = [*writer.missing(), *(["other inputs"] if writer.stale(hashes, starts.fold.tolist()) else [])]
            parts.append([name, fingerprint, hashes, calibration, *lacking])
        truth = [
            self.groups[span.group]["content_hash"].values[self.mask(span.group, [span])].tolist()
            for span in split.test
        ]
        settings = [split.model_dump(mode="json"), self.experiment.verify.model_dump(), self.experiment.regions]
        return _digest([parts, truth, self.reference_hash, settings, SCORECARD_VERSION])

    @cached_property
    def report_hash(self) -> str:
        """Hash of all that the report shows."""
        shown = self.experiment.model_dump(mode="json", include={"description", "points", "sources"})
        return _digest([self.verify_hash, self.issue(), self.experiment.forecast.model, shown])

    def model_folder(self, model: str) -> Path:
        """Where a trained model's card and weights are."""
        return self.workspace.models / model / self.fingerprint(model)

    def card(self, model: str) -> dict[str, Any]:
        """The card of a trained model."""
        return read_card(self.model_folder(model))

    def history(self, model: str) -> int:
        """How many past states a trained model wants, from its card."""
        return int(self.card(model)["history"])

    def truth(self, name: str) -> dict[str, xr.DataArray]:
        """By group, the values of a variable that judge forecasts: NaN outside the test years."""
        found = {}
        for group in self.experiment.forecast.scenarios or [self.experiment.lead_group]:
            spans = [span for span in self.experiment.split.test if span.group == group]
            runs = [run for span in spans for run in span.realizations or []]
            values = self.fields(group, runs or None)[name]
            values = values.isel(realization=0, drop=True) if "realization" in values.dims else values
            found[group] = values.where(xr.DataArray(self.mask(group, spans), dims="time"))
        return found


def least(scores: Mapping[str, float], *, reference: str) -> str:
    """The name with the least score; one that ties with the reference is preferred to it.

    A model that is the reference itself cannot be shown to have skill by any forecast.
    """
    tied = [name for name, score in scores.items() if score <= (1 + TIE) * min(scores.values())]
    return min(tied, key=lambda name: (name == reference, scores[name]))


def origins_of(experiment: Experiment, group: str) -> list[dict[str, Any]]:
    """What a source's files are now; asks for each of them, over the network too."""
    return [origin.record() for origin in experiment.sources[group].origins()]


def source_hash(experiment: Experiment, group: str, origins: list[dict[str, Any]]) -> str:
    """Hash of a source's description and its files' checksums: equal means nothing to ingest."""
    described = {name: vars(variable) for name, variable in experiment.described().items()}
    return _digest([experiment.sources[group].model_dump(mode="json"), origins, described])


def known_extent(dataset: xr.Dataset) -> str:
    """First and last label of a record, as text."""
    return f"{dataset['time'].values[0]} to {dataset['time'].values[-1]}"


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _with_hours(covariates: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Covariates, and after them the hour where a step is shorter than a day: the expected state follows both."""
    return np.concatenate([covariates, daily_cycle(bounds)], axis=1)


def _trend(bounds: np.ndarray) -> np.ndarray:
    return np.array([[(end.year + (end.dayofyr - 1) / 366 - 2000) / 10] for end in bounds[:, 1]])
