"""The language: four spellings of one tree, what each step takes, and what is refused with which sentence."""

import string
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.answers.compose import dist, level, map_of, prob, series, value, var
from pipeline.events import (
    QuestionError,
    examples,
    from_steps,
    from_url,
    from_yaml,
    parse,
    parse_expression,
    parse_region,
    parse_threshold,
    parse_window,
    question_id,
    question_text,
    question_url,
    to_steps,
    to_yaml,
)
from pipeline.events.kinds import kind_of
from pipeline.events.tree import (
    Absolute,
    All,
    Box,
    Comparison,
    Dates,
    Each,
    Leads,
    Named,
    Outline,
    Percentile,
    Point,
    Polygon,
    Question,
    Record,
    Reduction,
    Season,
    Sigma,
    Variable,
)
from pipeline.events.write import region_text, threshold_text, window_text
from tests.questions import Asker

HEAT = var("tas").mean(over="iberia").mean(time="JJA 2027")
DRY = var("pr").mean(over="iberia").sum(time="JJA 2027")
NINO = var("sst").anom().mean(over="nino34")

EXAMPLES = [
    (
        "prob tas.mean(over=point(40.4, -3.7)).mean(time=2027-07) > 27 degC",
        prob(var("tas").mean(over="point(40.4, -3.7)").mean(time="2027-07") > "27 degC"),
    ),
    (
        "prob sst.anom.mean(over=nino34).mean(time=DJF 2028) >= 0.5 degC",
        prob(NINO.mean(time="DJF 2028") >= "0.5 degC"),
    ),
    (
        "prob sst.anom.mean(over=nino34).mean(time=MAM 2027) between -0.5 degC and 0.5 degC",
        prob(NINO.mean(time="MAM 2027").between("-0.5 degC", "0.5 degC")),
    ),
    (
        "prob (pr.sum(time=MAM 2027) < p33.3).frac(over=iberia) >= 30 %",
        prob((var("pr").sum(time="MAM 2027") < "p33.3").frac(over="iberia") >= "30 %"),
    ),
    (
        "prob (slp.anom < -2 sigma).any(over=box(lat=40..65, lon=-60..0)).any(time=DJF 2028)",
        prob((var("slp").anom() < "-2 sigma").any(over="box(lat=40..65, lon=-60..0)").any(time="DJF 2028")),
    ),
    (
        "prob (tas.mean(over=iberia) > p90).count(time=JJA 2027) >= 2 months",
        prob((var("tas").mean(over="iberia") > "p90").count(time="JJA 2027") >= "2 months"),
    ),
    (
        "prob (sst.anom.mean(over=nino34).roll(mean=3 months) >= 0.5 degC).run(time=lead 1..12) >= 5 months",
        prob((NINO.roll(mean="3 months") >= "0.5 degC").run(time="lead 1..12") >= "5 months"),
    ),
    (
        "dist of (sst.anom.mean(over=nino34) >= 1.5 degC).first(time=lead 1..12, run=2)",
        dist((NINO >= "1.5 degC").first(time="lead 1..12", run=2)),
    ),
    (
        "prob tas.mean(over=iberia).mean(time=JJA 2027) > p80 and pr.mean(over=iberia).sum(time=JJA 2027) < p20",
        prob((HEAT > "p80") & (DRY < "p20")),
    ),
    (
        "prob (sst.anom.mean(over=nino34) >= 0.5 degC).then(pr.mean(over=southern_africa) < p20, within=6 months)"
        ".any(time=lead 1..12)",
        prob(
            (NINO >= "0.5 degC")
            .then(var("pr").mean(over="southern_africa") < "p20", within="6 months")
            .any(time="lead 1..12")
        ),
    ),
    (
        "prob pr.mean(over=eastern_australia).sum(time=JFM 2028) > p66.7 "
        "given sst.anom.mean(over=nino34).mean(time=DJF 2028) <= -0.5 degC",
        prob(
            var("pr").mean(over="eastern_australia").sum(time="JFM 2028") > "p66.7",
            given=NINO.mean(time="DJF 2028") <= "-0.5 degC",
        ),
    ),
    (
        "prob tas.anom(clim=hist:1961-1990).mean(over=north_america).mean(time=each JJA 2070..2099) > 2 degC "
        "scenario A1B vs E1",
        prob(
            var("tas").anom(clim="hist:1961-1990").mean(over="north_america").mean(time="each JJA 2070..2099")
            > "2 degC",
            scenario=("A1B", "E1"),
        ),
    ),
    (
        "dist of sst.anom(clim=model).mean(over=nino34).mean(time=DJF 2028)",
        dist(var("sst").anom(clim="model").mean(over="nino34").mean(time="DJF 2028")),
    ),
    (
        "series of sst.anom(clim=model:1991-2020).mean(over=nino34) >= p90",
        series(var("sst").anom(clim="model:1991-2020").mean(over="nino34") >= "p90"),
    ),
    (
        "value of pr.mean(over=iberia).sum(time=MAM 2027) exceeded with 10 %",
        value(var("pr").mean(over="iberia").sum(time="MAM 2027"), exceeded="10 %"),
    ),
    (
        "level of tas.mean(over=north_america).max(time=each year 2040..2069) return 20 years scenario A1B",
        level(
            var("tas").mean(over="north_america").max(time="each year 2040..2069"),
            return_period="20 years",
            scenario="A1B",
        ),
    ),
    (
        "map of not (tas.mean(time=2050) > record or tas.mean(time=2051) < record) forecast fc-1999-12-01",
        map_of(
            ~((var("tas").mean(time="2050") > "record") | (var("tas").mean(time="2051") < "record")),
            forecast="fc-1999-12-01",
        ),
    ),
    (
        "series of tas.mean(over=polygon(36 -10, 36 3.5, 44 3.5, 44 -10)) outside 1e-07 K and 280 K scenario ssp2-4.5",
        series(
            var("tas").mean(over="polygon(36 -10, 36 3.5, 44 3.5, 44 -10)").outside("0.0000001 K", "280 K"),
            scenario="ssp2-4.5",
        ),
    ),
]


@pytest.mark.parametrize(("text", "built"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_four_spellings_of_one_tree(text, built):
    question = parse(text)
    assert question == built
    assert question_text(question) == text
    assert from_steps(to_steps(question)) == question
    assert from_yaml(to_yaml(question)) == question
    assert from_url(question_url(question)) == question
    assert from_steps(text) == question


@pytest.mark.parametrize("operator", ["between", "outside"])
def test_a_unit_behind_the_second_of_two_thresholds_is_that_of_both(operator):
    mean = f"prob sst.mean(over=nino34).mean(time=2027) {operator}"
    assert parse(f"{mean} 299 and 301.5 K") == parse(f"{mean} 299 K and 301.5 K")
    assert parse(f"{mean} 26 degC and 301.5 K") != parse(f"{mean} 26 K and 301.5 K")


def test_a_number_copied_from_an_answer_is_read():
    assert parse("prob sst.anom.mean(over=nino34).mean(time=2027) < −0.5 K") == parse(
        "prob sst.anom.mean(over=nino34).mean(time=2027) < -0.5 K"
    )


def test_steps_are_those_a_person_would_write():
    written = """
ask: prob
event:
- {var: sst}
- anom: {}
- mean: {over: nino34}
- {at_least: 0.5 degC}
- then:
    event:
    - {var: pr}
    - mean: {over: NO}
    - {below: p20}
    within: 6 months
- any: {time: 2027-07-01}
given: sst.mean(over=nino34).mean(time=2027) > 300 K
scenario: [A1B, E1]
"""
    question = from_yaml(written)
    assert question_text(question) == (
        "prob (sst.anom.mean(over=nino34) >= 0.5 degC).then(pr.mean(over=NO) < p20, within=6 months)"
        ".any(time=2027-07-01) given sst.mean(over=nino34).mean(time=2027) > 300 K scenario A1B vs E1"
    )


@settings(deadline=None)
@given(st.integers(0, 10**9))
def test_random_questions_go_through_every_spelling(seed):
    question = Question(Asker(seed).question())
    text = question_text(question)
    assert parse(text) == from_yaml(to_yaml(question)) == from_url(question_url(question)) == question
    assert question_id(parse(text)) == question_id(question)


degrees = st.floats(-90, 90).map(lambda value: round(value, 3))
years = st.integers(1, 4000)
names = st.text(string.ascii_lowercase + "_", min_size=2, max_size=12).map(lambda word: f"r_{word}")
rings = st.lists(st.tuples(degrees, degrees), min_size=3, max_size=6).map(tuple)
regions = (
    names.map(Named)
    | st.builds(Point, degrees, degrees)
    | st.tuples(degrees, degrees, degrees, degrees)
    .filter(lambda four: four[0] != four[1] and four[2] != four[3])
    .map(lambda four: Box(*sorted(four[:2]), *four[2:]))
    | st.lists(st.lists(rings, min_size=1, max_size=3).map(tuple), min_size=1, max_size=2).map(tuple).map(Polygon)
    | names.map(lambda name: Outline(f"/data/{name}.geojson"))
)
windows = (
    st.tuples(st.integers(1, 999), st.integers(0, 99)).map(lambda pair: Leads(pair[0], sum(pair)))
    | st.tuples(years, st.integers(0, 99)).map(lambda pair: Dates(f"{pair[0]:04d}", f"{sum(pair):04d}"))
    | st.sampled_from([All(), Season("JJA"), Season("July", 2027), Season("NDJFM", 2028), Dates("2027-07", "2027-07")])
    | st.tuples(st.sampled_from(["year", "DJF", "Jul"]), years, st.integers(0, 99)).map(
        lambda three: Each(three[0], three[1], three[1] + three[2])
    )
)
thresholds = (
    st.builds(
        Absolute, st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["K", "kg m-2 s-1", "mm/day"])
    )
    | st.floats(0.1, 99.9).map(lambda rank: Percentile(round(rank, 2)))
    | st.floats(-9, 9).map(Sigma)
    | st.just(Record())
)


@given(regions)
def test_regions_read_back(region):
    assert parse_region(region_text(region)) == region


@given(windows)
def test_windows_read_back(window):
    assert parse_window(window_text(window)) == window


@given(thresholds)
def test_thresholds_read_back(threshold):
    assert parse_threshold(threshold_text(threshold)) == threshold


@given(st.text(max_size=80) | st.text("tas.men(>=<)p90 and each 2050..-%'\"{}", max_size=80))
def test_any_text_is_a_question_or_a_question_error(text):
    try:
        question = parse(text)
    except QuestionError:
        return
    assert parse(question_text(question)) == question


keys = st.sampled_from(["var", "mean", "and", "not", "above", "then", "event", "over", "time", "first", "roll"])
plain = st.recursive(
    st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=2),
    max_leaves=12,
)


@given(plain)
def test_any_steps_are_a_question_or_a_question_error(steps):
    try:
        question = from_steps({"event": steps})
    except QuestionError:
        return
    assert from_steps(to_steps(question)) == question


def test_words_and_signs_are_the_same():
    assert parse("tas.mean(over=r).mean(time=2050) at least 3 K") == parse("tas.mean(over=r).mean(time=2050)>=3 K")
    assert parse("tas.mean(over=r).mean(time=2050) below p5") == parse("prob tas.mean(over=r).mean(time=2050) < p5")
    assert parse("~(tas > 1 K).any(over=r).any(time=2050)") == parse("not (tas > 1 K).any(over=r).any(time=2050)")
    longer = "(tas > 1 K).any(over=r).any(time=2050)"
    assert parse(f"({longer} & {longer}) and {longer}") == parse(f"{longer} and {longer} and {longer}")
    exceeded = "value of tas.mean(over=r).mean(time=2050)"
    assert parse(f"{exceeded} not exceeded with 90 %") == parse(f"{exceeded} exceeded with 10 %")


def test_and_binds_closer_than_or():
    one, two, three = (f"tas.mean(over={name}).mean(time=2050) > 1 K" for name in ("a", "b", "c"))
    assert parse(f"{one} or {two} and {three}") == parse(f"{one} or ({two} and {three})")
    assert parse(f"{one} or {two} and {three}") != parse(f"({one} or {two}) and {three}")


REFUSED = [
    ("tas.mean(over=r) > 1 K", "still_varies", "still varies in time: say time=<window>"),
    ("tas.mean(time=2050) > 1 K", "still_varies", "still varies in space: say over=<region>"),
    ("(tas > 1 K).mean(over=r)", "wrong_kind", ".mean() is for numbers; on a condition use .any .all .frac .count"),
    ("tas.any(over=r).any(time=2050)", "wrong_kind", ".any() is for conditions; compare the number first"),
    ("(tas > 1 K).count(over=r)", "wrong_kind", "for a share of the area write .frac(over=…)"),
    ("(tas > 1 K).frac(time=2050)", "wrong_kind", "for time write .count(time=…)"),
    ("tas.mean(over=r).max(over=q)", "wrong_kind", "has no space left to work on"),
    ("tas.mean(time=2050).max(time=2051)", "wrong_kind", "has no time left to work on"),
    ("tas > 30 %", "wrong_kind", "'%' belongs to .frac(over=…)"),
    ("(tas > 1 K).frac(over=r) > 3 K", "wrong_kind", "A share of area compares with a percentage"),
    ("tas between record and 3 K", "wrong_kind", "'record' goes with above or below"),
    ("tas between 3 K and 2 K", "wrong_kind", "Nothing lies between 3 K and 2 K: write the lower one first."),
    ("tas.anom outside 1 sigma and -1 sigma", "wrong_kind", "between 1 sigma and -1 sigma: write the lower one"),
    ("tas between p33 and p33", "wrong_kind", "Nothing lies between p33 and p33"),
    ("(tas > 1 K).first(time=all) between 2030 and 2027", "wrong_kind", "Nothing lies between 2030 and 2027"),
    ("(tas > 1 K).first(time=all) between 2027-06 and 2027-05", "wrong_kind", "Nothing lies between 2027-06 and"),
    ("tas.mean(over=r).mean(time=2050) > 2027-07", "wrong_kind", "Dates compare with .first(…) only"),
    ("(tas > 1 K).any(over=r) and (pr > 1 mm)", "still_varies", "One part"),
    ("(tas > 1 K).first(time=each JJA 2050..2060)", "wrong_kind", ".first needs one window"),
    ("value of tas.mean(over=r).mean(time=2050)", "parse", "'value of' needs 'exceeded with 10 %'"),
    ("value of tas.mean(over=r).mean(time=2050) exceeded with P90", "ambiguous_P90", "means opposite things"),
    ("value of tas.mean(over=r).mean(time=2050) P90", "ambiguous_P90", "means opposite things"),
    ("value p90 of tas.mean(over=r).mean(time=2050)", "ambiguous_P90", "means opposite things"),
    ("prob tas.mean(over=r).mean(time=2050) == 285 K", "parse", "found '='. No number is compared with '='"),
    ("period of tas.mean(over=r).mean(time=2050) > 1 K", "parse", "or the end of the question, found 'of'"),
    ("level of tas.mean(over=r).max(time=2050) return 20 years", "wrong_kind", "needs one value a year"),
    ("map of tas.mean(over=r).mean(time=2050) > 1 K", "wrong_kind", "leave out over=<region>"),
    ("dist of tas.mean(over=r).mean(time=2050) > 1 K", "wrong_kind", "asks about a number"),
    ("tas.mean(over=r).mean(time=2050)", "wrong_kind", "compare the number"),
    ("tas.mean(over=r", "parse", "Expected ')', found the end."),
    ("tas.mena(over=r)", "parse", "Expected a step"),
    ("tas.mean(over=box(lat=50..40, lon=0..1))", "parse", "the southern edge first"),
    ("tas.mean(over=box(lat=5..5, lon=0..1))", "parse", "the southern edge first, and then another"),
    ("tas.mean(over=box(lat=0..5, lon=10..10))", "parse", "two edges, no more than the whole circle apart"),
    ("tas.mean(over=box(lat=0..5, lon=0..540))", "parse", "two edges, no more than the whole circle apart"),
    ("tas.mean(over=box(lat=0..5, lon=350..-10))", "parse", "two edges, no more than the whole circle apart"),
    ("tas.mean(over=point(91, 0))", "parse", "a latitude from -90 to 90"),
    ("tas.mean(time=2050..)", "parse", "Expected a date"),
    ("tas.mean(time=2027-13)", "parse", "a date YYYY-MM-DD"),
    ("tas.mean(time=each JJA 2060..2050)", "parse", "the earlier year first"),
    ("tas @ 3", "parse", "'@' cannot stand here."),
    ("tas.anom(clim=obs).mean(over=r).mean(time=2050) > 1 K", "parse", "Expected ':'"),
    (
        "dist of tas.anom(clim=model).anom(clim=model:1991-2020).mean(over=r).mean(time=2050)",
        "reference_period",
        "A question takes one period of the model's own climatology: give 'clim=model' the same years throughout.",
    ),
    ("tas > p101", "parse", "a percentile between p0 and p100"),
    ("", "parse", "Expected a variable or '('"),
    ("value tas.mean(over=r).mean(time=2050) exceeded with 10 %", "parse", "Expected 'of', found 'tas'"),
    ("map prob tas.mean(time=2050) > 1 K", "parse", "Expected 'of', found 'prob'"),
    ("(" * 200, "parse", "at most 8 levels"),
    ("tas" + ".anom" * 70, "parse", "at most 64 steps"),
]


@pytest.mark.parametrize(("text", "code", "sentence"), REFUSED, ids=[text[:40] for text, _, _ in REFUSED])
def test_refusals_say_what_is_wrong(text, code, sentence):
    with pytest.raises(QuestionError) as caught:
        parse(text)
    assert caught.value.code == code
    assert sentence in caught.value.text


def test_a_syntax_error_points_to_its_column():
    with pytest.raises(QuestionError) as caught:
        parse("tas.mean(over=r).mena(time=2050) > 1 K")
    assert caught.value.where == "column 18"
    sentence, shown, caret, example = caught.value.text.splitlines()
    assert sentence.endswith("found 'mena'. Did you mean mean?")
    assert caret.index("^") == shown.index("mena")
    assert example == f"For example: {caught.value.try_[0]}"
    assert caught.value.did_you_mean == "mean"


@pytest.mark.parametrize("ask", ["map", "series"])
def test_the_chance_of_a_map_or_series_may_be_called_prob(ask):
    hot = {"map": "sst.mean(time=lead 1) > 1 K", "series": "sst.mean(over=nino34) > 1 K"}[ask]
    assert parse(f"{ask} of prob {hot}") == parse(f"{ask} of {hot}")


def test_examples_can_be_read_and_the_nearest_is_shown():
    for example in examples.EXAMPLES:
        assert parse(example)
    for broken, like in (
        ("value of pr.mean(over=spain).sum(time=MAM 2027) exceeded by 10 %", "value of"),
        ("map of sst.anom.mean(time=2050) > 2 degC)", "map of"),
        ("prob (slp < -2 sigma).any(over=box(lat=40, lon=0))", "prob (slp.anom < -2 sigma).any(over=box("),
    ):
        with pytest.raises(QuestionError) as caught:
            parse(broken)
        assert caught.value.try_[0].startswith(like)


def test_an_error_of_meaning_points_to_its_step():
    with pytest.raises(QuestionError) as caught:
        parse("(tas > 1 K).any(over=r).mean(time=2050)")
    assert caught.value.where == "column 25, .mean(time=2050)"
    assert caught.value.to_dict()["code"] == "wrong_kind"


def test_large_questions_are_refused_in_every_spelling():
    condition = (var("tas") > "1 K").any(over="r").any(time="2050")
    deep = condition
    for _ in range(9):
        deep = ~(deep & condition)
    with pytest.raises(QuestionError, match="at most 8 levels"):
        prob(deep)
    steps: object = [{"var": "tas"}]
    for _ in range(30):
        steps = [{"not": steps}]
    with pytest.raises(QuestionError, match="at most 8 levels"):
        from_steps({"event": steps})
    bomb = "event: &a [{var: tas}]\n" + "given: [" + ", ".join(["{not: x}"] * 200) + "]"
    with pytest.raises(QuestionError, match="at most 64 steps"):
        from_yaml(bomb)
    with pytest.raises(QuestionError, match="characters"):
        parse("x" * 300_000)
    vertices = ", ".join(["1 1"] * 10_001)
    with pytest.raises(QuestionError, match="10,000 vertices"):
        parse_region(f"polygon({vertices})")


def test_python_does_not_drop_half_an_event():
    number = var("tas").mean(over="r").mean(time="2050")
    with pytest.raises(TypeError, match=r"use & \|"):
        bool(number > "1 K")
    with pytest.raises(TypeError, match=r"use & \|"):
        "1 K" < number < "2 K"  # noqa: B015
    with pytest.raises(QuestionError, match="one at a time"):
        var("tas").mean(over="r", time="2050")


@pytest.mark.parametrize(
    ("plain", "sentence"),
    [
        ({"event": [{"vra": "tas"}]}, "begins with var, and, or, not"),
        ({"event": [{"var": "tas"}, {"mena": {}}]}, "Did you mean mean?"),
        ({"event": [{"var": "tas"}, {"mean": {"over": "r", "tyme": "2050"}}]}, ".mean takes no tyme."),
        ({"event": [{"var": "tas"}, {"mean": {}}]}, "'time: …' is missing"),
        ({"event": [{"var": "tas", "mean": {}}]}, "A step is a mapping with one key"),
        ({"event": [{"var": "tas"}, {"between": ["1 K"]}]}, "takes two thresholds"),
        ({"evnt": "tas"}, "'ask: prob' needs 'event: [steps]'"),
        ({"event": "tas.mean(over=r).mean(time=2050) > 1 K", "forcast": "x"}, "Did you mean forecast?"),
        ({"ask": "proob", "event": "x"}, "Did you mean prob?"),
    ],
)
def test_wrong_steps_say_what_is_wrong(plain, sentence):
    with pytest.raises(QuestionError) as caught:
        from_steps(plain)
    assert sentence in caught.value.text


def test_kinds_follow_the_steps():
    kind = kind_of(parse_expression("(tas > 1 K).any(over=r).count(time=each year 2050..2059)"))
    assert (kind.quantity, kind.space, kind.time, kind.each) == ("steps", False, False, Each("year", 2050, 2059))
    node = Comparison(Reduction(Variable("tas"), "mean", Named("r")), "above", (Absolute(1.0, "K"),))
    assert parse_expression("tas.mean(over=r) > 1 K") == node
    assert kind_of(node).time


def test_ids_depend_on_the_question_alone():
    text = "prob tas.mean(over=r).mean(time=2050) > 1 K"
    assert question_id(parse(text)) == question_id(parse(text.replace(" ", "  ").replace("1 K", "1.0 K")))
    assert question_id(parse(text)) != question_id(parse(text.replace("2050", "2051")))


def test_a_question_is_not_kept_once_it_is_read():
    def read(number):
        ring = ", ".join(f"{number + latitude / 1000} {latitude % 7}" for latitude in range(2_000))
        parse(f"prob tas.mean(over=polygon({ring})).mean(time=lead 1) > 280 K")

    read(0)
    tracemalloc.start()
    try:
        for number in range(1, 6):
            read(number)
        assert tracemalloc.get_traced_memory()[0] < 200_000  # one polygon of so many vertices takes 250,000
    finally:
        tracemalloc.stop()
