"""The worked questions of the specification, on a small system: four spellings of each, and one answer."""

import json

import pytest

from pipeline.answers.compose import dist, level, prob, value, var
from pipeline.events import from_steps, from_url, from_yaml, parse, question_url, to_steps, to_yaml
from tests.test_answers import ask, projection

WARMTH = var("tas").anom().mean(over="west")
HOT = var("tas").mean(over="west").mean(time="DJF 2004") > "p80"
DRY = var("pr").mean(over="west").sum(time="DJF 2004") < "p20"
EAST = "box(lat=-15..20, lon=130..165)"

WORKED = {
    "point, absolute": (
        "tas.mean(over=point(0, 120)).mean(time=2004-01) > 5 degC",
        prob(var("tas").mean(over="point(0, 120)").mean(time="2004-01") > "5 degC", scenario="low"),
    ),
    "region mean, anomaly, season": (
        "tas.anom.mean(over=west).mean(time=DJF 2004) >= 0.5 degC",
        prob(WARMTH.mean(time="DJF 2004") >= "0.5 degC", scenario="low"),
    ),
    "between two values": (
        "tas.anom.mean(over=west).mean(time=MAM 2004) between -0.5 degC and 0.5 degC",
        prob(WARMTH.mean(time="MAM 2004").between("-0.5 degC", "0.5 degC"), scenario="low"),
    ),
    "percentile, share of area": (
        "(pr.sum(time=MAM 2004) < p33.3).frac(over=west) >= 30 %",
        prob((var("pr").sum(time="MAM 2004") < "p33.3").frac(over="west") >= "30 %", scenario="low"),
    ),
    "any cell, any month, sigma": (
        f"(tas.anom < -2 sigma).any(over={EAST}).any(time=DJF 2004)",
        prob((var("tas").anom() < "-2 sigma").any(over=EAST).any(time="DJF 2004"), scenario="low"),
    ),
    "count": (
        "(tas.mean(over=west) > p90).count(time=MAM 2004) >= 2 months",
        prob((var("tas").mean(over="west") > "p90").count(time="MAM 2004") >= "2 months", scenario="low"),
    ),
    "duration": (
        "(tas.anom.mean(over=west).roll(mean=3 months) >= 0.1 degC).run(time=lead 1..9) >= 3 months",
        prob((WARMTH.roll(mean="3 months") >= "0.1 degC").run(time="lead 1..9") >= "3 months", scenario="low"),
    ),
    "first passage": (
        "dist of (tas.anom.mean(over=west) >= 0.5 degC).first(time=lead 1..9, run=2)",
        dist((WARMTH >= "0.5 degC").first(time="lead 1..9", run=2), scenario="low"),
    ),
    "joint across regions": (
        "tas.mean(over=west).mean(time=DJF 2004) > p80 and pr.mean(over=west).sum(time=DJF 2004) < p20 and "
        f"tas.mean(over={EAST}).mean(time=DJF 2004) > p80",
        prob(HOT & DRY & (var("tas").mean(over=EAST).mean(time="DJF 2004") > "p80"), scenario="low"),
    ),
    "A, then B": (
        "(tas.anom.mean(over=west) >= 0.5 degC).then(pr.mean(over=west) < p20, within=6 months).any(time=lead 1..3)",
        prob(
            (WARMTH >= "0.5 degC").then(var("pr").mean(over="west") < "p20", within="6 months").any(time="lead 1..3"),
            scenario="low",
        ),
    ),
    "conditional": (
        "pr.mean(over=west).sum(time=JFM 2004) > p66.7 given tas.anom.mean(over=west).mean(time=DJF 2004) <= 0.3 degC",
        prob(
            var("pr").mean(over="west").sum(time="JFM 2004") > "p66.7",
            given=WARMTH.mean(time="DJF 2004") <= "0.3 degC",
            scenario="low",
        ),
    ),
    "scenarios compared": (
        "tas.anom(clim=hist:1991-2010).mean(over=west).mean(time=each DJF 2004..2006) > 0.5 degC scenario high vs low",
        prob(
            var("tas").anom(clim="hist:1991-2010").mean(over="west").mean(time="each DJF 2004..2006") > "0.5 degC",
            scenario=("high", "low"),
        ),
    ),
    "quantile": (
        "value of pr.mean(over=west).sum(time=MAM 2004) exceeded with 10 %",
        value(var("pr").mean(over="west").sum(time="MAM 2004"), exceeded="10 %", scenario="low"),
    ),
    "return level": (
        "level of tas.mean(over=west).max(time=each year 2004..2006) return 20 years",
        level(var("tas").mean(over="west").max(time="each year 2004..2006"), return_period="20 years", scenario="low"),
    ),
}


@pytest.fixture(scope="module")
def ensemble():
    return projection(leads=48)


@pytest.mark.parametrize("name", WORKED)
def test_each_worked_question_is_one_answer_in_four_spellings(name, ensemble):
    text, built = WORKED[name]
    question = parse(text if "scenario" in text else f"{text} scenario low")
    assert built == question
    spellings = (built, from_yaml(to_yaml(question)), from_steps(to_steps(question)), from_url(question_url(question)))
    assert len(set(spellings)) == 1
    answer = ask(question, ensemble).to_json()
    json.dumps(answer, allow_nan=False)
    assert answer["schema"] == "answer/1"
    assert answer["headline"]["text"]
    assert answer["question"]["reads_as"].endswith("?")
    for part in answer.get("scenarios", [answer]) if question.ask == "prob" else []:
        assert 0 <= part["interval"]["low"] <= part["probability"]["raw"] <= part["interval"]["high"] <= 1
        assert part["base_rate"] is not None
