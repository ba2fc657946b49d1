"""Chances from members: against plain loops, and by identities that must hold for any ensemble."""

from itertools import pairwise

import numpy as np
import pytest

from pipeline.answers.probability import Inquiry, base_rate, count
from pipeline.answers.quantities import in_data_units, measure
from pipeline.answers.windows import resolve, timeline_of
from pipeline.events import QuestionError, expression_text, parse
from pipeline.events.tree import Question
from tests.asking import catalogue, forecast, record
from tests.brute_force import Brute
from tests.questions import Asker


def inquiry_of(question, *, ensemble, reference):
    asked = parse(question) if isinstance(question, str) else question
    return Inquiry.of(asked, ensemble=ensemble, reference=reference, catalogue=catalogue(ensemble))


def share(text, ensemble, reference):
    (tally,) = count(inquiry_of(text, ensemble=ensemble, reference=reference))
    return tally.chance.value


def brute_of(ensemble, reference):
    one = ensemble.isel(init_time=-1)
    timeline, names = timeline_of(one), catalogue(ensemble)
    asked = inquiry_of("(tas > 1 K).any(over=west).any(time=all)", ensemble=ensemble, reference=reference)
    months = [int(key) // 100 % 100 for key in timeline.keys]
    held = asked.climate.record.timeline

    def weights(region):
        cells = asked.members.cells(region)
        found = zip(*np.nonzero(cells.weights), strict=True)
        return {(int(cells.rows[y]), int(cells.columns[x])): float(cells.weights[y, x]) for y, x in found}

    def to_units(threshold, node):
        if threshold.unit == "":  # a year beside a first passage: the first or last lead of it
            return None
        return float(in_data_units(threshold, measure(node, names, timeline)))

    arrays = {name: one[name].transpose("member", "lead_time", ...).values.astype(float) for name in ("tas", "pr")}
    return Brute(
        members=[{name: array[k].tolist() for name, array in arrays.items()} for k in range(one.sizes["member"])],
        record={name: reference[name].values.astype(float).tolist() for name in ("tas", "pr")},
        lead_months=months,
        record_months=[int(key) // 100 % 100 for key in held.keys],
        record_years=[int(key) // 10_000 for key in held.keys],
        lengths=timeline.seconds.tolist(),
        record_lengths=held.seconds.tolist(),
        weights=weights,
        window=lambda window: [list(range(*group)) for group in resolve(window, timeline).groups],
        to_units=to_units,
    )


@pytest.fixture(scope="module", params=[(0.0, False), (0.03, True)], ids=["complete", "missing"])
def world(request):
    missing, masked = request.param
    ensemble = forecast(members=4, missing=missing, masked=masked, seed=5)
    reference = record(masked=masked)
    return ensemble, reference, brute_of(ensemble, reference)


@pytest.mark.parametrize("block", range(8))
def test_agrees_with_plain_loops(world, block):
    """Some 2,000 random questions, each member by member; more blocks change nothing but the time."""
    ensemble, reference, brute = world
    asker, asked = Asker(block), 0
    while asked < 130:
        node = asker.question()
        if "Absolute(value=2004.0" in repr(node):  # dates have their own test
            continue
        try:
            found = inquiry_of(Question(node), ensemble=ensemble, reference=reference).values(node)
        except QuestionError as error:
            if error.code not in ("reference_too_short", "percentile_too_fine", "mostly_masked"):
                raise
            continue
        brute.memo.clear()
        brute.kept.clear()
        got = list(zip(found.low[0, :, 0, 0, 0], found.high[0, :, 0, 0, 0], strict=True))
        assert got == brute.outcome(node), expression_text(node)
        asked += 1


@pytest.fixture(scope="module")
def gaps():
    """An ensemble with missing values and a lasting mask, and a record with the same mask."""
    return forecast(members=40, missing=0.002, masked=True, seed=3), record(masked=True)


def test_an_event_and_its_opposite_add_to_one(gaps):
    event = "(tas.mean(over=west) > p66.7).any(time=DJF 2004)"
    assert share(event, *gaps) + share(f"not {event}", *gaps) == pytest.approx(1)


def test_bins_add_to_one(gaps):
    number = "tas.max(over=west).mean(time=DJF 2004)"
    edges = ["-50 degC", "12 degC", "14 degC", "15 degC", "99 degC"]
    bins = [share(f"{number} between {low} and {high}", *gaps) for low, high in pairwise(edges)]
    assert sum(bins) == pytest.approx(1)
    assert share(f"{number} outside 12 degC and 15 degC", *gaps) == pytest.approx(bins[0] + bins[3])


def test_all_is_rarer_than_the_mean_and_any_is_commoner_than_a_share(gaps):
    number = "(tas.mean(time=DJF 2004) > 14 degC)"
    every, some = share(f"{number}.all(over=west)", *gaps), share(f"{number}.any(over=west)", *gaps)
    mean = share("tas.mean(over=west).mean(time=DJF 2004) > 14 degC", *gaps)
    third = share(f"{number}.frac(over=west) >= 30 %", *gaps)
    assert every <= mean
    assert every <= third <= some


def test_any_cell_above_is_the_highest_cell_above(gaps):
    some = share("(tas.mean(time=DJF 2004) > 16 degC).any(over=west)", *gaps)
    assert some == share("tas.mean(time=DJF 2004).max(over=west) > 16 degC", *gaps)


def test_the_order_of_two_anys_does_not_matter(gaps):
    one = share("(tas > 18 degC).any(over=west).any(time=DJF 2004)", *gaps)
    assert one == share("(tas > 18 degC).any(time=DJF 2004).any(over=west)", *gaps)


def test_counts_and_runs_fall_with_their_length_and_a_run_is_no_longer_than_the_count(gaps):
    condition = "(tas.mean(over=west) > p50)"
    counts = [share(f"{condition}.count(time=all) >= {k} months", *gaps) for k in range(1, 6)]
    runs = [share(f"{condition}.run(time=all) >= {k} months", *gaps) for k in range(1, 6)]
    assert counts == sorted(counts, reverse=True)
    assert runs == sorted(runs, reverse=True)
    assert all(run <= count for run, count in zip(runs, counts, strict=True))
    assert counts[0] == runs[0] == share(f"{condition}.any(time=all)", *gaps)


def test_a_first_passage_by_the_end_is_any(gaps):
    condition = "(tas.mean(over=west) > p80)"
    reached = share(f"{condition}.first(time=lead 1..6) <= 2004-03", *gaps)
    assert reached == share(f"{condition}.any(time=lead 1..6)", *gaps)
    assert share(f"{condition}.first(time=lead 1..6) > 2004-03", *gaps) == pytest.approx(1 - reached)


def test_inclusion_and_exclusion(gaps):
    one, two = "(tas.mean(over=west).mean(time=DJF 2004) > p50)", "(pr.mean(over=west).sum(time=DJF 2004) < p50)"
    joint = share(f"{one} and {two}", *gaps) + share(f"{one} or {two}", *gaps)
    assert joint == pytest.approx(share(one, *gaps) + share(two, *gaps))


def test_a_conditional_chance_is_the_joint_over_the_condition():
    data = forecast(members=60, seed=8), record()
    one, two = "tas.mean(over=west).mean(time=DJF 2004) > p50", "pr.mean(over=west).sum(time=DJF 2004) < p60"
    assert share(f"{one} given {two}", *data) * share(two, *data) == pytest.approx(share(f"{one} and {two}", *data))


def test_a_longer_wait_never_lowers_the_chance(gaps):
    text = "(tas.mean(over=west) > p50).then(pr.mean(over=west) < p40, within={} months).any(time=lead 1..5)"
    chances = [share(text.format(wait), *gaps) for wait in (1, 2, 3, 4)]
    assert chances == sorted(chances)


def test_another_unit_gives_the_same_answer(gaps):
    number = "tas.mean(over=west).mean(time=DJF 2004)"
    kelvin = share(f"{number} > 287.65 K", *gaps)
    assert kelvin == share(f"{number} > 14.5 degC", *gaps) == share(f"{number} > 58.1 degF", *gaps)
    rain = "pr.mean(over=west).sum(time=DJF 2004)"
    assert share(f"{rain} > 150 kg m-2", *gaps) == share(f"{rain} > 150 mm", *gaps) == share(f"{rain} > 15 cm", *gaps)
    anomaly = "tas.anom.mean(over=west).mean(time=DJF 2004)"
    assert share(f"{anomaly} > 0.5 degC", *gaps) == share(f"{anomaly} > 0.9 degF", *gaps)


def test_missing_is_never_false():
    ensemble = forecast(members=20, seed=2)
    ensemble["tas"][0, 3, :4] = np.nan  # one month, four members, every cell
    inquiry = inquiry_of("(tas.mean(over=west) > 200 K).all(time=all)", ensemble=ensemble, reference=record())
    (tally,) = count(inquiry)
    assert (tally.events, tally.counted, tally.unknown) == (16, 16, 4)
    (tally,) = count(inquiry_of("(tas.mean(over=west) > 200 K).any(time=all)", ensemble=ensemble, reference=record()))
    assert (tally.events, tally.unknown) == (20, 0)


def test_too_many_unknown_members_are_an_error():
    ensemble = forecast(members=20, seed=2)
    ensemble["tas"][0, 3, :5] = np.nan
    with pytest.raises(QuestionError, match="25 % of the members are unknown") as caught:
        share("tas.mean(over=west).mean(time=all) > 200 K", ensemble, record())
    assert caught.value.code == "members_unknown"


def test_the_base_rate_of_a_percentile_is_its_own_chance():
    ensemble, reference = forecast(), record(years=30)
    inquiry = inquiry_of("tas.mean(over=west).mean(time=DJF 2004) > p90", ensemble=ensemble, reference=reference)
    base = base_rate(inquiry)
    assert (base.events, base.windows) == (
        2,
        29,
    )  # 30 years hold 29 whole winters, and the 27th of 29 is not above itself
    inquiry = inquiry_of("(tas.mean(over=west) > p90).any(time=2004-03)", ensemble=ensemble, reference=reference)
    assert (base_rate(inquiry).events, base_rate(inquiry).windows) == (3, 30)


def test_long_windows_overlap_and_count_for_less():
    ensemble, reference = forecast(leads=36), record(years=12)
    base = base_rate(inquiry_of("tas.mean(over=west).mean(time=all) > 1 K", ensemble=ensemble, reference=reference))
    assert (base.events, base.windows, base.years) == (9, 9, pytest.approx(3, rel=0.01))
    assert base.independent == pytest.approx((9 - 1 + 3) / 3, rel=0.01)


def test_pooled_years_are_one_sample_for_each_member_and_year():
    ensemble, reference = forecast(leads=36, members=6), record()
    pooled = inquiry_of(
        "tas.mean(over=west).mean(time=each JJA 2004..2006) > p50", ensemble=ensemble, reference=reference
    )
    (tally,) = count(pooled)
    assert tally.event.shape == (6, 3)
    single = [
        count(inquiry_of(f"tas.mean(over=west).mean(time=JJA {year}) > p50", ensemble=ensemble, reference=reference))
        for year in (2004, 2005, 2006)
    ]
    assert tally.events == sum(one.events for (one,) in single)
    assert 6 <= tally.effective <= 18
    assert base_rate(pooled).windows == 12


def test_the_record_is_the_highest_or_the_lowest_of_the_reference():
    reference = record()
    ensemble = forecast(members=5)
    number = "tas.mean(over=west).mean(time=2004-01)"
    january = inquiry_of(f"{number} > record", ensemble=ensemble, reference=reference).climate.sample(
        parse(f"{number} > record").subject.source, None
    )
    inquiry = inquiry_of(f"{number} > record", ensemble=ensemble, reference=reference)
    assert base_rate(inquiry).events == 0
    assert base_rate(inquiry_of(f"{number} >= record", ensemble=ensemble, reference=reference)).events == 1
    assert base_rate(inquiry_of(f"{number} <= record", ensemble=ensemble, reference=reference)).events == 1
    values = inquiry.values(parse(f"{number} > record").subject.source).low[0, :, 0, 0, 0]
    (tally,) = count(inquiry)
    np.testing.assert_array_equal(tally.event[:, 0], values > january.values.max())


def test_time_means_know_how_long_a_month_is():
    ensemble = forecast(members=3)
    inquiry = inquiry_of("tas.mean(over=west).mean(time=DJF 2004) > 1 K", ensemble=ensemble, reference=record())
    value = inquiry.values(parse("tas.mean(over=west).mean(time=DJF 2004) > 1 K").subject.source).low[0, :, 0, 0, 0]
    monthly = [
        inquiry.values(parse(f"tas.mean(over=west).mean(time={month}) > 1 K").subject.source).low[0, :, 0, 0, 0]
        for month in ("2003-12", "2004-01", "2004-02")
    ]
    np.testing.assert_allclose(value, np.average(monthly, axis=0, weights=[31, 31, 28]))


def test_only_what_is_needed_is_read():
    ensemble = forecast(members=5, leads=9)
    read = []

    def note(block, block_info=None):
        read.append(block_info[0]["array-location"])
        return block

    lazy = ensemble.copy()
    lazy["tas"] = ensemble["tas"].chunk(latitude=1, longitude=1, member=-1, lead_time=3)
    lazy["tas"] = lazy["tas"].copy(data=lazy["tas"].data.map_blocks(note, dtype="float32", meta=np.empty(0)))
    inquiry = inquiry_of("tas.mean(over=point(0, 120)).mean(time=lead 4..6) > 1 K", ensemble=lazy, reference=record())
    count(inquiry)
    assert {tuple(place[1:]) for place in read} == {((3, 6), (0, 5), (1, 2), (1, 2))}
