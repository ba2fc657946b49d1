"""The report: one self-contained page with answers, maps, fans, the scorecard, and where not to trust them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline import illustrations, track_record
from pipeline.captions import Illustration, Setting, Table, is_annual, lead_unit, scenarios_of, signed, span_text, under
from pipeline.errors import TercileError
from pipeline.figures import latitude_text, longitude_text
from pipeline.illustrations import Place
from pipeline.palette import skill_classes, styles
from pipeline.scoreboard import Score, read_scores
from pipeline.summaries import Subject, subjects
from pipeline.wording import answer_cards, trust_sentences, verdict_sentences
from pipeline.workspace import write_whole


@dataclass(frozen=True)
class Source:
    """Where data come from, and the words its licence asks for.

    Attributes:
        name: Short, as "Met Office HadGEM2-AO, A1B and E1".
        attribution: The sentence the licence asks for.
        licence: Its name.
        link: Address of the licence or the data, as a link to follow; nothing is fetched.
    """

    name: str
    attribution: str
    licence: str
    link: str = ""


@dataclass(frozen=True)
class Report:
    """All that a report is made of.

    Attributes:
        title: Of the experiment, in words.
        experiment: Its name.
        purpose: What the data are, in a sentence or two.
        sources: Where they come from.
        ensembles: By model, dims ``([scenario], init_time, lead_time, member, [level], latitude, longitude)``.
        record: The past, and what came later where it is known, ``([scenario], time, [level], latitude, longitude)``.
        reference: First and last reference year.
        issuing: The model that issues; maps show it.
        scorecard: As ``scorecard.json`` holds it.
        answers: Worked answers, as ``tercile ask --json`` gives them.
        cards: Model cards: ``name, kind, fingerprint, parameters, seconds, curve, notes``.
        warnings: Sentences on where not to trust it, as that the pathway is the run's own.
        points: Places beside the area mean, as latitude and longitude in degrees.
        window: First and last lead of maps and curves; by default ten years in the middle, or three steps at the start.
        no_skill: By variable, True where hindcasts showed no skill; hatched on maps.
        judged: By scenario (its name empty in an unforced system), first and last year that no fit has seen.
        record_name: What to call the record: "observations", "climate model run".
        stage_seconds: How long each stage took.
        provenance: Name and text of versions, snapshots, hashes and dates.
        language: Of the text, for readers that speak it.
    """

    title: str
    experiment: str
    purpose: str
    sources: Sequence[Source]
    ensembles: Mapping[str, xr.Dataset]
    record: xr.Dataset
    reference: tuple[int, int]
    issuing: str
    scorecard: Mapping[str, Any] = field(default_factory=dict)
    answers: Sequence[Mapping[str, Any]] = ()
    cards: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[str] = ()
    points: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    window: tuple[int, int] | None = None
    no_skill: Mapping[str, xr.DataArray] = field(default_factory=dict)
    judged: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    record_name: str = "record"
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    language: str = "en"


@dataclass(frozen=True)
class Matrix:
    """A scorecard of one variable and scenario: models by leads."""

    title: str
    leads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Score | None, ...]], ...]


def write_report(destination: Path, *, report: Report) -> Path:
    """Write the page whole: a reader sees the old one or the new one, never half of one.

    Args:
        destination: Of the page, as ``reports/index.html``; its folder is made if it is not there.
        report: What to say.

    Returns:
        ``destination``.

    Raises:
        TercileError: The issuing model has no ensemble, or ensemble and record have nothing in common.
    """
    write_whole(destination, render(report))
    return destination


def render(report: Report) -> str:
    """The page as text; the same report gives the same text."""
    if report.issuing not in report.ensembles:
        raise TercileError(
            f"report: no ensemble of '{report.issuing}', only of {', '.join(report.ensembles) or 'none'}."
        )
    environment = Environment(loader=PackageLoader("pipeline", "data"), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    return environment.get_template("report.html.j2").render(_context(report))


def _context(report: Report) -> dict[str, Any]:
    by_model = {
        name: subjects(ensemble, report.record, reference=report.reference)
        for name, ensemble in report.ensembles.items()
    }
    issued, setting = by_model[report.issuing], _setting(report, by_model[report.issuing][0])
    scores, baseline = (
        _dated(read_scores(report.scorecard), report, issued[0]),
        str(report.scorecard.get("reference", "")),
    )
    return {
        "report": report,
        "origins": _origins(report.sources),
        "cards": answer_cards(report.answers),
        "about": _about(report, issued[0]),
        "trust": _trust(report, scores, baseline),
        "verdicts": verdict_sentences(scores, reference=baseline),
        "baseline": baseline,
        "figures": _figures(report, by_model, setting, scores, baseline),
        "matrices": _matrices(scores),
        "score_table": _score_table(scores),
        "skill_colours": skill_classes().colours,
        "skill_class": _skill_class,
        "signed": signed,
        "model_table": _model_table(report.cards),
        "total_seconds": sum(report.stage_seconds.values()),
    }


def _figures(
    report: Report, by_model: Mapping[str, Sequence[Subject]], setting: Setting, scores: Sequence[Score], baseline: str
) -> dict[str, list[Illustration]]:
    places: dict[str, Place] = {"area mean": None, **report.points}
    spots = [
        (subject, setting, where, place) for subject in by_model[report.issuing] for where, place in places.items()
    ]
    return {
        "fans": [illustrations.fan_of(*spot) for spot in spots],
        "maps": [drawn for subject in by_model[report.issuing] for drawn in _maps(subject, setting)],
        "curves": [illustrations.curve_of(*spot) for spot in spots],
        "skill": track_record.skill_charts(scores, setting, reference=baseline),
        "spread": track_record.spread_charts(scores, setting),
        "ranks": track_record.rank_histograms(scores, setting),
        "reliability": track_record.reliability_diagrams(by_model, setting),
        "losses": track_record.loss_charts(report.cards),
    }


def _maps(subject: Subject, setting: Setting) -> list[Illustration]:
    return illustrations.change_maps(subject, setting) + illustrations.exceedance_maps(subject, setting)


def _setting(report: Report, subject: Subject) -> Setting:
    leads = subject.forecast.sizes["lead_time"]
    if report.window is not None:
        window = report.window
    elif is_annual(subject) and leads >= 20:
        window = (leads // 2 + 1, leads // 2 + 10)
    else:
        window = (1, min(3, leads))
    forced = "scenario" in subject.forecast.dims
    return Setting(
        model=report.issuing,
        reference=report.reference,
        leads=window,
        quantile=1.0 if forced else 0.9,
        lead="valid years" if _is_dated(report, subject) else f"lead ({lead_unit(subject)})",
        record=report.record_name,
        no_skill=report.no_skill,
        judged=report.judged,
        look=styles(list(dict.fromkeys([*report.scorecard.get("models", {}), *report.ensembles]))),
    )


def _is_dated(report: Report, subject: Subject) -> bool:
    """Whether a lead is one year and no other, as in a projection, so that it is better called by that year."""
    return is_annual(subject) and report.ensembles[report.issuing].sizes["init_time"] == 1


def _dated(scores: Sequence[Score], report: Report, subject: Subject) -> list[Score]:
    """Scores with their leads called by valid years, where that names them."""
    valid_time = subject.forecast["valid_time"]
    if not _is_dated(report, subject):
        return list(scores)
    return [
        replace(score, lead=span_text(valid_time.sel(lead_time=slice(*score.leads)), "years")) if score.leads else score
        for score in scores
    ]


def _about(report: Report, subject: Subject) -> str:
    sizes, valid_time = subject.forecast.sizes, subject.forecast["valid_time"]
    names = [name for name in scenarios_of(subject) if name]
    pathways = f", under each of {' and '.join(names)}" if names else ""
    south, north = (latitude_text(float(subject.mean["latitude"][end])) for end in (0, -1))
    west, east = (longitude_text(float(subject.mean["longitude"][end])) for end in (0, -1))
    when = span_text(valid_time, lead_unit(subject))
    return (
        f"{sizes['member']} possible futures{pathways}, from {when}, drawn by the model '{report.issuing}'. Each is "
        f"one whole trajectory of maps ({sizes['latitude']} × {sizes['longitude']} cells, {south} to {north}, {west} "
        f"to {east}), so that questions over several years or places can be asked of it. Changes, thresholds and "
        f"base rates refer to {report.reference[0]}–{report.reference[1]}."
    )


def _trust(report: Report, scores: Sequence[Score], baseline: str) -> list[str]:
    return trust_sentences(
        scores,
        issuing=report.issuing,
        reference=baseline,
        members=int(report.ensembles[report.issuing].sizes["member"]),
        sources=[" and ".join(source.name for source in same) for same in _origins(report.sources)],
        answers=report.answers,
        warnings=report.warnings,
    )


def _origins(sources: Sequence[Source]) -> list[list[Source]]:
    """Sources of one origin together: those that ask for the same words."""
    groups: dict[tuple[str, str, str], list[Source]] = {}
    for source in sources:
        own = source.attribution or source.name
        groups.setdefault((own, source.licence, source.link), []).append(source)
    return list(groups.values())


def _matrices(scores: Sequence[Score]) -> list[Matrix]:
    found = []
    for variable, scenario in dict.fromkeys((score.variable, score.scenario) for score in scores):
        mine = [score for score in scores if (score.variable, score.scenario) == (variable, scenario)]
        leads = tuple(dict.fromkeys(score.lead for score in mine))
        cells = {(score.model, score.lead): score for score in mine}
        models = dict.fromkeys(score.model for score in mine)
        rows = tuple((model, tuple(cells.get((model, lead)) for lead in leads)) for model in models)
        found.append(Matrix(f"{variable}{under(scenario)}", leads, rows))
    return found


def _score_table(scores: Sequence[Score]) -> Table:
    columns = ("model", "variable", "scenario", "lead", "fair CRPS", "CRPS", "RMSE", "spread/error", "cases")
    return Table(columns, tuple(_score_row(score) for score in scores))


def _score_row(score: Score) -> tuple[str, ...]:
    numbers = (score.crps_fair, score.crps, score.rmse, score.spread_skill[0])
    texts = [f"{number:.3g}" for number in numbers]
    return (score.model, score.variable, score.scenario or "–", score.lead, *texts, str(score.cases))


def _skill_class(score: Score) -> int:
    """Position of a skill among the classes of the palette."""
    inner = skill_classes().breaks[1:-1]
    return sum(score.skill[0] >= edge for edge in inner)


def _model_table(cards: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("model", "kind", "parameters", "training", "fingerprint", "notes")
    return Table(columns, tuple(_model_row(card) for card in cards))


def _model_row(card: Mapping[str, Any]) -> tuple[str, ...]:
    notes = card.get("notes") or ""
    text = "; ".join(f"{name}: {value}" for name, value in notes.items()) if isinstance(notes, Mapping) else str(notes)
    parameters, seconds = card.get("parameters"), card.get("seconds")
    return (
        str(card.get("name", "")),
        str(card.get("kind", "")),
        "–" if parameters is None else f"{int(parameters):,}",
        "–" if seconds is None else f"{float(seconds):.1f} s",
        str(card.get("fingerprint", "")),
        text,
    )
