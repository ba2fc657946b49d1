"""The track record of a question, on a system whose skill is known."""

import numpy as np
import pytest

from pipeline.answers import probability
from pipeline.answers.card import card_text
from pipeline.answers.intervals import proportion_interval
from pipeline.answers.issued import ask, open_issued
from pipeline.answers.replay import fair_brier, unseen_leads
from pipeline.ensembles import open_ensemble
from tests.issued_system import FIRST, LAST, MEMORY, build, calibrate, members, record

WARM = "prob sst.anom.mean(over=middle).mean(time=lead 1) > 0 K"


@pytest.fixture(scope="module")
def perfect(tmp_path_factory):
    return build(tmp_path_factory.mktemp("perfect") / "w")


@pytest.fixture(scope="module")
def skill(perfect):
    return ask(perfect, WARM).to_json()["skill"]


def test_a_perfect_system_is_found_skilful_by_about_the_true_amount(skill):
    # Of two standard normals with correlation r, P(same sign) = 1/2 + asin(r)/pi. A perfect forecast of the sign of y
    # from x has Brier score E[p(1 - p)], p = Phi(r x / sqrt(1 - r^2)); the base rate has 1/4.
    x = np.random.default_rng(0).standard_normal(200_000)
    from scipy.stats import norm

    chance = norm.cdf(MEMORY * x / np.sqrt(1 - MEMORY**2))
    expected = 1 - np.mean(chance * (1 - chance)) / 0.25
    assert skill["verdict"] == "skilful"
    assert skill["low"] < expected < skill["high"]
    assert skill["value"] == pytest.approx(expected, abs=0.15)
    assert 0.6 < skill["reliability_slope"] < 1.4


def test_the_score_is_what_plain_loops_over_the_cases_give(perfect, skill):
    hindcasts, truth = open_issued(perfect).hindcasts["sst"].load(), record()["sst"]
    usual = truth.sel(time=truth["time"].dt.year <= 1950)
    said, seen = [], []
    for row, start in enumerate(hindcasts["init_time"].values):
        normal = usual.sel(time=usual["time"].dt.month == start.month).mean("time")
        area = _area_mean(normal)
        said.append(np.mean(_area_mean(hindcasts[row, 0]) > area))
        seen.append(float(_area_mean(truth.sel(time=start)) > area))
    said, seen = np.array(said), np.array(seen)
    n = len(seen)
    brier = fair_brier(said, seen, np.full(n, 20.0)).sum()
    reference = sum(((seen.sum() - o) / (n - 1) - o) ** 2 for o in seen)
    assert skill["value"] == pytest.approx(1 - brier / reference)
    assert [case["happened"] for case in skill["past"]] == [bool(o) for o in seen]
    assert [case["share"] for case in skill["past"]] == pytest.approx(said)
    assert skill["hindcasts"] == n == LAST - 1 - 1911
    assert skill["years"] == [1911, LAST - 2]


def _area_mean(field):
    """The region ``middle``: two whole columns; bands of equal width in latitude weigh by the sine of their edges."""
    rows = np.sin(np.radians([-2.0, 2.0, 6.0])) - np.sin(np.radians([-6.0, -2.0, 2.0]))
    weights = rows[:, None] * np.array([0.0, 1.0, 1.0, 0.0])
    return (field.values * weights).sum(axis=(-2, -1)) / weights.sum()


def test_windows_as_dates_are_the_same_season_of_each_start(perfect, skill):
    dated = ask(perfect, "prob sst.anom.mean(over=middle).mean(time=1960-10) > 0 K").to_json()["skill"]
    assert (dated["value"], dated["past"]) == (skill["value"], skill["past"])


def test_a_system_without_memory_of_its_start_shows_no_skill(tmp_path):
    found = ask(build(tmp_path / "w", skilful=False), WARM).to_json()
    assert found["skill"]["verdict"] in ("no_evidence", "worse_than_climatology")
    assert found["headline"]["source"] == "climatology"
    assert "has shown no skill for this kind of question (Brier skill" in found["headline"]["text"]
    assert f"{found['skill']['hindcasts']} past forecasts" in found["headline"]["text"]


def test_what_is_pending_never_waits_and_what_was_measured_is_remembered(tmp_path):
    workspace = build(tmp_path / "w", first=1935)
    first = ask(workspace, WARM, skill="pending").to_json()
    assert first["skill"]["verdict"] == "pending"
    assert not (workspace.root / "cache").exists()
    measured = ask(workspace, WARM).to_json()["skill"]
    (kept,) = (workspace.root / "cache" / "skill").iterdir()
    assert ask(workspace, WARM, skill="pending").to_json()["skill"] == measured
    kept.write_text(kept.read_text().replace(measured["verdict"], "as_kept"))
    assert ask(workspace, WARM).to_json()["skill"]["verdict"] == "as_kept"
    assert ask(workspace, WARM, level=0.8).to_json()["skill"]["level"] == 0.8


def test_a_workspace_that_cannot_be_written_to_is_asked_all_the_same(tmp_path):
    workspace = build(tmp_path / "w", first=1935)
    (workspace.root / "cache").write_text("no folder")
    measured = ask(workspace, WARM).to_json()["skill"]
    assert measured["verdict"] == "skilful"
    assert ask(workspace, WARM, skill="pending").to_json()["skill"] == measured


def test_neighbouring_starts_join_where_those_of_the_month_are_few(tmp_path):
    workspace = build(tmp_path / "w", start=(1960, 6), hindcast_months=(4, 5, 6, 7), first=1943)
    found = ask(workspace, "prob sst.anom.mean(over=middle).mean(time=lead 2..3) > 0 K").to_json()["skill"]
    assert found["pooled"] == {"steps_later": [-1, 0, 1], "unit": "months"}
    assert found["hindcasts"] == 3 * len(range(1943, LAST - 1))
    # May starts see July and August two months on, July starts at once: those that start nearer know more.
    by_start = {
        month: [abs(case["share"] - case["happened"]) for case in found["past"] if case["init_time"][5:7] == month]
        for month in ("05", "07")
    }
    assert np.mean(by_start["07"]) < np.mean(by_start["05"])
    reach = ask(workspace, "prob sst.anom.mean(over=middle).mean(time=lead 6) > 0 K").to_json()["skill"]
    assert reach["hindcasts"] == 2 * len(range(1943, LAST - 1))  # lead 7 of the May starts is not stored
    assert reach["pooled"]["steps_later"] == [0, 1]


def test_too_few_years_or_too_rare_an_event_are_not_measured(perfect, tmp_path):
    rare = ask(perfect, "prob sst.anom.mean(over=middle).mean(time=lead 1) > 4 K").to_json()["skill"]
    assert rare["verdict"] == "not_measured"
    assert rare["reason"].startswith("Of 48 past cases 0 had the event; at least 5 with and 5 without")
    short = ask(build(tmp_path / "w", first=1950), WARM).to_json()["skill"]
    assert short["reason"] == "The hindcasts judge this question in 9 start years; at least 15 are needed."
    none = ask(build(tmp_path / "n", hindcast_months=()), WARM).to_json()["skill"]
    assert none == {"verdict": "not_measured", "reason": "No past forecasts are stored to replay this question on."}
    later = ask(build(tmp_path / "l", first=1955, hindcast_months=(12,)), WARM).to_json()["skill"]
    assert later["reason"] == "No hindcast that starts near this time of year reaches the window."


def test_a_condition_is_replayed_with_its_event(perfect):
    event = "prob sst.anom.mean(over=middle).mean(time=lead 3) > 0 K"
    condition = "given sst.anom.mean(over=middle).mean(time=lead 1)"
    given = ask(perfect, f"{event} {condition} > -9 K").to_json()["skill"]
    plain = ask(perfect, event).to_json()["skill"]
    assert given["value"] == plain["value"]  # the condition is always met
    some = ask(perfect, f"{event} {condition} < 0 K").to_json()["skill"]
    assert 0 < some["cases"] < given["cases"]


def test_pooled_years_are_judged_sample_by_sample(tmp_path):
    workspace = build(tmp_path / "w", leads=24, start=(1958, 1), hindcast_months=(1,), first=1930)
    found = ask(workspace, "prob sst.anom.mean(over=middle).mean(time=each Mar 1958..1959) > 0 K").to_json()["skill"]
    assert found["cases"] == 2 * found["hindcasts"]


def test_the_members_of_the_test_system_follow_its_law():
    truth = record()
    drawn = members(truth, truth["time_bnds"].values[600:601, 1], leads=12, count=4000)[0, :, :, 0, 0]
    now = float(truth["sst"][600, 0, 0]) - 300 - 3 * np.cos(2 * np.pi * 600 / 12)
    spread = drawn.std(axis=0)
    assert spread == pytest.approx(np.sqrt(1 - MEMORY ** (2 * np.arange(1, 13))), rel=0.05)
    assert drawn[:, 0].mean() - 300 - 3 * np.cos(2 * np.pi * 601 / 12) == pytest.approx(MEMORY * now, abs=0.03)
    assert FIRST < LAST


def test_calibrated_members_with_skill_are_called_a_probability(tmp_path):
    workspace = build(tmp_path / "w")
    drawn = ask(workspace, WARM).to_json()
    assert "so not a probability" in drawn["headline"]["text"]
    calibrate(workspace)
    waiting = ask(workspace, WARM, skill="pending").to_json()
    assert "is being measured, so not yet a probability" in waiting["headline"]["text"]
    found = ask(workspace, WARM).to_json()
    assert found["headline"]["text"].startswith("Probability ")
    assert found["headline"]["source"] == "calibrated"
    assert found["headline"]["likelihood_term"] == "unlikely"
    assert "  in words    unlikely (scale of the IPCC)\n" in card_text(found)
    assert "in words" not in card_text(drawn)
    assert found["calibration"]["state"] == "calibrated"
    assert found["skill"]["value"] == pytest.approx(drawn["skill"]["value"], abs=1e-6)  # this one changes no member
    assert found["probability"]["raw"] == found["probability"]["calibrated"] == drawn["probability"]["raw"]


def test_an_interval_covers_the_fit_of_the_calibration(tmp_path):
    workspace = build(tmp_path / "w", hindcast_months=())
    question = "prob sst.anom.mean(over=middle).mean(time=lead 1..2) > -0.7 K"
    calibrate(workspace)
    sure = ask(workspace, question).to_json()
    calibrate(workspace, wobble=0.2)
    unsure = ask(workspace, question).to_json()
    assert unsure["probability"] == sure["probability"]
    assert sure["interval"]["covers"] == unsure["interval"]["covers"] == "members and calibration fit"
    assert unsure["interval"]["low"] < sure["interval"]["low"] - 0.02
    assert unsure["interval"]["high"] > sure["interval"]["high"] + 0.02


def test_a_jackknife_adds_its_variance_to_that_of_sampling():
    def tally(event):
        event = np.array(event, dtype=bool)[:, None]
        return probability.tally(event, np.ones_like(event), np.ones_like(event), level=0.9)

    own, others = tally([1] * 20 + [0] * 20), [tally([1] * n + [0] * (40 - n)) for n in (16, 18, 20, 22, 24)]
    fit = 4 / 5 * sum((n / 40 - 0.5) ** 2 for n in (16, 18, 20, 22, 24))
    fewer = 0.25 / (0.25 / 40 + fit)
    found = probability.widened(own, others, level=0.9).chance
    assert (found.low, found.high) == pytest.approx(proportion_interval(0.5, fewer, level=0.9)[1:])
    assert probability.widened(own, [own, own], level=0.9).chance == own.chance


def test_the_members_counted_and_replayed_are_the_calibrated_ones(tmp_path):
    workspace = build(tmp_path / "w")
    calibrate(workspace, beta=0.0, tau=1e-3)
    found = ask(workspace, "prob sst.anom.mean(over=middle).mean(time=lead 1) > 1 K").to_json()
    assert found["probability"]["calibrated"] == 0.0
    assert {case["share"] for case in found["skill"]["past"]} == {0.0}
    assert found["skill"]["verdict"] != "skilful"


def test_what_a_fit_has_seen_judges_nothing(perfect):
    hindcasts = open_issued(perfect).hindcasts.isel(init_time=[0, 1, 40])
    hindcasts["fold"][:] = [0, 0, 1]
    unseen = unseen_leads(hindcasts, ["1911-1911-gap1", "1940-1960-gap0"])
    # The start of October 1911 has three months left in 1911, and one of the gap; that of 1912 none at all.
    assert unseen.sum(axis=1).tolist() == [4, 1, 6]


def test_of_what_a_perfect_system_says_thirty_percent_thirty_percent_come_true(perfect):
    said, came = [], []
    for threshold in np.arange(-1.5, 1.6, 0.25):
        for window in ("lead 1", "lead 3..5"):
            text = f"prob sst.anom.mean(over=middle).mean(time={window}) > {threshold:g} K"
            past = ask(perfect, text).to_json()["skill"]["past"]
            said += [case["share"] for case in past]
            came += [case["happened"] for case in past]
    said, came = np.array(said), np.array(came)
    assert said.size > 1000
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        inside = (said >= low) & (said <= low + 0.2)
        assert inside.sum() > 60
        assert came[inside].mean() == pytest.approx(said[inside].mean(), abs=0.13)


def test_members_that_are_calibrated_cell_by_cell_are_those_of_the_whole_store(tmp_path):
    workspace = build(tmp_path / "w", first=1950)
    calibrate(workspace, beta=0.7, tau=1.3)
    for kind in ("forecast", "hindcast"):
        whole = open_ensemble(workspace, model="perfect", kind=kind, calibrated=True)["sst"].compute()
        issued = open_issued(workspace)
        direct = (issued.ensemble if kind == "forecast" else issued.hindcasts)["sst"]
        assert not np.allclose(whole, open_ensemble(workspace, model="perfect", kind=kind)["sst"])
        for part in (
            {},
            {"init_time": 0, "lead_time": slice(1, 3), "latitude": slice(1, 2), "longitude": [3, 0]},
            {"init_time": [0], "member": slice(2, 5), "lead_time": -1},
        ):
            np.testing.assert_array_equal(direct.isel(part), whole.isel(part))
