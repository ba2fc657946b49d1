"""Two answers side by side: pairs of one forecast, independent members of two."""

import numpy as np
import pytest

from pipeline.answers.answer import answer
from pipeline.answers.comparison import comparison_text
from pipeline.answers.intervals import difference_interval, paired_correlation, proportion_interval, ratio_interval
from pipeline.events.errors import QuestionError
from tests.asking import catalogue, forecast, record, with_scenarios

WEST = "prob tas.mean(over=west).mean(time=DJF 2004) > 5.1 degC"
SOUTH = WEST.replace("west", "box(lat=-10..0, lon=100..120)")


def asked(text, ensemble, **options):
    return answer(text, ensemble=ensemble, reference=record(), catalogue=catalogue(ensemble), **options)


def compared(first, second, ensemble):
    return asked(first, ensemble).compare(asked(second, ensemble))


def test_two_scenarios_compared_by_answers_are_compared_as_by_the_language():
    both = with_scenarios([forecast(members=50, warming=0.3), forecast(members=50)], ["high", "low"])
    by_language = asked(f"{WEST} scenario high vs low", both).to_json()
    found = compared(f"{WEST} scenario high", f"{WEST} scenario low", both)
    for part in ("value", "low", "high", "correlation", "method"):
        assert found["difference"][part] == by_language["difference"][part]
        assert found["probability_ratio"][part] == by_language["probability_ratio"][part]
    assert found["names"] == ["high", "low"]


def test_two_regions_of_one_forecast_are_pairs_and_agree_with_resampling_members():
    ensemble = forecast(members=100)
    first, second = asked(WEST, ensemble), asked(SOUTH, ensemble)
    found = first.compare(second)
    events = np.stack([each.members["event"].values for each in (first, second)])
    picks = events[:, np.random.default_rng(0).integers(0, 100, (4000, 100))].mean(axis=2)
    low, high = np.quantile(picks[0] - picks[1], [0.05, 0.95])
    assert found["difference"]["correlation"] > 0.2  # the regions share cells, and members
    assert found["difference"]["low"] == pytest.approx(low, abs=0.03)
    assert found["difference"]["high"] == pytest.approx(high, abs=0.03)
    assert found["names"] == ["west", "box(lat=-10..0, lon=100..120)"]
    assert found["warnings"] == []


def test_members_of_two_forecasts_are_independent():
    ensemble = forecast(members=30, starts=2, leads=18)
    text = "prob tas.mean(over=west).mean(time=2005-02) > 5.1 degC forecast "
    found = compared(f"{text}fc-2003-10-01", f"{text}fc-2004-10-01", ensemble)
    chances = [proportion_interval(part["members"]["event"] / 30, 30) for part in found["answers"]]
    difference, ratio = found["difference"], found["probability_ratio"]
    assert difference["method"] == "square-and-add, members independent"
    assert (difference["low"], difference["high"]) == difference_interval(*chances)
    assert (ratio["low"], ratio["high"]) == ratio_interval(*chances)
    assert found["names"] == ["fc-2003-10-01", "fc-2004-10-01"]
    assert found["warnings"] == []


def test_one_lead_of_two_forecasts_is_not_one_time():
    text = "prob tas.mean(over=west).mean(time=lead 1) > 12 degC forecast "
    found = compared(f"{text}2003-10-01", f"{text}2004-10-01", forecast(members=30, starts=2))
    assert [warning["code"] for warning in found["warnings"]] == ["windows_differ"]
    assert "fc-2004-10-01 is about 2004-10-01 to 2004-10-31" in found["warnings"][0]["text"]


def test_two_scenarios_are_named_once():
    both = with_scenarios([forecast(members=30, seed=1), forecast(members=30, seed=2)], ["high", "low"])
    said = comparison_text(compared(f"{WEST} scenario high", f"{WEST} scenario low", both)).splitlines()
    assert said[0].startswith("high: ")
    assert not any("Under" in line for line in said)


def test_questions_that_differ_otherwise_are_first_and_second():
    found = compared(WEST, WEST.replace("5.1", "4"), forecast(members=30))
    assert found["names"] == ["first", "second"]
    assert found["headline"]["text"].startswith("first: ")


def test_a_question_compared_with_itself_differs_by_no_more_than_its_members_can_say():
    difference = compared(WEST, WEST, forecast(members=30))["difference"]
    assert (difference["value"], difference["low"], difference["high"]) == pytest.approx((0, -0.056, 0.056), abs=0.001)
    assert difference["correlation"] == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("other", ["map of tas.mean(time=DJF 2004) > 5 degC", f"{WEST} scenario high vs low"])
def test_only_single_chances_are_compared(other):
    both = with_scenarios([forecast(members=30), forecast(members=30)], ["high", "low"])
    other = other if "vs" in other else f"{other} scenario high"
    with pytest.raises(QuestionError) as error:
        compared(f"{WEST} scenario high", other, both)
    assert error.value.code == "not_comparable"


def test_intervals_of_two_levels_are_not_compared():
    ensemble = forecast(members=30)
    with pytest.raises(QuestionError, match="Intervals of 90 % and of 50 % are not compared"):
        asked(WEST, ensemble).compare(asked(SOUTH, ensemble, level=0.5))


def test_members_that_one_count_leaves_out_loosen_the_pairs():
    whole = np.arange(100) % 2.0
    half = np.where(np.arange(100) < 50, whole, np.nan)
    assert paired_correlation(whole, half) == pytest.approx(np.sqrt(0.5), abs=0.03)
    draws = np.random.default_rng(0).integers(0, 2, (4000, 100))
    seen = np.corrcoef(draws.mean(axis=1), draws[:, :50].mean(axis=1))[0, 1]
    assert seen == pytest.approx(np.sqrt(0.5), abs=0.03)
