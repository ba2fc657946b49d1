"""The sentence at the top: which number it says, and what it may call it."""

import numpy as np
import pytest

from pipeline.answers.card import skill_text
from pipeline.answers.headline import amounts, factor, headline, likelihood_term, percent, points
from pipeline.answers.intervals import Estimate, proportion_interval
from pipeline.answers.probability import BaseRate, tally
from pipeline.reporting.wording import answer_cards


def counted(events, total):
    event = np.arange(total)[:, np.newaxis] < events
    return tally(event, np.ones_like(event), np.ones_like(event), level=0.9)


def rate(events, years=30):
    return BaseRate(proportion_interval(events / years, years), events, years, float(years), 1.0)


CALIBRATED = {"state": "calibrated"}


def said(events, total, base, *, skill="skilful", calibration=CALIBRATED, **more):
    return headline(
        counted(events, total),
        base,
        skill={"verdict": skill, **more},
        calibration=calibration,
        level=0.9,
        scenario=None,
    )


def test_a_skilful_calibrated_share_is_a_probability():
    found = said(29, 50, rate(10))
    assert found["source"] == "calibrated"
    assert found["text"] == (
        "Probability 58 % (29 of 50 members; 90 % interval 46 to 69 %); usual odds 33 %. 1.7 times the usual odds."
    )


def test_without_skill_the_usual_odds_come_first():
    found = said(9, 20, rate(9), skill="no_evidence", value=0.02, low=-0.09, high=0.11, hindcasts=24)
    assert found["source"] == "climatology"
    assert found["value"] == pytest.approx(0.3)
    assert found["text"] == (
        "Usual odds 30 %. This system has shown no skill for this kind of question (Brier skill 0.02, 90 % interval "
        "−0.09 to 0.11, 24 past forecasts). Its members say 45 %; we do not recommend using that number."
    )


def test_a_skill_below_zero_has_a_minus_sign():
    skill = {"verdict": "no_evidence", "value": -0.094, "low": -0.31, "high": -0.001, "hindcasts": 24}
    assert skill_text(skill) == "no evidence: Brier skill −0.09 (−0.31 to 0.00) in 24 past forecasts"
    (card,) = answer_cards([{"skill": skill}])
    assert ("Skill", "none shown in past forecasts: −0.09 (−0.31 to 0.00)") in card.facts
    assert (
        "(Brier skill −0.09, 90 % interval −0.31 to 0.00, "
        in said(
            9, 20, rate(9), skill="no_evidence", **{name: value for name, value in skill.items() if name != "verdict"}
        )["text"]
    )


def test_cells_that_were_not_measured_are_not_counted_among_those_without_skill():
    def told(**cells):
        return skill_text({"verdict": "by_cell", "cells": {"not_measured": 0, "skilful": 0, "no_evidence": 0, **cells}})

    assert told(skilful=3, no_evidence=9) == "skilful in 3 of 12 cells"
    assert told(not_measured=8, no_evidence=4) == "skilful in 0 of 4 cells, not measured in 8"
    assert told(not_measured=12) == "not measured in 12 cells"


def test_few_windows_without_the_event_bound_the_usual_odds_in_words_that_say_something():
    few = BaseRate(proportion_interval(0.0, 1.6), 0, 53, 1.6, 90.0)
    text = said(4, 20, few, calibration={"state": "uncalibrated"})["text"]
    assert "; usual odds at most 85 % (never in 53 overlapping windows of 90 years)" in text
    assert "; usual odds fewer than 1 in 10 (never in 30 years)" in said(4, 20, rate(0))["text"]


def test_without_calibration_it_is_not_called_a_probability():
    found = said(32, 50, rate(10), calibration={"state": "uncalibrated"})
    assert found["source"] == "members"
    assert found["text"] == (
        "64 % (32 of 50 members; 90 % interval 52 to 74 %); usual odds 33 %. A share of members. Not calibrated, so "
        "not a probability."
    )
    for verdict in ("not_measured", "not_applicable"):
        assert not said(32, 50, rate(10), skill=verdict)["text"].startswith("Probability")


@pytest.mark.parametrize(
    ("ratio", "text"), [(2.13, "2.1"), (170.3, "170"), (0.84, "0.84"), (2.0, "2"), (1e6, "1000000")]
)
def test_a_ratio_has_two_digits_and_no_exponent(ratio, text):
    assert factor(ratio) == text


POINTS = {0.0: "0", 0.004: "0", -0.004: "0", 0.005: "+1", -0.005: "−1", 0.125: "+13", -0.3: "−30", 1.0: "+100"}


@pytest.mark.parametrize("difference", POINTS)
def test_a_difference_is_in_whole_points_and_nothing_has_no_sign(difference):
    assert points(difference) == POINTS[difference]


def test_a_half_is_rounded_up_as_the_page_does():
    assert [percent(events / 40) for events in (1, 31, 37)] == ["3 %", "78 %", "93 %"]
    assert percent(0.00125) == "0.1 %"


def test_nothing_is_ever_0_or_100_percent():
    never, always = said(0, 20, rate(10))["text"], said(20, 20, rate(0))["text"]
    assert never.startswith(
        "Probability: fewer than 1 in 7 (0 of 20 members; the true chance could be as high as 14 %)"
    )
    assert "more than 6 in 7 (all 20 members; the true chance could be as low as 86 %)" in always
    assert "usual odds fewer than 1 in 10 (never in 30 years)" in always
    assert "usual odds at most 63 % (never in 3 years)" in said(20, 20, rate(0, years=3))["text"]
    assert "none of 2 members (the true chance could be as high as 78 %)" in said(0, 2, rate(10))["text"]
    assert "all 2 members (the true chance could be as low as 22 %)" in said(2, 2, rate(10))["text"]
    assert [percent(chance) for chance in (0.002, 0.996, 0.9999, 0.5)] == ["0.2 %", "99.6 %", "99.99 %", "50 %"]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([3.8567, 4.5446, 4.9742], ["3.86", "4.54", "4.97"]),
        ([-1.06, 0.004, 12.0], ["−1.1", "0.0", "12.0"]),
        ([290.2624, 290.2322, 290.32], ["290.262", "290.232", "290.320"]),
        ([1234.5, 7801.0], ["1235", "7801"]),
        ([0.00012, 0.00061], ["0.000120", "0.000610"]),
        ([5.0, None, float("inf")], ["5", "unbounded", "unbounded"]),
        ([11.0, 9.0, 12.0], ["11", "9", "12"]),
        ([-0.2, 0.0, 300.0], ["0", "0", "300"]),
        ([1432963763989368.0, 1.9e15, None], ["1.433e15", "1.900e15", "unbounded"]),
        ([6.999961461478958, 6.999961461478726], ["7.00", "7.00"]),
    ],
)
def test_amounts_have_the_digits_that_their_range_deserves(values, texts):
    assert amounts(values) == texts


@pytest.mark.parametrize(
    ("low", "high", "term"),
    [
        (0.7, 0.9, "likely"),
        (0.92, 0.97, "very likely"),
        (0.4, 0.6, "about as likely as not"),
        (0.0, 0.005, "exceptionally unlikely"),
        (0.2, 0.5, None),
    ],
)
def test_words_hold_the_whole_interval(low, high, term):
    assert likelihood_term(Estimate((low + high) / 2, low, high)) == term
