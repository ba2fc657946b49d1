"""The experiment: one forecasting system and all that it may be told, validated whole before anything runs.

Importing this module loads neither torch nor Prefect.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from models.config import AnyModelConfig
from pipeline.background import BackgroundConfig, WarmingConfig
from pipeline.errors import TercileError
from pipeline.events.parse import parse, parse_region
from pipeline.events.tree import Named, variables_of
from pipeline.intake.checks import GateConfig, check_settings
from pipeline.names import VARIABLES, Variable, known_variable, nearest, profile_of
from pipeline.sources import Source

Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=360)]
Years = Annotated[tuple[int, int], Field(description="first and last year, both included, by the label of the period")]


BEST = "best"
"""Name that stands for the model that did best on its hindcasts."""


class Part(BaseModel):
    """A base for all parts of an experiment: unknown keys are errors, nothing changes after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class VariableConfig(Part):
    """A variable that the program does not know, or knows otherwise."""

    standard_name: str | None = None
    units: str | None = None
    long_name: str | None = None
    valid_range: tuple[float, float] | None = None
    transform: Literal["none", "sqrt", "log"] | None = None


class Span(Part):
    """Years of one group, and of some of its realizations."""

    group: str
    years: Years
    realizations: list[int] | None = Field(None, description="all of them where not given")

    @field_validator("years")
    @classmethod
    def _ordered(cls, years: tuple[int, int]) -> tuple[int, int]:
        if years[0] > years[1]:
            raise ValueError(f"years {years[0]}–{years[1]} run backwards")
        return years

    def overlaps(self, other: "Span") -> bool:
        """Whether a year of a realization lies in both."""
        apart = self.group != other.group or self.years[1] < other.years[0] or other.years[1] < self.years[0]
        if apart or self.realizations is None or other.realizations is None:
            return not apart
        return bool(set(self.realizations) & set(other.realizations))

    def __str__(self) -> str:
        runs = f" realizations {self.realizations}" if self.realizations else ""
        return f"{self.group}{runs} {self.years[0]}–{self.years[1]}"


class Split(Part):
    """Which years fit, which stop the fit early, and which judge it. No year may serve twice."""

    train: list[Span] = Field(min_length=1)
    validate_: list[Span] = Field(default_factory=list, alias="validate")
    test: list[Span] = Field(min_length=1)

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        named = [(name, span) for name in ("train", "validate_", "test") for span in getattr(self, name)]
        for index, (name, span) in enumerate(named):
            for other_name, other in named[index + 1 :]:
                if name != other_name and span.overlaps(other):
                    raise ValueError(f"{name.strip('_')} ({span}) and {other_name.strip('_')} ({other}) overlap")
        return self

    @model_validator(mode="after")
    def _same_runs(self) -> Self:
        """Of a group a role takes the same realizations in all years, and what stops a fit are the runs it is of."""
        trained = _runs_by_group("train", self.train)
        _runs_by_group("test", self.test)
        for span in self.validate_:
            if span.group not in trained:
                raise ValueError(f"validate ({span}): '{span.group}' is not trained on, so it cannot stop a fit early")
            if span.realizations is not None and span.realizations != trained[span.group]:
                raise ValueError(
                    f"validate ({span}): fits of '{span.group}' are of its {_told_runs(trained[span.group])}, in "
                    "validation years too; give the same ones or none"
                )
        return self


def _runs_by_group(role: str, spans: Sequence[Span]) -> dict[str, list[int] | None]:
    found: dict[str, list[int] | None] = {}
    for span in spans:
        known = found.setdefault(span.group, span.realizations)
        if span.realizations != known:
            raise ValueError(
                f"{role}: '{span.group}' has {_told_runs(known)} in some years and {_told_runs(span.realizations)} in "
                "others; take the same ones in all of them, or make the runs groups of their own"
            )
    return found


def _told_runs(runs: list[int] | None) -> str:
    return "all realizations" if runs is None else f"realizations {runs}"


class InitTimes(Part):
    """Regular initial times."""

    first: str = Field(description="ISO date")
    last: str
    every: int = Field(1, ge=1, description="periods between two starts")


class ForecastConfig(Part):
    """What is drawn.

    Attributes:
        model: The model that issues: its name, or ``best`` for the one with the least CRPS on its hindcasts.
        scenarios: Groups to project, in a forced system; None where one group is forecast from its own states.
        init_times: Ends of the last input periods: ``latest``, a list of ISO dates, or regular ones.
    """

    model: str
    scenarios: list[str] | None = None
    init_times: Literal["latest"] | list[str] | InitTimes = "latest"
    leads: int = Field(ge=1, le=10_000)
    members: int = Field(50, ge=2, le=100_000)
    block: int = Field(25, ge=1, le=1_000, description="members drawn together; part of what a member is")
    seed: int = Field(0, ge=0)


class HindcastConfig(Part):
    """Forecasts of the training record by models that have not seen it: what calibration and skill are learnt from.

    Attributes:
        models: Which models; all of them where not given, none where empty.
        folds: Parts of the training years, each left out once, for models that fit in seconds.
        network_folds: The same for networks.
        gap: Periods left out on either side of a part; by default a forecast's length, or a season if that is longer;
            five in a projection, whose leads are the part's own years.
        starts: About so many initial times, evenly through the years and seasons; a projection has one for each part.
    """

    models: list[str] | None = None
    folds: int = Field(8, ge=2, le=50)
    network_folds: int = Field(3, ge=2, le=50)
    gap: int | None = Field(None, ge=0)
    starts: int = Field(120, ge=5)


class VerifyConfig(Part):
    """How the models are judged.

    Attributes:
        reference: The model that skill is measured against.
        years_per_block: Valid years pooled into one row of a projection's scorecard.
    """

    reference: str
    years_per_block: int = Field(20, ge=1)


class ClusterConfig(Part):
    """Where Dask computes. ``threads`` and ``processes`` are this machine; ``address`` is a scheduler already there."""

    kind: Literal["threads", "processes", "address"] = "threads"
    workers: int = Field(2, ge=1)
    address: str | None = Field(None, description="tcp://host:port, for kind address")
    torch_threads: int = Field(1, ge=1, description="threads of one task; part of what a member is")
    device: Literal["cpu", "cuda"] = Field("cpu", description="where networks run; part of what a member is")
    ranks: int = Field(1, ge=1, description="workers that train one network together, each on its share of a batch")

    @model_validator(mode="after")
    def _addressed(self) -> Self:
        if (self.kind == "address") != (self.address is not None):
            raise ValueError("`address` goes with `kind: address`, and only with it")
        return self

    @model_validator(mode="after")
    def _ranked(self) -> Self:
        if self.ranks > 1 and (self.kind == "threads" or (self.kind == "processes" and self.ranks > self.workers)):
            raise ValueError(
                f"`ranks: {self.ranks}` needs as many processes: `kind: processes` with `workers`, or more"
            )
        return self


class ScheduleConfig(Part):
    """When everything that is not yet done is done by itself, on a Prefect server."""

    cron: str
    timezone: str = "UTC"


class Experiment(Part):
    """One forecasting system: data, split, background, models, forecasts, questions, and where it all runs."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    description: str = ""
    sources: dict[str, Source] = Field(min_length=1)
    variables: dict[str, VariableConfig] = Field(min_length=1)
    gates: dict[str, GateConfig] = Field(default_factory=dict, description="gates of the archive set otherwise")
    as_of: datetime | None = Field(None, description="use what the archive held at that time (UTC); ingests nothing")
    split: Split
    reference: Span = Field(description="the record that anomalies, percentiles and base rates come from")
    background: BackgroundConfig = BackgroundConfig.model_validate({})
    models: dict[str, AnyModelConfig] = Field(min_length=1)
    seed: int = Field(0, ge=0, description="seed of every fit")
    hindcast: HindcastConfig = HindcastConfig.model_validate({})
    forecast: ForecastConfig
    verify: VerifyConfig
    regions: dict[str, str] = Field(default_factory=dict, description="name → box(…) or point(…)")
    points: dict[str, tuple[Latitude, Longitude]] = Field(
        default_factory=dict, description="places that the report shows: latitude, longitude"
    )
    events: dict[str, str] = Field(default_factory=dict, description="name → a question, answered in the report")
    cluster: ClusterConfig = ClusterConfig.model_validate({})
    schedule: ScheduleConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, data: Any) -> Any:
        """A list of names for known variables, and a pair of years where there is one group."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if isinstance(data.get("variables"), list):
            data["variables"] = {name: {} for name in data["variables"]}
        if isinstance(data.get("sources"), dict) and isinstance(data.get("variables"), dict):
            wanted = {"variables": list(data["variables"])}
            data["sources"] = {
                group: wanted | source if isinstance(source, dict) else source
                for group, source in data["sources"].items()
            }
        if isinstance(data.get("gates"), dict):
            data["gates"] = {
                gate: {"severity": value} if isinstance(value, str) else value for gate, value in data["gates"].items()
            }
        groups = list(data.get("sources") or {})
        split = data.get("split")
        if isinstance(split, dict) and len(groups) == 1:
            data["split"] = {key: _spans(value, groups[0]) for key, value in split.items()}
        if isinstance(data.get("reference"), list) and len(groups) == 1:
            data["reference"] = {"group": groups[0], "years": data["reference"]}
        return data

    @field_validator("as_of")
    @classmethod
    def _in_utc(cls, as_of: datetime | None) -> datetime | None:
        return as_of if as_of is None or as_of.tzinfo else as_of.replace(tzinfo=UTC)

    @model_validator(mode="after")
    def _legible(self) -> Self:
        """Regions and questions can be read: a slip in one is told before anything runs, not after hours of it."""
        for name in self.regions:
            _check_region_name(name)
        _read_all("regions", self.regions, parse_region)
        _read_all("events", self.events, parse)
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_settings(self.gates)
        issuing = [] if self.forecast.model == BEST else [self.forecast.model]
        for name in (*issuing, self.verify.reference, *(self.hindcast.models or [])):
            if name not in self.models:
                raise ValueError(f"no model '{name}'.{nearest(name, self.models)}")
        if self.forecast.model == BEST and not self.hindcast_models:
            raise ValueError("forecast: `model: best` is chosen on hindcasts, and `hindcast.models` is empty")
        spans = [*self.split.train, *self.split.validate_, *self.split.test, self.reference]
        for group in [*(span.group for span in spans), *(self.forecast.scenarios or [])]:
            if group not in self.sources:
                raise ValueError(f"no source '{group}'.{nearest(group, self.sources)}")
        for name, config in self.variables.items():
            if known_variable(name) is None and None in (config.standard_name, config.units, config.valid_range):
                raise ValueError(
                    f"variable '{name}' is not known.{nearest(name, VARIABLES)} "
                    "Or describe it: standard_name, units, valid_range."
                )
        covariate = self.background.covariate
        if isinstance(covariate, WarmingConfig) and covariate.variable not in self.variables:
            raise ValueError(
                f"background: no variable '{covariate.variable}'.{nearest(covariate.variable, self.variables)}"
            )
        called = {name for one in self.described().values() for name in (one.name, one.standard_name, *one.aliases)}
        for name, text in self.events.items():
            asked = {word for word in variables_of(*parse(text).parts) if profile_of(word) not in self.variables}
            for strange in sorted(asked - called):
                raise ValueError(f"events.{name}: no variable '{strange}'.{nearest(strange, called)}")
        return self

    def described(self) -> dict[str, Variable]:
        """Full description of each variable."""
        found = {}
        for name, config in self.variables.items():
            known = known_variable(name)
            given = {key: value for key, value in config.model_dump().items() if value is not None}
            base = {"name": name, "long_name": name} if known is None else vars(known)
            found[name] = Variable(**{**base, **given})
        return found

    @property
    def hindcast_models(self) -> list[str]:
        """The models that hindcasts are drawn from."""
        return list(self.models) if self.hindcast.models is None else self.hindcast.models

    @property
    def lead_group(self) -> str:
        """The group whose states forecasts start from: the first scenario, or the only group."""
        return self.forecast.scenarios[0] if self.forecast.scenarios else self.split.test[0].group


def _check_region_name(name: str) -> None:
    """Refuse a name of a region that no question can say, or that scorecards have for the whole area."""
    if name == "all":
        raise ValueError("regions.all: scorecards call the whole area so; give this region another name")
    try:
        sayable = parse_region(name) == Named(name)
    except TercileError:
        sayable = False
    if not sayable:
        raise ValueError(f"regions.{name}: no question can say this name; write it as one word, as in north_sea")


def _read_all(key: str, texts: Mapping[str, str], read: Callable[[str], object]) -> None:
    """Refuse the first text that cannot be read, by its place."""
    for name, text in texts.items():
        try:
            read(text)
        except TercileError as error:
            raise ValueError(f"{key}.{name}: {error}") from error


def _spans(value: Any, group: str) -> Any:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(year, int) for year in value):
        return [{"group": group, "years": value}]
    if isinstance(value, list):
        return [{"group": group, "years": item} if isinstance(item, list) else item for item in value]
    return value
