"""Chances from an ensemble and an event: members are counted after each has answered for itself.

``value`` of a count is always that of an event in one member's own trajectory, so joint, lagged and run events keep
the dependence between places and times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.answers.bounds import Bounds
from pipeline.answers.catalogue import Catalogue
from pipeline.answers.climate import Climate, Sample, Usual
from pipeline.answers.evaluate import evaluate
from pipeline.answers.extent import span_of
from pipeline.answers.freshness import begun, earlier_starts, incomplete_start, lineage, overdue, stored_members
from pipeline.answers.intervals import Estimate, effective_trials, proportion_interval, trials_with_fit
from pipeline.answers.model_climate import ModelClimate, model_climate
from pipeline.answers.quantities import Measure, measure
from pipeline.answers.trajectories import Need, Record, Trajectories, ensemble_trajectories
from pipeline.answers.windows import Timeline, timeline_of
from pipeline.events.errors import QuestionError, nearest
from pipeline.events.kinds import kind_of
from pipeline.events.tree import Expression, Question
from pipeline.events.write import window_text

Array = NDArray[Any]

MOST_UNKNOWN = 0.2
LEAST_GIVEN = 10
FEWEST_BASE_CASES = 5


@dataclass(frozen=True)
class Tally:
    """Members (or members times years) counted under one scenario.

    Attributes:
        event: Whether it came true, ``(member, sample)``.
        known: Whether that is known, of what counts, same shape.
        considered: Whether the member meets the ``given`` condition, same shape.
        chance: Share with its interval.
        effective: Independent trials behind the interval.
    """

    event: NDArray[np.bool_]
    known: NDArray[np.bool_]
    considered: NDArray[np.bool_]
    chance: Estimate
    effective: float

    @property
    def unknown(self) -> int:
        """Samples that count but are not known."""
        return int((self.considered & ~self.known).sum())

    @property
    def events(self) -> int:
        """Samples with the event."""
        return int((self.event & self.known).sum())

    @property
    def counted(self) -> int:
        """Samples that are known."""
        return int(self.known.sum())

    @property
    def shares(self) -> NDArray[np.float64]:
        """Each member's own share, ``(member,)``; NaN where nothing is known."""
        counts = self.known.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((self.event & self.known).sum(axis=1) / counts)


@dataclass(frozen=True)
class BaseRate:
    """How often the same event came true in the reference record.

    Attributes:
        chance: Share of the reference windows with its interval.
        events: How many of them.
        windows: How many there are; longer than a year they overlap.
        independent: How many independent ones that is worth.
        years: Length of one window in years, at least one.
    """

    chance: Estimate
    events: int
    windows: int
    independent: float
    years: float


@dataclass
class Inquiry:
    """A question in front of its data: one initial time, its scenarios, and the reference record.

    Attributes:
        question: What is asked.
        timeline: The forecast's steps.
        members: The members' trajectories.
        climate: What is usual in the reference record.
        scenarios: Names along the scenario axis; empty in a store without.
        init_time: When the forecast began, as an ISO date.
        member: Number of each member that is asked.
        notes: Warnings about the forecast itself.
        lineage: When it was issued, and which it supersedes.
        model: What is usual for the model itself, where the question refers to that.
    """

    question: Question
    timeline: Timeline
    members: Trajectories
    climate: Climate
    scenarios: tuple[str, ...]
    init_time: str
    member: NDArray[np.int64]
    notes: tuple[dict[str, str], ...] = ()
    lineage: Mapping[str, str | None] = field(default_factory=dict)
    model: ModelClimate | None = None

    @classmethod
    def of(
        cls,
        question: Question,
        *,
        ensemble: xr.Dataset,
        reference: xr.Dataset,
        catalogue: Catalogue,
        hindcasts: xr.Dataset | None = None,
        partial: bool = False,
    ) -> Inquiry:
        """Set a question before an ensemble; nothing but coordinates is read.

        Args:
            question: What is asked.
            ensemble: Dims ``([scenario], [init_time], lead_time, member, latitude, longitude)``.
            reference: Dims ``(time, latitude, longitude)`` with ``time_bnds``, on the same grid.
            catalogue: Names and states.
            hindcasts: Of the same model, for ``clim=model``; dims as those of ``ensemble``, without ``scenario``.
            partial: Whether a part of a region on the grid will do.

        Raises:
            QuestionError: A forecast or scenario that the ensemble does not have, a single member, or no climatology of
                the model where it is asked for.
            ValueError: A reference of another grid or cadence.
        """
        for name in ("latitude", "longitude"):
            if not np.array_equal(ensemble[name].values, reference[name].values):
                raise ValueError(f"reference: its {name} differs from the ensemble's; give it on the same grid")
        one, incomplete = stored_members(_one_forecast(ensemble, question.forecast), partial=partial)
        if one.sizes["member"] < 2:
            raise QuestionError("too_few_members", "One member has no share of members; at least two are needed.")
        late = overdue(ensemble) if question.forecast in (None, "latest") and "init_time" in ensemble.dims else None
        timeline = timeline_of(one, earlier=earlier_starts(ensemble, one))
        scenarios = _scenarios(one, question)
        members = ensemble_trajectories(one, timeline, catalogue, scenarios, partial=partial)
        record = Record.of(reference, like=timeline, catalogue=catalogue, partial=partial)
        climate = Climate(record, timeline, evaluate)
        begins = timeline.begins or timeline.name(0)
        model = model_climate(question, hindcasts, forecast=members, year=int(begins[:4]), record=climate)
        of_data = {"members_incomplete": incomplete, "start_incomplete": incomplete_start(one, scenarios)}
        notes = {**of_data, "stale_forecast": late, "model_climate_thin": model.thin if model else None}
        return cls(
            question,
            timeline,
            members,
            climate,
            scenarios,
            begins,
            one["member"].values,
            tuple({"code": code, "text": text} for code, text in notes.items() if text),
            lineage(ensemble, one),
            model,
        )

    def beside(self, ensemble: xr.Dataset, hindcasts: xr.Dataset | None = None) -> Inquiry:
        """The same question before other members of the same forecast and their hindcasts; the record is read once."""
        members = self.members
        one, _ = stored_members(_one_forecast(ensemble, self.question.forecast), partial=members.partial)
        other = ensemble_trajectories(one, self.timeline, members.catalogue, self.scenarios, partial=members.partial)
        year = int(self.init_time[:4])
        model = model_climate(self.question, hindcasts, forecast=other, year=year, record=self.climate)
        return replace(self, members=other, model=model)

    @property
    def usual(self) -> Usual:
        """What the members are compared with."""
        return self.model or self.climate

    @property
    def count_members(self) -> int:
        """How many members are asked."""
        return int(self.member.size)

    @property
    def samples(self) -> int:
        """How many numbers one step of one cell has."""
        return self.count_members * max(1, len(self.scenarios))

    def forget(self) -> None:
        """Let go of everything that was read."""
        self.members.forget()
        self.climate.forget()
        if self.model is not None:
            self.model.forget()

    def measure(self, node: Expression) -> Measure:
        """What an expression is measured in."""
        return measure(node, self.members.catalogue, self.timeline)

    def values(self, node: Expression) -> Bounds:
        """An expression in every member, axes ``(scenario, member, sample, latitude, longitude)``."""
        return evaluate(node, Need(None, 0, self.timeline.size), self.members, self.usual)


def count(inquiry: Inquiry, *, level: float = 0.9) -> list[Tally]:
    """Count the members with the event, for each scenario.

    Args:
        inquiry: A ``prob`` question.
        level: Coverage of the intervals.

    Raises:
        QuestionError: ``members_unknown`` or ``given_too_rare``.
    """
    event = inquiry.values(inquiry.question.subject)
    low, known = event.low[..., 0, 0], ~event.unknown[..., 0, 0]
    known, considered = among_given(inquiry, known)
    _check_common(known, inquiry)
    check_known(known[considered])
    return [tally(*arrays, level=level) for arrays in zip(low, known, considered, strict=True)]


def among_given(inquiry: Inquiry, known: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which samples count under the ``given`` condition and are known, and which count or may count.

    Args:
        inquiry: The question before its data.
        known: Whether what is asked is known, ``(scenario, member, sample)``.

    Raises:
        QuestionError: ``given_too_rare``.
    """
    if inquiry.question.given is None:
        return known, np.ones_like(known)
    condition = inquiry.values(inquiry.question.given)
    met, may_be_met = condition.low[..., 0, 0], condition.high[..., 0, 0]
    _check_given(met)
    return known & met, np.ones_like(known) & may_be_met


def nothing_known() -> QuestionError:
    """The refusal of a question whose event is known in no member."""
    return QuestionError("members_unknown", "No member is known: the data that this question needs are missing.")


def tally(event: NDArray[np.bool_], known: NDArray[np.bool_], considered: NDArray[np.bool_], *, level: float) -> Tally:
    """Count one scenario's samples, ``(member, sample)``."""
    effective = float(effective_trials(event, known))
    if effective == 0:
        raise nothing_known()
    share = float((event & known).sum() / known.sum())
    return Tally(event, known, considered, proportion_interval(share, effective, level=level), effective)


def widened(own: Tally, refitted: Sequence[Tally], *, level: float) -> Tally:
    """A count whose interval covers the fit of the calibration too, by :func:`trials_with_fit`."""
    if len(refitted) < 2:
        return own
    shares = np.array([other.chance.value for other in refitted])
    effective = float(trials_with_fit(np.asarray(own.chance.value), np.asarray(own.effective), shares))
    return replace(own, chance=proportion_interval(own.chance.value, effective, level=level))


def base_rate(inquiry: Inquiry, *, level: float = 0.9) -> BaseRate:
    """Replay the event on the reference record.

    Args:
        inquiry: A ``prob`` question.
        level: Coverage of the interval.

    Raises:
        QuestionError: ``reference_too_short``.
    """
    question = inquiry.question
    if question.given is None:
        return rate_of(inquiry.climate.sample(question.subject, None), level=level)
    event, condition = inquiry.climate.joint_samples((question.subject, question.given))
    met = condition.values == 1
    if met.sum() < FEWEST_BASE_CASES:
        raise QuestionError("reference_too_short", f"The 'given' condition was met {met.sum()} times in the reference.")
    return rate_of(Sample(np.where(met, event.values, np.nan), event.independent, event.years), level=level)


def rate_of(sample: Sample, *, level: float) -> BaseRate:
    """The base rate of a sample of one condition."""
    values = sample.values[0, :, 0, 0, 0]
    values = values[~np.isnan(values)]
    if not values.size:
        raise QuestionError("reference_too_short", "The reference record does not say whether this event happened.")
    independent = sample.independent * values.size / sample.values.shape[1]
    chance = proportion_interval(float(values.mean()), independent, level=level)
    return BaseRate(chance, int(values.sum()), values.size, independent, sample.years)


def _one_forecast(ensemble: xr.Dataset, forecast: str | None) -> xr.Dataset:
    """The initial time that is asked for, the newest by default."""
    if "init_time" not in ensemble.dims:
        return ensemble
    if forecast is None or forecast == "latest":
        return ensemble.isel(init_time=int(begun(ensemble)[-1]) if begun(ensemble).size else -1)
    wanted = forecast.removeprefix("fc-")
    starts = [moment.isoformat() for moment in ensemble["init_time"].to_index()]
    found = [index for index, start in enumerate(starts) if start.startswith(wanted)]
    if len(found) != 1:
        first, last = (f"fc-{start[:10]}" for start in (starts[0], starts[-1]))
        there = f"are {len(starts)}, from {first} to {last}" if len(starts) > 1 else f"is one, {first}"
        raise QuestionError(
            "unknown_forecast",
            f"No forecast '{forecast}'. There {there}.",
            where=forecast,
            did_you_mean=nearest(wanted, [start[:10] for start in starts]),
        )
    return ensemble.isel(init_time=found[0])


def _scenarios(ensemble: xr.Dataset, question: Question) -> tuple[str, ...]:
    """The scenarios that are asked for, which must be there; a single one need not be named."""
    have = tuple(str(name) for name in ensemble["scenario"].values) if "scenario" in ensemble.dims else ()
    for name in question.scenarios:
        if name not in have:
            there = f"has {', '.join(have)}" if have else "has no scenarios"
            close = nearest(name, have)
            hint = f" Did you mean {close}?" if close else ""
            raise QuestionError(
                "unknown_scenario", f"No scenario '{name}'; this store {there}.{hint}", where=name, did_you_mean=close
            )
    if not question.scenarios and len(have) > 1:
        raise QuestionError(
            "scenario_missing",
            f"This store has {', '.join(have)}: say under which.",
            try_=(f"scenario {have[0]}", f"scenario {have[0]} vs {have[1]}"),
        )
    return question.scenarios or have


def _check_common(known: NDArray[np.bool_], inquiry: Inquiry) -> None:
    """Scenarios that are compared must both have data in the window."""
    having = known.any(axis=2).sum(axis=1)
    if having.size > 1 and having.any() and not having.all():
        there, missing = inquiry.scenarios[int(having.argmax())], inquiry.scenarios[int(having.argmin())]
        window = _window(inquiry)
        raise QuestionError(
            "scenario_mismatch",
            f"{there} has {having.max()} members with data for {window}, {missing} has none: no common window.",
            where=window,
            try_=(f"scenario {there}",),
        )


def _window(inquiry: Inquiry) -> str:
    """The steps that a question looks at, in words."""
    each = kind_of(inquiry.question.subject).each
    if each is not None:
        return window_text(each)
    start, stop = span_of(inquiry.question.subject, inquiry.timeline)
    return f"{inquiry.timeline.name(start)}..{inquiry.timeline.name(stop - 1)}"


def check_known(known: NDArray[np.bool_]) -> None:
    """Refuse where too many of the samples that count are unknown.

    Raises:
        QuestionError: ``members_unknown``.
    """
    unknown = 1 - float(known.mean())
    if unknown > MOST_UNKNOWN:
        raise QuestionError(
            "members_unknown",
            f"{100 * unknown:.0f} % of the members are unknown, because data that decide the event are missing; at "
            f"most {100 * MOST_UNKNOWN:.0f} % may be.",
        )


def _check_given(condition: NDArray[np.bool_]) -> None:
    """Enough members must meet the condition in every scenario."""
    fewest = int(condition.any(axis=2).sum(axis=1).min())
    if fewest < LEAST_GIVEN:
        raise QuestionError(
            "given_too_rare",
            f"Only {fewest} of {condition.shape[1]} members meet the 'given' condition; at least {LEAST_GIVEN} are "
            "needed.",
        )
