"""The track record in figures: skill and spread by lead, ranks, and the losses of training."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.reporting.captions import Illustration, Setting, illustrate, under
from pipeline.reporting.charts import lead_chart, loss_curves, rank_histogram
from pipeline.reporting.scoreboard import Score, pooled_ranks

Pick = Callable[[Score], tuple[float, float, float]]
_NAN = float("nan")


def skill_charts(scores: Sequence[Score], setting: Setting, *, reference: str) -> list[Illustration]:
    """CRPS skill against the reference by lead, for each variable and scenario that was judged."""
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
        for group, mine in _grouped(scores, lambda score: score.model != reference and np.isfinite(score.skill[0]))
    ]


def spread_charts(scores: Sequence[Score], setting: Setting) -> list[Illustration]:
    """Spread over error by lead, for each variable and scenario that was judged."""
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
        for group, mine in _grouped(scores, lambda score: np.isfinite(score.spread_skill[0]))
    ]


def rank_histograms(scores: Sequence[Score], setting: Setting) -> list[Illustration]:
    """For each variable and scenario all models in one, pooled over leads."""
    found = []
    for (variable, scenario), mine in _grouped(scores, lambda score: bool(score.ranks)):
        models = dict.fromkeys(score.model for score in mine)
        ranks = {model: pooled_ranks([score for score in mine if score.model == model]) for model in models}
        known = {model: frequency for model, frequency in ranks.items() if frequency.size}
        if known:
            about = f"{variable}{under(scenario)}"
            outside = ", ".join(f"{model} {100 * (ends[0] + ends[-1]):.1f} %" for model, ends in known.items())
            expected = 200 / next(iter(known.values())).size
            caption = (
                f"{about}: cases in which the truth lay outside of all members: {outside}; expected {expected:.1f} %."
            )
            figure = rank_histogram(known, quantity=about, look=setting.look)
            found.append(illustrate(figure, "ranks", variable, scenario, caption=caption))
    return found


def loss_charts(cards: Sequence[Mapping[str, Any]]) -> list[Illustration]:
    """A loss curve for each model card that has one."""
    return [_loss(str(card["name"]), card["curve"]) for card in cards if card.get("curve")]


def _grouped(scores: Sequence[Score], wanted: Callable[[Score], bool]) -> list[tuple[tuple[str, str], list[Score]]]:
    """The wanted scores by variable and scenario, in the order of all; groups without any are left out."""
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.variable, score.scenario), []).extend([score] if wanted(score) else [])
    return [(group, mine) for group, mine in groups.items() if mine]


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


def _loss(name: str, rows: Sequence[Mapping[str, float | None]]) -> Illustration:
    steps = np.array([row["step"] for row in rows], dtype=float)
    losses = {part: np.array([row.get(part) for row in rows], dtype=float) for part in ("train", "validate")}
    known = {part: loss for part, loss in losses.items() if np.isfinite(loss).any()}
    ends = "; ".join(f"{part} ends at {loss[np.isfinite(loss)][-1]:.3g}" for part, loss in known.items())
    figure = loss_curves({part: (steps, loss) for part, loss in known.items()})
    return illustrate(figure, "loss", name, caption=f"Loss of {name} in training: {ends}.")
