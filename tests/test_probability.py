"""Chances from members: against plain loops, and by identities that must hold for any ensemble."""

import numpy as np
import pytest

from pipeline.events import QuestionError, parse
from pipeline.events.tree import Question
from pipeline.probability import Inquiry, base_rate, count
from pipeline.quantities import in_data_units, measure
from pipeline.windows import resolve, timeline_of
from tests.asking import FIRST_YEAR, catalogue, forecast, record
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
        return in_data_units(threshold, measure(node, names, timeline))

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


@pytest.mark.parametrize("block", range(10))
def test_agrees_with_plain_loops(world, block):
    ensemble, reference, brute = world
    asker, asked = Asker(block), 0
    while asked < 120:
        node = asker.question()
        if "Absolute(value=2004.0" in repr(node):
            continue
        try:
            found = inquiry_of(Question(node), ensemble=ensemble, reference=reference).values(node)
        except QuestionError as error:
            assert error.code in ("reference_too_short", "percentile_too_fine", "mostly_masked"), error.text
            continue
        brute.memo.clear()
        brute.kept.clear()
        expected = brute.outcome(node)
        got = list(zip(found.low[0, :, 0, 0, 0], found.high[0, :, 0, 0, 0], strict=True))
        assert got == expected, node
        asked += 1
