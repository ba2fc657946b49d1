"""The report: one self-contained page with answers, maps, fans, the scorecard, and where not to trust them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.errors import TercileError
from pipeline.grid import is_global
from pipeline.periods import lead_words
from pipeline.reporting import evidence_figures, illustrations, track_record
from pipeline.reporting.captions import (
    Illustration,
    Setting,
    is_annual,
    lead_unit,
    scenarios_of,
    signed,
    span_text,
    under,
)
from pipeline.reporting.card_tables import (
    checks_table,
    model_table,
    parts_table,
    pattern_table,
    realism_sentences,
    realism_table,
    score_table,
)
from pipeline.reporting.figures import latitude_text, longitude_text
from pipeline.reporting.illustrations import Place
from pipeline.reporting.palette import skill_classes, styles
from pipeline.reporting.scoreboard import Score, calibrated_name, calibrated_scores, read_scores
from pipeline.reporting.summaries import Subject, at_place, by_year, leads_in, subjects
from pipeline.reporting.verdicts import chance_sentence, issue_paragraph, verdict_sentences, warning_sentences
from pipeline.reporting.wording import answer_cards, trust_sentences
from pipeline.workspace import write_whole


@dataclass(frozen=True)
class Source:
    """Where data come from, and the words its licence asks for.

    Attributes:
        name: Of the source in the experiment, as "A1B".
        attribution: The sentence the licence asks for.
        licence: Its name.
        link: Address of the data or the licence, as a link to follow; nothing is fetched.
        producer: Who made the data, as "Met Office".
    """

    name: str
    attribution: str
    licence: str
    link: str = ""
    producer: str = ""


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
        window: First and last lead of maps and curves, in years where these are drawn by year; by default ten years in
            the middle, or three steps at the start.
        because: Why the issuing model issues, as the end of a sentence.
        evidence: By model, what ``pipeline.judging.evidence.read_evidence`` gives: maps of skill, terciles, spectra.
        issued_evidence: The same of the issuing model's calibrated members, where it issues such.
        record_name: What to call the record: "observations", "climate model run".
        stage_seconds: How long each stage took.
        provenance: Name and text of versions, snapshots, hashes and dates.
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
    because: str = "the experiment names it"
    evidence: evidence_figures.Evidence = field(default_factory=dict)
    issued_evidence: Mapping[str, xr.Dataset] = field(default_factory=dict)
    record_name: str = "record"
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Matrix:
    """A scorecard of one variable and scenario: models by leads; leads that are called by dates have no units."""

    title: str
    units: str
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
    issued = by_model[report.issuing]
    setting, card = _setting(report, issued), report.scorecard
    scores, overall = (_dated(part, report, issued[0]) for part in _scores(card))
    baseline, confidence = str(card.get("reference", "")), float(card.get("confidence", 0.9))
    # The reference is judged as it was drawn, which is what all others are measured against.
    is_judged_so = _is_calibrated(report) and report.issuing != baseline
    issued_as = calibrated_name(report.issuing) if is_judged_so else report.issuing
    own, own_pooled = ([score for score in part if score.model == issued_as] for part in (scores, overall))
    return {
        "report": report,
        "origins": _origins(report.sources),
        "cards": answer_cards(report.answers),
        "about": _about(report, issued[0]),
        "issue": issue_paragraph(
            own_pooled,
            issuing=report.issuing,
            reference=baseline,
            because=report.because,
        ),
        "trust": _trust(report, own, own_pooled, baseline),
        "verdicts": verdict_sentences(scores, overall, reference=baseline, confidence=confidence),
        "chance": chance_sentence(scores, confidence=confidence),
        "baseline": baseline,
        "nowhere": _nowhere(report, issued),
        "figures": _figures(report, by_model, setting, scores, baseline),
        "matrices": _matrices(scores),
        "score_table": score_table(scores),
        "parts": parts_table(card),
        "patterns": pattern_table(card),
        "realism": realism_table(card),
        "alike": realism_sentences(card),
        "checks": checks_table(card),
        "skill_colours": skill_classes().colours,
        "skill_class": _skill_class,
        "signed": signed,
        "model_table": model_table(report.cards, card.get("models_warnings", {})),
        "total_seconds": sum(report.stage_seconds.values()),
    }


def _is_calibrated(report: Report) -> bool:
    """Whether the issued members are calibrated and were scored so."""
    return "calibration" in report.ensembles[report.issuing].attrs and "calibrated" in report.scorecard


def _scores(card: Mapping[str, Any]) -> tuple[list[Score], list[Score]]:
    """Scores by lead and with all leads pooled, those of calibrated members after the raw ones."""
    after = card.get("calibrated", {})
    return (
        read_scores(card) + calibrated_scores(after, "models"),
        read_scores({"models": card.get("overall", {})}) + calibrated_scores(after, "overall"),
    )


def _figures(
    report: Report, by_model: Mapping[str, Sequence[Subject]], setting: Setting, scores: Sequence[Score], baseline: str
) -> dict[str, list[Illustration]]:
    issued, evidence = by_model[report.issuing], report.evidence
    drawn = [by_year(subject) for subject in issued]
    spots = [
        (subject, setting, where, place)
        for subject in drawn
        for where, place in _places(report).items()
        if _has_data(subject, place)
    ]
    raw = [score for score in scores if score.model in setting.look]
    return {
        "fans": [illustrations.fan_of(*spot) for spot in spots],
        "maps": [figure for subject in drawn for figure in _maps(subject, setting)],
        "curves": [illustrations.curve_of(*spot) for spot in spots],
        "where": evidence_figures.skill_figures(evidence, issued, setting, reference=baseline),
        "skill": track_record.skill_charts(raw, setting, reference=baseline),
        "spread": track_record.spread_charts(raw, setting),
        "ranks": track_record.rank_histograms(raw, setting),
        "reliability": evidence_figures.tercile_diagrams(evidence, issued, setting),
        "spectra": evidence_figures.spectra(evidence, issued, setting),
        "losses": track_record.loss_charts(report.cards),
    }


def _places(report: Report) -> dict[str, Place]:
    return {"area mean": None, **report.points}


def _has_data(subject: Subject, place: Place) -> bool:
    """Whether the record has a value there, as sea surface temperature has none on land."""
    return bool(at_place(subject.mean, place).notnull())


def _nowhere(report: Report, issued: Sequence[Subject]) -> list[str]:
    """A sentence for each place that a variable has no figure of."""
    places = [
        (subject, where)
        for subject in issued
        for where, place in _places(report).items()
        if not _has_data(subject, place)
    ]
    return [f"{subject.label.capitalize()} has no data at {where}." for subject, where in places]


def _maps(subject: Subject, setting: Setting) -> list[Illustration]:
    return illustrations.change_maps(subject, setting) + illustrations.exceedance_maps(subject, setting)


def _setting(report: Report, issued: Sequence[Subject]) -> Setting:
    subject, drawn = issued[0], by_year(issued[0])
    leads = drawn.forecast.sizes["lead_time"]
    if report.window is not None:
        window = report.window
    elif is_annual(drawn) and leads >= 20:
        window = (leads // 2 + 1, leads // 2 + 10)
    else:
        window = (1, min(3, leads))
    forced = "scenario" in subject.forecast.dims
    return Setting(
        model=report.issuing,
        reference=report.reference,
        leads=window,
        quantile=1.0 if forced else 0.9,
        lead="valid years" if _is_dated(report, subject) else f"lead ({lead_words(subject.forecast['lead_time'])})",
        record=report.record_name,
        no_skill=evidence_figures.no_skill(
            {report.issuing: report.issued_evidence or report.evidence.get(report.issuing, {})},
            issued,
            model=report.issuing,
            reference=str(report.scorecard.get("reference")),
            leads=leads_in(subject, drawn, window),
        ),
        look=styles(list(dict.fromkeys([*report.scorecard.get("models", {}), *report.evidence, *report.ensembles]))),
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
        replace(score, lead=span_text(valid_time.sel(lead_time=slice(*score.leads)), "years"), lead_units="")
        if score.leads
        else score
        for score in scores
    ]


def _about(report: Report, subject: Subject) -> str:
    sizes, valid_time = subject.forecast.sizes, subject.forecast["valid_time"]
    names = [name for name in scenarios_of(subject) if name]
    pathways = f", under each of {' and '.join(names)}" if names else ""
    south, north = (latitude_text(float(subject.mean["latitude"][end])) for end in (0, -1))
    west, east = (longitude_text(float(subject.mean["longitude"][end])) for end in (0, -1))
    wide = "all longitudes" if is_global(subject.mean["longitude"]) else f"{west} to {east}"
    when = span_text(valid_time, lead_unit(subject))
    made = " and calibrated on its hindcasts" if "calibration" in report.ensembles[report.issuing].attrs else ""
    return (
        f"{sizes['member']} possible futures{pathways}, from {when}, drawn by the model '{report.issuing}'{made}. Each "
        f"is one whole trajectory of maps ({sizes['latitude']} × {sizes['longitude']} cells, {south} to {north}, "
        f"{wide}), so that questions over several years or places can be asked of it. Changes, thresholds "
        f"and base rates refer to {report.reference[0]}–{report.reference[1]}."
    )


def _trust(report: Report, scores: Sequence[Score], pooled: Sequence[Score], baseline: str) -> list[str]:
    return trust_sentences(
        scores,
        pooled,
        issuing=report.issuing,
        reference=baseline,
        members=int(report.ensembles[report.issuing].sizes["member"]),
        sources=[same[0].producer or " and ".join(source.name for source in same) for same in _origins(report.sources)],
        answers=report.answers,
        warnings=[
            *warning_sentences(report.scorecard.get("models_warnings", {}), issuing=report.issuing),
            *report.warnings,
        ],
    )


def _origins(sources: Sequence[Source]) -> list[list[Source]]:
    """Sources of one origin together: those that ask for the same words."""
    groups: dict[tuple[str, str, str], list[Source]] = {}
    for source in sources:
        own = source.attribution or source.producer or source.name
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
        found.append(Matrix(f"{variable}{under(scenario)}", mine[0].lead_units, leads, rows))
    return found


def _skill_class(score: Score) -> int:
    """Position of a skill among the classes of the palette."""
    inner = skill_classes().breaks[1:-1]
    return sum(score.skill[0] >= edge for edge in inner)
