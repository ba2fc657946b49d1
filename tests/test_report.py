import json
import re
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest

from pipeline.errors import TercileError
from pipeline.grid import area_weights
from pipeline.judging.card_rows import Bootstrap
from pipeline.judging.scorecard import scorecard
from pipeline.judging.verification import score_ensemble
from pipeline.reporting.palette import skill_classes
from pipeline.reporting.report import Report, Source, render, write_report
from pipeline.reporting.scoreboard import pooled_ranks, read_scores, tally
from pipeline.reporting.wording import answer_cards, percent
from tests.reported_systems import evidence_on, monthly, past, projection
from tests.test_figures import contrast

LEADS = ("1-10", "11-20")
MODELS = ("climatology", "linear")


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and text by element."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})

    def __init__(self, text):
        super().__init__()
        self.elements, self.stack, self.unbalanced = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))
        if tag not in self.VOID:
            self.stack.append(len(self.elements) - 1)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        if not self.stack or self.elements[self.stack[-1]][0] != tag:
            self.unbalanced.append(tag)
        else:
            self.stack.pop()

    def handle_data(self, data):
        for place in self.stack:
            self.elements[place][2].append(data)

    def all(self, tag, **attrs):
        return [
            (attributes, " ".join(" ".join(text).split()))
            for name, attributes, text in self.elements
            if name == tag and all(attributes.get(key) == value for key, value in attrs.items())
        ]


def score(scenario, lead, skill, low, high):
    first, last = map(int, lead.split("-"))
    numbers = {
        "lead_first": first,
        "lead_last": last,
        "crps_fair": 0.311,
        "crps": 0.322,
        "spread_skill": 0.93,
        "rmse": 0.544,
        "cases": 20,
    }
    interval = {"crps_skill": skill, "crps_skill_low": low, "crps_skill_high": high}
    ranks = [2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3]
    return {"scenario": scenario, "lead": lead, **numbers, **interval, "rank_histogram": ranks, "p_value": 0.04}


SCORECARD = {
    "reference": "climatology",
    "models": {
        "climatology": {"tas": [score(s, lead, None, None, None) for s in ("A1B", "E1") for lead in LEADS]},
        "linear": {
            "tas": [
                score("A1B", LEADS[0], 0.234, 0.101, 0.345),
                score("A1B", LEADS[1], -0.178, -0.3, -0.06),
                score("E1", LEADS[0], 0.012, -0.08, 0.11),
                score("E1", LEADS[1], 0.071, 0.02, 0.12),
            ]
        },
    },
}


def part(scenario, events):
    share = events / 10
    return {
        "scenario": scenario,
        "headline": {
            "text": f"Under {scenario}: {events} of 10 members ({100 * share:.0f} %).",
            "source": "members",
            "value": share,
        },
        "probability": {"raw": share, "calibrated": None, "climatology": 0.025},
        "interval": {"level": 0.9, "low": share - 0.2, "high": share + 0.15, "covers": "sampling of members"},
        "members": {"total": 10, "samples_per_member": 1, "event": events, "not": 10 - events},
        "base_rate": {"value": 0.025, "years": 40, "events": 1, "window_years": 1.0, "source": "A1B 1960–1999"},
    }


ANSWER = {
    "headline": {"text": "A difference.", "value": 0.5},
    "scenarios": [part("A1B", 8), part("E1", 3)],
    "difference": {"value": 0.5, "low": 0.2, "high": 0.7, "level": 0.9},
    "question": {
        "text": "prob tas.mean(over=point(40, -105)).mean(time=2010) > record",
        "reads_as": "In what share of futures …?",
    },
    "skill": {"verdict": "not_applicable"},
    "calibration": {"state": "uncalibrated"},
    "provenance": {"init_time": "1999-12-01", "model": {"name": "linear"}},
    "warnings": [{"code": "own_warming", "text": "Given its own warming."}],
}


CARD = {
    "name": "linear",
    "kind": "linear_inverse",
    "fingerprint": "ab12",
    "parameters": 12345,
    "seconds": 1.25,
    "notes": {"modes": 8},
    "curve": [
        {"step": 0, "train": 1.0, "validate": 1.5},
        {"step": 10, "train": 0.5},
        {"step": 20, "train": 0.25, "validate": 0.75},
    ],
}


@cache
def evidence():
    """Evidence on both models; the record is known to the last lead."""
    ensembles = {name: projection(seed) for seed, name in enumerate(MODELS)}
    return evidence_on(ensembles, past(), reference="climatology", years=(1960, 1999), lead_blocks=10)


def make_report(**changes):
    fields = {
        "title": "Temperature <b>under</b> A1B & E1",
        "experiment": "small",
        "purpose": "Annual means of one climate model.",
        "sources": [Source("A1B", "Contains Met Office data.", "OGL", "https://example.org/ogl", "Met Office")],
        "ensembles": {name: projection(seed).chunk(member=5) for seed, name in enumerate(MODELS)},
        "record": past(),
        "reference": (1960, 1999),
        "issuing": "linear",
        "scorecard": SCORECARD,
        "answers": [ANSWER],
        "cards": [CARD],
        "warnings": ["E1 is given its own warming."],
        "points": {"40 N 105 W": (40.0, -105.0)},
        "evidence": evidence(),
        "record_name": "climate model run",
        "stage_seconds": {"ingest": 1.5, "train": 61.25},
        "provenance": {"snapshot": "4N7Z"},
    }  # fmt: skip
    return Report(**{**fields, **changes})


@pytest.fixture(scope="module")
def text():
    return render(make_report())


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def small_report(**changes):
    """One model, no scores: what a test of the page's words needs."""
    return make_report(
        **{"ensembles": {"linear": projection()}, "points": {}, "evidence": {}, "scorecard": {}, **changes}
    )


def test_page_is_written_whole_and_the_same_each_time(tmp_path, text):
    path = tmp_path / "reports" / "index.html"
    pages = []
    for _ in range(2):
        assert write_report(path, report=small_report()) == path
        pages.append(path.read_text(encoding="utf-8"))
    assert pages[0] == pages[1]
    assert [item.name for item in path.parent.iterdir()] == ["index.html"]
    assert len(text.encode()) < 3_000_000


def test_page_fetches_nothing(text, page):
    assert not page.unbalanced
    assert not page.stack
    tags = {tag for tag, _, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "img", "base", "form"}
    for tag, attrs, _ in page.elements:
        for name, value in attrs.items():
            if name in ("src", "srcset", "poster", "action") or (name == "href" and tag != "a"):
                assert value.startswith(("#", "data:image/png;base64,")), (tag, name, value[:60])
            if name == "href" and tag == "a":
                assert value.startswith(("#", "https://example.org/ogl"))
            assert not name.startswith("on")
    assert not re.findall(r"@import|url\((?!#)", text)
    assert re.findall(r"https?://[^\"'<\s]+", text) == ["https://example.org/ogl"]
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0][0]["content"]
    assert policy.startswith("default-src 'none'")


def test_page_has_one_of_each_id_and_no_dead_link(page):
    ids = [attrs["id"] for _, attrs, _ in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"][1:] for attrs, _ in page.all("a") if attrs["href"].startswith("#")} <= set(ids)
    used = {
        place
        for _, attrs, _ in page.elements
        for value in attrs.values()
        for place in re.findall(r"url\(#([^)]+)\)", value or "")
    }
    assert used <= set(ids)


def test_text_is_escaped(text, page):
    assert "<b>under</b>" not in text
    assert page.all("h1")[0][1] == "Temperature <b>under</b> A1B & E1"


def test_every_figure_has_a_caption_and_the_same_words_for_those_who_do_not_see_it(page):
    figures = page.all("figure")
    assert len(figures) >= 13
    captions = [text for _, text in page.all("figcaption")]
    pictures = [attrs for tag, attrs, _ in page.elements if tag == "svg"]
    titles = [text for _, text in page.all("title")][1:]
    assert len(captions) == len(figures) == len(titles)
    assert titles == captions
    assert all(caption.endswith(".") for caption in captions)
    assert all(attrs["role"] == "img" for attrs in pictures)
    assert len(pictures) == len(figures) + 2


def test_structure_suits_a_screen_reader(page):
    assert page.all("html")[0][0]["lang"] == "en"
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) <= 1
    assert all(attrs.get("scope") in ("row", "col") for attrs, _ in page.all("th"))


def test_answers_show_the_given_numbers(page):
    shown = [text for attrs, text in page.all("p") if attrs.get("class") == "answer"]
    assert shown == ["Under A1B: 8 of 10 members (80 %).", "Under E1: 3 of 10 members (30 %)."]
    assert [float(attrs["data-value"]) for attrs, _ in page.all("circle")] == [80, 30]
    bars = [attrs for attrs, _ in page.all("rect") if "data-low" in attrs]
    assert [float(bar["data-low"]) for bar in bars] == pytest.approx([60, 10])
    assert [float(bar["data-high"]) for bar in bars] == pytest.approx([95, 45])
    assert float(bars[1]["x"]) == pytest.approx(20 + 3.8 * 10)
    assert float(bars[1]["width"]) == pytest.approx(3.8 * 35)
    assert [float(attrs["data-base"]) for attrs, _ in page.all("path") if "data-base" in attrs] == [2.5, 2.5]
    card = page.all("article")[0][1]
    for words in (
        "Difference: +50 points (90 % interval +20 to +70).",
        "10 % to 45 % (sampling of members)",
        "3 % (1 of 40 years, A1B 1960–1999)",
        "cannot be measured",
        "not a probability",
        "Given its own warming.",
    ):
        assert words in card, words


def test_a_base_rate_of_what_never_happened_claims_no_bound():
    never = part("A1B", 8) | {"base_rate": {"value": 0.0, "years": 30, "events": 0, "source": "A1B 1961–1990"}}
    (card,) = answer_cards([ANSWER | {"scenarios": [never]}])
    assert ("Base rate", "none (0 of 30 years, A1B 1961–1990)") in card.parts[0].facts


def test_scorecard_cells_show_skill_interval_and_verdict(page):
    cells = [
        (attrs["class"], text) for attrs, text in page.all("td") if (attrs.get("class") or "").startswith("skill-")
    ]
    assert cells == [
        ("skill-4", "▲ +0.23 (+0.10 to +0.34)"),
        ("skill-1", "▼ −0.18 (−0.30 to −0.06)"),
        ("skill-2", "≈ +0.01 (−0.08 to +0.11)"),
        ("skill-3", "▲ +0.07 (+0.02 to +0.12)"),
    ]


def test_a_skill_without_interval_says_so():
    rows = [{"lead": "1-10", "lead_first": 1, "lead_last": 10, "crps_skill": 0.1, "crps_skill_low": None, "cases": 1}]
    card = {"reference": "climatology", "models": {"linear": {"tas": rows}}}
    cells = [text for attrs, text in Page(render(small_report(scorecard=card))).all("td", **{"class": "skill-3"})]
    assert cells == ["≈ +0.10 (no interval)"]


def test_text_in_the_scorecard_has_contrast():
    inks = ["#ffffff", "#1a1a1a", "#1a1a1a", "#1a1a1a", "#ffffff"]
    assert min(contrast(*pair) for pair in zip(skill_classes().colours, inks, strict=True)) >= 4.5


def test_table_of_scores_holds_every_row(page):
    rows = [text for _, text in page.all("tr")]
    assert sum(text.startswith("linear tas") for text in rows) == 4
    assert "linear tas E1 2010–2019 0.311 0.322 0.544 0.93 20 0.04" in rows


def test_fan_table_equals_quantiles_of_the_area_mean(page):
    anomaly = projection(1)["tas"][:, 0] - past()["tas"][0, :40].mean("time")
    weights = np.cos(np.deg2rad(anomaly["latitude"])) * anomaly.isel(lead_time=0, member=0, scenario=0).notnull()
    mean = anomaly.fillna(0).weighted(weights).mean(("latitude", "longitude")).sel(scenario="A1B", lead_time=20)
    expected = [
        f"+{value:.1f}" if value >= 1 else f"+{value:.2f}" for value in np.quantile(mean, [0.05, 0.25, 0.5, 0.75, 0.95])
    ]
    figure = next(text for attrs, text in page.all("figure") if attrs["id"] == "figure-fan-tas-area-mean")
    assert " ".join(["2019", *expected]) in figure
    assert f"By 2019 A1B: median {expected[2]} K, 5–95 % {expected[0]} to {expected[4]}" in figure


def test_map_captions_and_class_tables_add_up(page):
    figure = next(text for attrs, text in page.all("figure") if attrs["id"] == "figure-exceedance-tas-e1")
    assert "maximum of 1960–1999" in figure
    assert "2010–2019" in figure
    shares = [int(share) for share in re.findall(r"\d+ to \d+ ?(\d+) %", figure)]
    assert len(shares) == 6
    assert sum(shares) == pytest.approx(100, abs=3)


def test_page_says_what_it_is_and_where_not_to_trust_it(page):
    panel = next(text for attrs, text in page.all("div") if attrs.get("class") == "panel trust")
    assert "linear was better than climatology at 2 of 4 leads under 2 scenarios" in panel
    assert "E1 is given its own warming." in panel
    assert "one source (Met Office)" in panel
    assert "With 10 members" in panel
    assert "25.9 %" in panel  # 1 - 0.05**(1/10)
    about = page.all("section", id="trust")[0][1]
    assert "10 possible futures, under each of A1B and E1, from 2000–2019" in about
    assert "4 × 5 cells, 20°N to 50°N, 130°W to 90°W" in about


def test_licences_times_and_provenance_are_there(page):
    origin = page.all("section", id="origin")[0][1]
    for words in (
        "Contains Met Office data.",
        "Licence: OGL.",
        "Natural Earth, public domain",
        "4N7Z",
        "61.2",
        "62.8",
    ):
        assert words in origin, words
    models = page.all("section", id="models")[0][1]
    assert "12,345" in models
    assert "modes: 8" in models
    assert "train ends at 0.25; validate ends at 0.75" in models


def test_unforced_systems_with_several_variables_and_starts():
    ensemble, record = monthly()
    rows = [
        {"lead": str(lead), "crps_skill": 0.3 / lead, "crps_skill_low": 0.1, "crps_skill_high": 0.5, "cases": 12}
        for lead in range(1, 7)
    ]
    changes = {
        "ensembles": {"linear": ensemble},
        "record": record,
        "reference": (1990, 1999),
        "points": {},
        "answers": [],
        "cards": [],
        "evidence": evidence_on(
            {"climatology": ensemble, "linear": ensemble}, record, reference="climatology", years=(1990, 1999)
        ),
        "scorecard": {"reference": "climatology", "models": {"linear": {"sst": rows}}},
    }
    page = Page(render(make_report(**changes)))
    names = {attrs["id"] for attrs, _ in page.all("figure")}
    assert {
        "figure-fan-sst-area-mean",
        "figure-fan-pr-area-mean",
        "figure-change-pr",
        "figure-exceedance-sst",
        "figure-reliability-sst-below",
        "figure-skillmap-pr-linear-1-6",
        "figure-spectrum-sst",
    } <= names
    captions = " ".join(text for _, text in page.all("figcaption"))
    assert "2002-01 to 2002-03" in captions
    assert "90th percentile of 1990–1999" in captions
    assert "base rate 10 %" in captions
    assert "mm per day" in captions
    assert " under " not in captions
    assert "No question was asked" in page.all("section", id="answers")[0][1]


def test_a_place_that_a_variable_is_masked_at_is_named_and_gets_no_figure():
    ensemble, record = (data.copy(deep=True) for data in monthly())
    ensemble["sst"][..., 0, 0] = record["sst"][..., 0, 0] = np.nan
    corner = (float(record["latitude"][0]), float(record["longitude"][0]))
    report = small_report(
        ensembles={"linear": ensemble}, record=record, reference=(1990, 1999), points={"ashore": corner}, answers=[]
    )
    page = Page(render(report))
    names = {attrs["id"] for attrs, _ in page.all("figure")}
    assert {"figure-fan-pr-ashore", "figure-curve-pr-ashore", "figure-fan-sst-area-mean"} <= names
    assert not names & {"figure-fan-sst-ashore", "figure-curve-sst-ashore"}
    assert "has no data at ashore." in page.all("section", id="time")[0][1]
    assert "nan" not in " ".join(text for _, text in page.all("figcaption"))


def test_a_report_without_scores_answers_or_cards_says_so():
    nothing = dict.fromkeys(("answers", "cards", "warnings", "sources"), ())
    report = small_report(**nothing, stage_seconds={}, provenance={}, scorecard={"reason": "no truth yet"})
    page = Page(render(report))
    assert "no skill is known (no truth yet)." in page.all("section", id="record")[0][1]
    trust = page.all("section", id="trust")[0][1]
    assert "could not be measured" in trust
    assert "The track record says" not in trust


def test_an_issuing_model_without_ensemble_is_refused():
    with pytest.raises(TercileError, match="no ensemble of 'diffusion', only of climatology, linear"):
        render(make_report(issuing="diffusion"))


def test_answers_with_nothing_known_still_make_a_card():
    bare = {
        "headline": {"text": "Not known.", "value": None},
        "probability": {},
        "interval": None,
        "base_rate": None,
        "question": {"text": "prob x"},
    }
    level = {"headline": {"text": "302 K.", "value": 302.0}, "question": {"reads_as": "Which value?"}}
    text = render(small_report(answers=[bare, level, {}]))
    cards = answer_cards([bare, level])
    assert cards[0].parts[0].value is None
    assert cards[1].parts[0].value is None  # a value in K has no place on a line of chances
    assert "Not known." in text
    assert "No answer." in text


def test_calibrated_pooled_answers_name_their_samples_and_skill():
    pooled = part("A1B", 8) | {"members": {"total": 10, "samples_per_member": 10, "event": 80}}
    pooled |= {
        "skill": {"verdict": "skilful", "value": 0.31, "low": 0.12, "high": 0.47},
        "calibration": {"state": "calibrated"},
    }
    (card,) = answer_cards([pooled])
    assert ("Members", "80 of 100 (10 members × 10)") in card.parts[0].facts
    assert ("Skill", "shown in past forecasts: 0.31 (0.12 to 0.47)") in card.facts
    assert ("Calibration", "calibrated") in card.facts


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "less than 1 %"),
        (1.0, "more than 99 %"),
        (0.333, "33 %"),
        (None, "not known"),
        (float("nan"), "not known"),
    ],
)
def test_a_finite_ensemble_never_says_never_or_always(share, text):
    assert percent(share) == text


def test_scores_keep_their_numbers_and_verdicts():
    scores = read_scores(json.loads(json.dumps(SCORECARD)))
    assert len(scores) == 8
    assert tally(scores) == {"better": 2, "worse": 1, "open": 1, "unknown": 4}
    assert scores[4].skill == (0.234, 0.101, 0.345)
    assert scores[4].lead == "1–10"
    assert scores[4].leads == (1, 10)
    np.testing.assert_allclose(
        pooled_ranks(scores[4:]), np.array(SCORECARD["models"]["linear"]["tas"][0]["rank_histogram"]) / 14
    )
    assert pooled_ranks([]).size == 0
    assert read_scores({}) == []


def test_the_scorecard_that_verification_writes_can_be_read():
    record = past()["tas"]
    parts = {
        name: score_ensemble(projection(seed)["tas"].chunk(), record, weights=area_weights(record).fillna(0))
        for seed, name in enumerate(MODELS)
    }
    written = scorecard(parts, reference="climatology", lead_blocks=10, bootstrap=Bootstrap(draws=50))
    scores = read_scores(json.loads(json.dumps(written)))
    linear = [score for score in scores if (score.model, score.scenario) == ("linear", "A1B")]
    assert [(score.lead, score.leads) for score in linear] == [("1–10", (1, 10)), ("11–20", (11, 20))]
    row = [row for row in written["models"]["linear"]["tas"] if row["scenario"] == "A1B"][1]
    assert linear[1].skill == (row["crps_skill"], row["crps_skill_low"], row["crps_skill_high"])
    assert linear[1].has_interval
    assert len(linear[1].ranks) == 11
    assert {score.verdict for score in scores if score.model == "climatology"} == {"unknown"}
    page = Page(render(small_report(scorecard=written)))
    assert "2010–2019" in page.all("section", id="record")[0][1]


def test_rows_of_several_levels_and_regions_stay_apart():
    rows = [{"lead": "1", "level": level, "region": name} for level in (500.0, 850.0) for name in ("all", "tropics")]
    scores = read_scores({"models": {"linear": {"ta": rows}}})
    assert [score.variable for score in scores] == [
        "ta, 500 hPa",
        "ta, 500 hPa, tropics",
        "ta, 850 hPa",
        "ta, 850 hPa, tropics",
    ]
    assert {score.verdict for score in scores} == {"unknown"}


def test_fair_skill_stands_in_where_ensembles_differ_in_size():
    row = {
        "lead": "1",
        "crps_skill": None,
        "crps_fair_skill": 0.2,
        "crps_fair_skill_low": 0.1,
        "crps_fair_skill_high": 0.3,
    }
    (score,) = read_scores({"models": {"linear": {"tas": [row]}}})
    assert score.skill == (0.2, 0.1, 0.3)


def test_a_source_without_attribution_is_named_once():
    page = Page(render(small_report(sources=[Source("ssp585", "", "")])))
    origin = page.all("section", id="origin")[0][1]
    assert origin.count("ssp585") == 1
    assert "Here as" not in origin


def test_sources_of_one_origin_are_named_together():
    same = [Source(name, "Contains Met Office data.", "Open Government Licence") for name in ("A1B", "E1")]
    page = Page(render(small_report(sources=same)))
    assert "one source (A1B and E1)" in page.all("section", id="trust")[0][1]
    assert (
        "A1B : Contains Met Office data. Licence: Open Government Licence. Here as A1B, E1."
        in page.all("section", id="origin")[0][1]
    )


def test_where_the_issuing_model_showed_no_skill_maps_are_hatched(page):
    figure = next(text for attrs, text in page.all("figure") if attrs["id"] == "figure-change-tas-e1")
    assert "Hatched: linear was not shown to be better than climatology" in figure
    assert "which is given the same warming" in figure
    assert "Hatched" not in render(small_report())


def test_the_track_record_says_where_whether_shares_come_true_and_how_alike_trajectories_are(page):
    names = {attrs["id"] for attrs, _ in page.all("figure")}
    assert {
        "figure-skillmap-tas-a1b-linear-1-20",
        "figure-skillmap-tas-e1-linear-11-20",
        "figure-reliability-tas-e1-above",
        "figure-spectrum-tas-a1b",
        "figure-ranks-tas-a1b",
    } <= names
    assert not any("skillmap" in name and "climatology" in name for name in names)
    diagram = next(text for attrs, text in page.all("figure") if attrs["id"] == "figure-reliability-tas-e1-above")
    assert "in the upper third of what its warming leads one to expect" in diagram


def test_checks_that_were_raised_are_said_of_the_issuing_model_and_on_every_card():
    raised = {"name": "mode collapse", "value": 0.1, "limit": 0.25, "raised": True, "meaning": "component 1 is lost"}
    card = {"checks": {"linear": [raised]}, "models_warnings": {"linear": ["mode collapse: component 1 is lost."]}}
    page = Page(render(small_report(scorecard=card)))
    assert "A check of linear was raised: mode collapse" in page.all("section", id="trust")[0][1]
    models = page.all("section", id="models")[0][1]
    assert models.count("component 1 is lost") == 2
    passed = {**card, "models_warnings": {"linear": []}}
    assert "A check" not in render(small_report(scorecard=passed))


def test_calibrated_members_stand_in_the_scorecard_under_their_own_name():
    rows = {"tas": [score("A1B", lead, 0.3, 0.2, 0.4) for lead in LEADS]}
    after = {"reference": "climatology", "models": {"climatology": rows, "linear": rows}, "overall": {"linear": rows}}
    page = Page(render(small_report(scorecard={**SCORECARD, "calibrated": after})))
    heads = [text for attrs, text in page.all("th", scope="row")]
    assert "linear, calibrated" in heads
    assert "climatology, calibrated" not in heads
    assert "linear, calibrated on tas: under A1B better than climatology" in page.all("section", id="record")[0][1]


def test_a_reference_that_issues_is_not_said_to_be_unjudged_where_it_is_calibrated():
    versus = {"linear": {"crps_skill": 0.2, "crps_skill_low": 0.1, "crps_skill_high": 0.3}}
    rows = {"climatology": {"tas": [score("E1", "1-20", None, None, None) | {"versus": versus}]}}
    judged = {"reference": "climatology", "models": rows, "overall": rows}
    calibrated = {"climatology": projection().assign_attrs(calibration={"version": 1})}
    report = small_report(scorecard={**judged, "calibrated": judged}, ensembles=calibrated, issuing="climatology")
    trust = Page(render(report)).all("section", id="trust")[0][1]
    assert "all leads pooled, it was better than linear." in trust
    assert "Nothing could be judged yet" not in trust


def test_what_is_said_of_the_issuing_model_is_said_of_the_members_it_issues():
    versus = {"climatology": {"crps_skill": 0.3, "crps_skill_low": 0.2, "crps_skill_high": 0.4}}
    worse = {"climatology": {"crps_skill": -0.3, "crps_skill_low": -0.4, "crps_skill_high": -0.2}}
    raw = {"linear": {"tas": [score("E1", "1-20", -0.3, -0.4, -0.2) | {"versus": worse}]}}
    after = {"linear": {"tas": [score("E1", "1-20", 0.3, 0.2, 0.4) | {"versus": versus}]}}
    both = {"models": after, "overall": after, "reference": "climatology"}
    card = {"reference": "climatology", "models": raw, "overall": raw, "calibrated": both}
    calibrated = {"linear": projection().assign_attrs(calibration={"version": 1})}
    trust = Page(render(small_report(scorecard=card, ensembles=calibrated))).all("section", id="trust")[0][1]
    assert "and calibrated on its hindcasts" in trust
    assert "it was better than climatology (the reference)." in trust
    assert "linear was better than climatology at 1 of 1 leads" in trust
    drawn = Page(render(small_report(scorecard=card))).all("section", id="trust")[0][1]
    assert "it was worse than climatology (the reference). Prefer climatology (the reference)." in drawn
