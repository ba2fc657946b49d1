import pytest

from pipeline.reporting.card_tables import realism_sentences, realism_table
from pipeline.reporting.scoreboard import read_scores, summary
from pipeline.reporting.verdicts import chance_sentence, issue_paragraph, verdict_sentences, warning_sentences
from pipeline.reporting.wording import trust_sentences


def row(lead, skill, low, high, *, scenario=None, versus=None, units="months"):
    first, *last = lead.split("-")
    return {
        **({"scenario": scenario} if scenario else {}),
        "lead": lead,
        "lead_first": int(first),
        "lead_last": int(last[0] if last else first),
        "lead_units": units,
        "crps_skill": skill,
        "crps_skill_low": low,
        "crps_skill_high": high,
        "versus": {
            other: dict(zip(("crps_skill", "crps_skill_low", "crps_skill_high"), numbers, strict=True))
            for other, numbers in (versus or {}).items()
        },
    }


def scores(rows, model="linear"):
    return read_scores({"models": {"climatology": {"tas": []}, model: {"tas": rows}}})


def sentence(rows, pooled):
    (text,) = verdict_sentences(scores(rows), scores(pooled), reference="climatology", confidence=0.9)
    return text


def test_a_verdict_names_the_leads_that_differ_from_the_whole():
    rows = [row("1", 0.05, 0.02, 0.08), row("2", 0.03, 0.01, 0.05), row("3", 0.0, -0.02, 0.02)]
    assert sentence(rows, [row("1-3", 0.03, 0.01, 0.05)]) == (
        "linear on tas: better than climatology (+3.0 %, 90 % interval +1.0 to +5.0), but not told apart at month 3 "
        "(0.0 %, −2.0 to +2.0)."
    )
    assert sentence(rows, [row("1-3", 0.02, -0.01, 0.05)]).endswith(", but better at months 1–2 (+4.0 %).")


def test_leads_of_several_days_are_not_called_days():
    skills = {"1": 0.1, "2": 0.0, "3": 0.0}
    rows = [row(lead, skill, skill - 0.02, skill + 0.02, units="steps of 7 days") for lead, skill in skills.items()]
    pooled = [row("1-3", 0.04, 0.01, 0.08)]
    assert sentence(rows, pooled).endswith(", but not told apart at steps 2–3 of 7 days (0.0 %).")
    assert sentence(rows[:2], pooled).endswith(" at step 2 of 7 days (0.0 %, −2.0 to +2.0).")


def test_a_verdict_that_holds_everywhere_says_so_and_scenarios_have_their_own():
    rows = [row("1-10", -0.2, -0.3, -0.1, scenario="A"), row("11-20", -0.15, -0.2, -0.1, scenario="A")]
    pooled = [row("1-20", -0.17, -0.2, -0.14, scenario="A"), row("1-20", None, None, None, scenario="B")]
    assert sentence(rows, pooled) == (
        "linear on tas: under A worse than climatology (−17 %, 90 % interval −20 to −14), at each lead alike; under B "
        "not judged."
    )


def test_a_gain_of_too_few_cases_is_no_verdict_of_equality():
    rows = [row("1", 0.3, None, None)]
    assert sentence(rows, rows) == "linear on tas: not told apart from climatology (+30 %, no interval)."


def test_leads_of_too_few_cases_do_not_contradict_all_of_them_together():
    rows = [row(lead, 0.17, None, None) for lead in "123"]
    assert sentence(rows, [row("1-3", 0.17, 0.11, 0.23)]) == (
        "linear on tas: better than climatology (+17 %, 90 % interval +11 to +23); each lead has too few cases to be "
        "judged by itself."
    )


def test_the_reference_has_no_verdict():
    own = scores([row("1", 0.0, 0.0, 0.0)], model="climatology")
    assert verdict_sentences(own, own, reference="climatology", confidence=0.9) == []


def test_chance_is_counted():
    found = scores([row(str(lead), 0.0, -0.1, 0.1) for lead in range(1, 21)] + [row("21", None, None, None)])
    assert chance_sentence(found, confidence=0.9).startswith("Of 20 cells about 1.0 would show ▲")
    assert chance_sentence([], confidence=0.9) == ""


@pytest.mark.parametrize(
    ("versus", "words"),
    [
        ({"climatology": (0.1, 0.05, 0.15)}, "it was better than climatology (the reference)."),
        (
            {"climatology": (0.0, -0.1, 0.1), "ridge": (-0.2, -0.3, -0.1)},
            "worse than ridge and not told apart from climatology (the reference). Prefer ridge.",
        ),
        (
            {"climatology": (0.0, -0.1, 0.1), "ridge": (0.2, 0.1, 0.3)},
            "better than ridge and not told apart from climatology (the reference). Expect no better odds from it than "
            "from climatology.",
        ),
        ({"climatology": (None, None, None)}, "Nothing could be judged yet"),
    ],
)
def test_the_paragraph_on_who_issues_compares_with_every_other_model(versus, words):
    overall = scores([row("1-3", 0.0, -0.1, 0.1, versus=versus)])
    text = issue_paragraph(overall, issuing="linear", reference="climatology", because="the experiment names it")
    assert text.startswith("linear issues: the experiment names it.")
    assert words in text


def test_a_model_better_in_one_place_and_worse_in_another_is_called_neither():
    overall = scores(
        [
            row("1-3", 0.1, 0.05, 0.2, scenario="A", versus={"ridge": (0.1, 0.05, 0.2)}),
            row("1-3", -0.1, -0.2, -0.05, scenario="B", versus={"ridge": (-0.1, -0.2, -0.05)}),
        ]
    )
    text = issue_paragraph(overall, issuing="linear", reference="climatology", because="x")
    assert "better than ridge here and worse there" in text


def test_a_model_better_in_one_place_and_not_told_apart_in_another_is_not_called_better():
    for skill, words in (((0.1, 0.05, 0.2), "better than"), ((-0.1, -0.2, -0.05), "worse than")):
        overall = scores(
            [
                row("1-3", 0.1, 0.05, 0.2, scenario="A", versus={"climatology": skill}),
                row("1-3", 0.0, -0.1, 0.1, scenario="B", versus={"climatology": (0.0, -0.1, 0.1)}),
            ]
        )
        text = issue_paragraph(overall, issuing="linear", reference="climatology", because="x")
        assert f"for some variables or scenarios {words}, for others not told apart from, climatology" in text


@pytest.mark.parametrize(
    ("low", "words"),
    [
        (0.01, "linear was better than climatology on data no fit has seen with all leads pooled, at no lead alone."),
        (-0.01, "linear has shown no skill over climatology on data no fit has seen. Use the base rate."),
    ],
)
def test_a_gain_that_only_all_leads_together_show_is_not_denied(low, words):
    alone, pooled = ([row(lead, 0.03, end, 0.06)] for lead, end in (("1", -0.01), ("1-3", low)))
    told = {"members": 50, "sources": (), "answers": (), "warnings": ()}
    first, _ = trust_sentences(scores(alone), scores(pooled), issuing="linear", reference="climatology", **told)
    assert first == words


def test_warnings_are_of_the_issuing_model_alone():
    held = {"diffusion": ["drift: it drifts."], "linear": []}
    assert warning_sentences(held, issuing="linear") == []
    assert warning_sentences(held, issuing="diffusion") == ["A check of diffusion was raised: drift: it drifts."]
    assert warning_sentences({}, issuing="diffusion") == []


def test_diagnostics_say_on_which_side_the_members_lie():
    one = {"units": "K", "low": 1.0, "median": 2.0, "high": 3.0, "starts": 1}
    rows = [
        {**one, "diagnostic": "variance at a cell", "observed": 0.5, "place": 0.0, "scenario": "A"},
        {**one, "diagnostic": "length of spells", "observed": 4.0, "place": 1.0, "scenario": "A"},
        {**one, "diagnostic": "trend of the area mean", "observed": 2.0, "place": 0.5, "scenario": "A"},
        {**one, "diagnostic": "99 % quantile", "observed": None, "place": None, "scenario": "A"},
    ]
    card = {"realism": {"linear": {"tas": rows}}}
    assert [cells[-1] for cells in realism_table(card).rows] == ["too high", "too low", "like", "not known"]
    assert realism_sentences(card) == [
        "linear: 2 of 3 diagnostics unlike the truth: variance at a cell of tas, A too high; length of spells of tas, "
        "A too low."
    ]


def test_summary_for_a_runs_page_has_a_row_for_each_score():
    lines = summary(
        {"reference": "climatology", "models": {"linear": {"tas": [row("1", 0.1, None, None)]}}}
    ).splitlines()
    assert lines[0] == "CRPS skill against climatology"
    assert lines[-1] == "| linear | tas |  | 1 | 0.100 |"
