"""The evidence in figures: where a model has skill, whether its shares come true, and spread by scale."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from pipeline.grid import area_weights, is_global
from pipeline.judging.reliability import reliability
from pipeline.judging.skill_maps import finish_maps
from pipeline.judging.terciles import CATEGORIES, share_table
from pipeline.periods import lead_words
from pipeline.reporting.captions import (
    Illustration,
    Setting,
    Table,
    amount,
    illustrate,
    of_scenario,
    scenarios_of,
    span_text,
    under,
)
from pipeline.reporting.charts import spectrum_chart
from pipeline.reporting.figures import field_map, reliability_diagram
from pipeline.reporting.palette import skill_classes
from pipeline.reporting.summaries import Subject

Evidence = Mapping[str, Mapping[str, xr.Dataset]]
"""By model, the parts that ``pipeline.judging.evidence.read_evidence`` gives."""

_RARE = 0.001  # of the area at either end: shares that hardly any cell states, whose frequency is chance
_FEWEST_WAVES = 4  # below that there are no scales to tell apart
MOST_BLOCKS = 4
"""Maps of single leads for a model; of more leads some are shown, evenly."""


def no_skill(
    evidence: Evidence, subjects: Sequence[Subject], *, model: str, reference: str, leads: tuple[int, int]
) -> dict[tuple[str, str], tuple[xr.DataArray, str]]:
    """By subject and scenario, the cells where a model was not shown to be better at some leads, and what that means.

    Where those leads were never judged, all that were judged stand in for them.
    """
    found = {}
    for subject in subjects:
        sums = _of(evidence, model, "maps", subject)
        if sums is None:
            continue
        for scenario in scenarios_of(subject):
            mine = of_scenario(sums, scenario)
            overlap = (mine["lead_first"] <= leads[1]) & (mine["lead_last"] >= leads[0])
            near = mine.isel(lead=np.flatnonzero(overlap.values))
            used, what = (
                (near, "at these leads") if near["cases"].max() > 0 else (mine, "at the leads that were judged")
            )
            better = finish_maps(used.sum("lead"))["verdict"] == 1
            share = 100 * float(better.weighted(area_weights(better)).mean())
            given = ", which is given the same warming," if scenario else ""
            words = (
                f"Hatched: {model} was not shown to be better than {reference}{given} {what}; it was on {share:.0f} % "
                "of the area."
            )
            found[subject.name, scenario] = (~better, words)
    return found


def skill_figures(
    evidence: Evidence, subjects: Sequence[Subject], setting: Setting, *, reference: str
) -> list[Illustration]:
    """Maps of CRPS skill: each model over all judged leads, then the issuing model at single leads."""
    found = []
    for subject, scenario, model in _each(subjects, evidence):
        sums = _of(evidence, model, "maps", subject)
        if sums is not None:
            mine = of_scenario(sums, scenario)
            judged = mine.isel(lead=np.flatnonzero((mine["cases"].max(("latitude", "longitude")) > 0).values))
            pools = _pools(judged, is_issuing=model == setting.model)
            found += [_skill_map(subject, setting, model, scenario, some, reference) for some in pools]
    return found


def tercile_diagrams(evidence: Evidence, subjects: Sequence[Subject], setting: Setting) -> list[Illustration]:
    """Reliability of the shares of members below and above normal, all models in one diagram, all leads pooled."""
    found = []
    for subject in subjects:
        for scenario in scenarios_of(subject):
            for category in CATEGORIES:
                drawn = {model: _diagram(evidence, model, subject, scenario, category) for model in evidence}
                known = {model: table for model, table in drawn.items() if table is not None}
                if known:
                    found.append(_tercile(subject, setting, scenario, category, known))
    return found


def spectra(evidence: Evidence, subjects: Sequence[Subject], setting: Setting) -> list[Illustration]:
    """Variance by scale of every model's members beside what came about."""
    found = []
    for subject in subjects:
        for scenario in scenarios_of(subject):
            held = {model: _spectrum(evidence, model, subject, scenario) for model in evidence}
            known = {model: spectrum for model, spectrum in held.items() if spectrum is not None}
            if known:
                found.append(_spectra(subject, setting, scenario, known))
    return found


def _each(subjects: Sequence[Subject], evidence: Evidence) -> list[tuple[Subject, str, str]]:
    """Each subject under each scenario for each model."""
    return [
        (subject, scenario, model) for subject in subjects for scenario in scenarios_of(subject) for model in evidence
    ]


def _of(evidence: Evidence, model: str, part: str, subject: Subject) -> xr.Dataset | None:
    """A part of a model's evidence for one subject; None where there is none."""
    held = evidence.get(model, {}).get(part)
    if held is None or not held.data_vars or subject.labels["variable"] not in held["variable"].values:
        return None
    return held.sel({dim: label for dim, label in subject.labels.items() if dim in held.dims}, drop=True)


def _pools(sums: xr.Dataset, *, is_issuing: bool) -> list[xr.Dataset]:
    """All leads together and, for the issuing model, some of them one by one."""
    blocks = sums.sizes["lead"]
    if not blocks:
        return []
    if not is_issuing or blocks == 1:
        return [sums]
    chosen = np.unique(np.linspace(0, blocks - 1, min(blocks, MOST_BLOCKS)).astype(int))
    return [sums, *(sums.isel(lead=[one]) for one in chosen)]


def _skill_map(
    subject: Subject, setting: Setting, model: str, scenario: str, sums: xr.Dataset, reference: str
) -> Illustration:
    first, last = int(sums["lead_first"].min()), int(sums["lead_last"].max())
    maps = finish_maps(sums.sum("lead"))
    area = area_weights(maps).where(maps["verdict"].notnull(), 0.0)
    shares = [100 * float((maps["verdict"] == sign).weighted(area).mean()) for sign in (1, -1)]
    when = _when(subject, setting, first, last)
    verdict = (
        f"Better on {shares[0]:.0f} % of the area, worse on {shares[1]:.0f} %"
        if area.sum() > 0
        else "Too few cases to say where it differs"
    )
    caption = f"{model}, {subject.name}{under(scenario)}, {when}. {verdict}."
    title = ", ".join(part for part in (model, subject.name, scenario, when) if part)
    figure = field_map(
        maps["skill"],
        classes=skill_classes(),
        quantity=f"CRPS skill against {reference}",
        title=title,
        hatched=~(abs(maps["verdict"]) == 1),
        meaning="no difference shown",
    )
    return illustrate(figure, "skillmap", subject.name, scenario, model, f"{first}-{last}", caption=caption)


def _when(subject: Subject, setting: Setting, first: int, last: int) -> str:
    """Leads as valid years where these name them, else as leads."""
    if setting.lead == "valid years":
        return span_text(subject.forecast["valid_time"].sel(lead_time=slice(first, last)), "years")
    span = f"{first}" if first == last else f"{first}–{last}"
    return f"lead {span} ({lead_words(subject.forecast['lead_time'])})"


def _diagram(evidence: Evidence, model: str, subject: Subject, scenario: str, category: str) -> xr.Dataset | None:
    counts = _of(evidence, model, "terciles", subject)
    if counts is None:
        return None
    mine = of_scenario(counts, scenario).sel(category=category)
    cases = int((mine["weight"].sum("count") > 0).sum())
    table = share_table(mine.sum(("init_time", "lead_time")))
    if table is None:
        return None
    reached = (table["weight"].cumsum() / table["weight"].sum()).values
    common = (reached > _RARE) & (np.append(0.0, reached[:-1]) < 1 - _RARE)
    return reliability(table, independent=max(cases, 1), draws=300).isel(probability=np.flatnonzero(common))


def _tercile(
    subject: Subject, setting: Setting, scenario: str, category: str, tables: Mapping[str, xr.Dataset]
) -> Illustration:
    happened = 100 * float(next(iter(tables.values()))["base_rate"])
    third = f"{'lower' if category == 'below' else 'upper'} third"
    normal = "what its warming leads one to expect" if scenario else f"{setting.years} at that time of year"
    caption = (
        f"{subject.label.capitalize()}{under(scenario)} in the {third} of {normal}: how often it came true for each "
        f"share of members that said so, over all cells and judged leads. It came true in {happened:.0f} % of cases. "
        "On the dashed line a share is an honest probability; a flat line says that the share carries no information."
    )
    scores = ("brier", "miscalibration", "discrimination", "roc_area")
    rows = tuple((name, *[f"{float(table[score]):.3f}" for score in scores]) for name, table in tables.items())
    numbers = Table(("model", "Brier score", "miscalibration", "discrimination", "ROC area"), rows)
    quantity = f"{subject.name}{under(scenario)}, {third}"
    figure = reliability_diagram(tables, quantity=quantity, banded=setting.model, look=setting.look)
    return illustrate(figure, "reliability", subject.name, scenario, category, caption=caption, table=numbers)


def _spectrum(evidence: Evidence, model: str, subject: Subject, scenario: str) -> xr.Dataset | None:
    held = _of(evidence, model, "spectra", subject)
    if held is None or held.sizes["wavenumber"] < _FEWEST_WAVES:
        return None
    if "scenario" in held.dims and scenario not in held["scenario"].values:
        return None
    return of_scenario(held, scenario)


def _spectra(subject: Subject, setting: Setting, scenario: str, known: Mapping[str, xr.Dataset]) -> Illustration:
    about = f"{subject.name}{under(scenario)}"
    ratios = {
        model: np.stack([(one[end] / one["observed"]).values for end in ("low", "median", "high")])
        for model, one in known.items()
    }
    axis = "waves in the circle" if is_global(subject.mean["longitude"]) else "half waves across the area"
    figure = spectrum_chart(ratios, quantity=about, axis=axis, banded=setting.model, look=setting.look)
    parts = (slice(0, 3), slice(next(iter(ratios.values())).shape[1] // 2, None))
    rows = tuple(
        (model, *[amount(float(one["median"][part].sum() / one["observed"][part].sum())) for part in parts])
        for model, one in known.items()
    )
    caption = (
        f"{about}: variance of anomalies by scale, members over the {setting.record}; long waves left, short ones "
        "right. Below 1 the members are too smooth at that scale, above it too rough."
    )
    numbers = Table(("members' variance over the truth's", "three longest waves", "shorter half"), rows)
    return illustrate(figure, "spectrum", subject.name, scenario, caption=caption, table=numbers)
