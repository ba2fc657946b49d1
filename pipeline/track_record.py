"""The track record in figures: skill and spread by lead, ranks, reliability, and the losses of training."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from pipeline.captions import Illustration, Setting, Table, amount, illustrate, under
from pipeline.figures import lead_chart, loss_curves, rank_histogram, reliability_diagram
from pipeline.scoreboard import Score, pooled_ranks
from pipeline.summaries import Subject, event_reliability

Pick = Callable[[Score], tuple[float, float, float]]
_NAN = float("nan")


def skill_charts(scores: Sequence[Score], setting: Setting, *, reference: str) -> list[Illustration]:
    """CRPS skill against the reference by lead, for each variable and scenario."""
    return [
        _by_lead(
            ("skill", *group),
            mine,
            setting,
            lambda score: score.skill,
            quantity=f"CRPS skill against {reference}",
            neutral=0.0,
            meaning="above 0 is better; a bar that crosses 0 shows no difference",
        )
        for group, mine in _grouped([score for score in scores if score.model != reference]).items()
    ]


def spread_charts(scores: Sequence[Score], setting: Setting) -> list[Illustration]:
    """Spread over error by lead, for each variable and scenario."""
    return [
        _by_lead(
            ("spread", *group),
            mine,
            setting,
            lambda score: score.spread_skill,
            quantity="spread over error (1 = right)",
            neutral=1.0,
            meaning="below 1 the ensemble is too sure of itself, above 1 too unsure",
        )
        for group, mine in _grouped(scores).items()
    ]


def rank_histograms(scores: Sequence[Score], setting: Setting) -> list[Illustration]:
    """One for each variable, scenario and model, pooled over leads."""
    found = []
    for (variable, scenario), mine in _grouped(scores).items():
        for model in dict.fromkeys(score.model for score in mine):
            frequency = pooled_ranks([score for score in mine if score.model == model])
            if frequency.size:
                caption = (
                    f"{model}, {variable}{under(scenario)}: the truth lay outside of all {frequency.size - 1} members "
                    f"in {100 * (frequency[0] + frequency[-1]):.1f} % of cases; {200 / frequency.size:.1f} % is "
                    "expected."
                )
                figure = rank_histogram(frequency, colour=setting.look[model].colour)
                found.append(illustrate(figure, "ranks", variable, scenario, model, caption=caption))
    return found


def reliability_diagrams(by_model: Mapping[str, Sequence[Subject]], setting: Setting) -> list[Illustration]:
    """For each variable and judged scenario, all models in one diagram; none where no truth is known."""
    found = []
    for place, subject in enumerate(by_model[setting.model]):
        for scenario, years in setting.judged.items():
            known = {
                model: event_reliability(mine[place], scenario or None, quantile=setting.quantile, years=years)
                for model, mine in by_model.items()
            }
            tables = {model: table for model, table in known.items() if table is not None}
            if tables:
                found.append(_reliability(subject, setting, scenario, tables))
    return found


def loss_charts(cards: Sequence[Mapping[str, Any]]) -> list[Illustration]:
    """A loss curve for each model card that has one."""
    return [_loss(str(card["name"]), card["curve"]) for card in cards if card.get("curve")]


def _grouped(scores: Sequence[Score]) -> dict[tuple[str, str], list[Score]]:
    """Scores by variable and scenario, in their order."""
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.variable, score.scenario), []).append(score)
    return groups


def _by_lead(
    name: tuple[str, str, str],
    scores: Sequence[Score],
    setting: Setting,
    pick: Pick,
    *,
    quantity: str,
    neutral: float,
    meaning: str,
) -> Illustration:
    """A chart of one number of the scorecard by lead, models side by side."""
    about = f"{name[1]}{under(name[2])}"
    leads = list(dict.fromkeys(score.lead for score in scores))
    cells = {(score.model, score.lead): pick(score) for score in scores}
    models = dict.fromkeys(score.model for score in scores)
    curves = {model: np.array([cells.get((model, lead), (_NAN,) * 3) for lead in leads]).T for model in models}
    figure = lead_chart(
        curves, leads=leads, axis=setting.lead, quantity=f"{about}: {quantity}", neutral=neutral, look=setting.look
    )
    return illustrate(figure, *name, caption=f"{about}, {quantity.split(' (')[0]}: {meaning}.")


def _reliability(subject: Subject, setting: Setting, scenario: str, tables: Mapping[str, xr.Dataset]) -> Illustration:
    years = "–".join(map(str, setting.judged[scenario]))
    happened = 100 * float(next(iter(tables.values()))["base_rate"])
    caption = (
        f"{subject.label.capitalize()}{under(scenario)} above each cell's {setting.limit}: how often it came true for "
        f"each share of members that said so, over all cells and the years {years}, which no fit has seen. It came "
        f"true in {happened:.0f} % of cases. Below the diagonal the members say it too often."
    )
    scores = ("brier", "miscalibration", "discrimination", "roc_area")
    rows = tuple((name, *[amount(float(table[score])) for score in scores]) for name, table in tables.items())
    numbers = Table(("model", "Brier score", "miscalibration", "discrimination", "ROC area"), rows)
    figure = reliability_diagram(tables, banded=setting.model, look=setting.look)
    return illustrate(figure, "reliability", subject.name, scenario, caption=caption, table=numbers)


def _loss(name: str, rows: Sequence[Mapping[str, float | None]]) -> Illustration:
    steps = np.array([row["step"] for row in rows], dtype=float)
    losses = {part: np.array([row.get(part) for row in rows], dtype=float) for part in ("train", "validate")}
    known = {part: loss for part, loss in losses.items() if np.isfinite(loss).any()}
    ends = "; ".join(f"{part} ends at {loss[np.isfinite(loss)][-1]:.3g}" for part, loss in known.items())
    figure = loss_curves({part: (steps, loss) for part, loss in known.items()})
    return illustrate(figure, "loss", name, caption=f"Loss of {name} in training: {ends}.")
