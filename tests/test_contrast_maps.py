"""Maps and series of two scenarios: at each place as the question at that place, and by plain loops."""

import io

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from pipeline.answers.contrast_field import CONTRAST, VERDICTS
from pipeline.answers.formats import as_coverage
from pipeline.answers.plots import answer_picture
from pipeline.errors import TercileError
from pipeline.reporting.palette import difference_classes
from tests.asking import LATITUDE, LONGITUDE, forecast, record, with_scenarios
from tests.test_answers import ask, projection, refusal

DJF = "tas{}.mean(time=DJF 2004) > 5.1 degC"
POOLED = "tas{}.mean(time=each JFM 2004..2006) > 3 degC"
SCENARIOS = " scenario high vs low"


def everywhere(event=DJF, ensemble=None, **options):
    return ask(f"map of {event.format('')}{SCENARIOS}", projection() if ensemble is None else ensemble, **options)


def separated(*, missing=False):
    """Under ``high`` every member is warmer than all are under ``low``, but where data are missing."""
    parts = [forecast(members=40, seed=4, warming=more, masked=missing) for more in (40.0, -40.0)]
    return with_scenarios(parts, ["high", "low"])


def gappy():
    """Some members are unknown, others under each scenario."""
    parts = [forecast(members=40, seed=4, warming=more, missing=gaps) for more, gaps in ((0.4, 0.02), (0.0, 0.04))]
    return with_scenarios(parts, ["high", "low"])


@pytest.mark.parametrize(
    ("event", "ensemble"),
    [(DJF, projection()), (DJF, gappy()), (POOLED, projection(leads=33)), (DJF, separated())],
    ids=["plain", "missing", "pooled years", "separated"],
)
def test_a_cell_is_the_comparison_asked_at_its_place(event, ensemble):
    field = everywhere(event, ensemble, level=0.8).members
    for latitude, longitude in [(-10, 100), (0, 120), (15, 160)]:
        over = event.format(f".mean(over=point({latitude}, {longitude}))")
        single = ask(f"prob {over}{SCENARIOS}", ensemble, level=0.8).to_json()
        cell = field.sel(latitude=latitude, longitude=longitude)
        ends = [single["difference"][part] for part in ("value", "low", "high")]
        assert [float(cell[name]) for name in CONTRAST[:3]] == pytest.approx(ends, abs=1e-12)
        for side in single["scenarios"]:
            chance = cell.sel(scenario=side["scenario"])
            assert float(chance["low"]) == pytest.approx(side["interval"]["low"])
            assert float(chance["high"]) == pytest.approx(side["interval"]["high"])


def test_a_step_of_a_series_is_the_comparison_asked_at_its_time():
    number = "tas.mean(over=west)"
    series = ask(f"series of {number} > 5.1 degC{SCENARIOS}", projection())
    single = ask(f"{number}.mean(time=2004-01) > 5.1 degC{SCENARIOS}", projection()).to_json()["difference"]
    found = [float(series.members[name][3]) for name in CONTRAST[:3]]
    assert found == pytest.approx([single["value"], single["low"], single["high"]])
    clear = (series.members["difference_verdict"] == 2).mean()
    assert series.to_json()["field"]["difference"]["clear_share"] == pytest.approx(float(clear))
    assert "of the steps, each step judged alone" in series.headline


def jeffreys(events, members, level):
    """The interval by scipy's quantiles of the beta distribution, one-sided at the ends."""
    tail = (1 - level) / 2
    if events in (0, members):
        bound = tail ** (1 / members)
        return (0.0, 1 - bound) if events == 0 else (bound, 1.0)
    return stats.beta(events + 0.5, members - events + 0.5).ppf([tail, 1 - tail])


def phi(first, second):
    """Newcombe's (1998, paired data, method 10) of the table of members with both events, one of them, or neither."""
    a, b, c, d = (((first == one) & (second == two)).sum() for one, two in ((1, 1), (1, 0), (0, 1), (0, 0)))
    cross = a * d - b * c
    cross = cross if cross < 0 else max(0.0, cross - first.size / 2)
    return cross / np.sqrt(float((a + b) * (c + d) * (a + c) * (b + d)))


@pytest.mark.parametrize(("members", "level", "seed"), [(3, 0.9, 0), (5, 0.8, 1), (50, 0.95, 2)])
def test_agrees_with_a_plain_loop_over_cells(members, level, seed):
    parts = [forecast(members=members, seed=seed, warming=more) for more in (0.6, 0.0)]
    parts[0]["tas"] += np.random.default_rng(seed).normal(0, 1, parts[0]["tas"].shape).astype("float32")
    ensemble = with_scenarios(parts, ["high", "low"])
    field = everywhere("tas{}.mean(time=2004-01) > 5 degC", ensemble, level=level).members
    above = ensemble["tas"][:, 0, 3].values > 278.15  # (scenario, member, latitude, longitude)
    for place in np.ndindex(LATITUDE.size, LONGITUDE.size):
        first, second = above[:, :, *place].astype(float)
        p, q = first.mean(), second.mean()
        (l1, u1), (l2, u2) = (jeffreys(round(side.sum()), members, level) for side in (first, second))
        r = phi(first, second) if 0 < p < 1 and 0 < q < 1 else 0.0
        low = p - q - np.sqrt((p - l1) ** 2 - 2 * r * (p - l1) * (u2 - q) + (u2 - q) ** 2)
        high = p - q + np.sqrt((u1 - p) ** 2 - 2 * r * (u1 - p) * (q - l2) + (q - l2) ** 2)
        found = [float(field[name][place]) for name in CONTRAST]
        assert found[:3] == pytest.approx([p - q, max(low, -1), min(high, 1)], abs=1e-6)
        assert VERDICTS[int(found[3])] == ("clear_difference" if low > 0 or high < 0 else "no_clear_difference")


def test_scenarios_that_are_the_same_differ_nowhere():
    same = with_scenarios([forecast(members=40, seed=4)] * 2, ["high", "low"])
    found = everywhere(ensemble=same)
    assert (found.members["difference"] == 0).all()
    assert (found.members["difference_verdict"] == VERDICTS.index("no_clear_difference")).all()
    assert "0 to 0 points; clearly different nowhere" in found.headline


def test_scenarios_without_anything_in_common_differ_wherever_there_are_data():
    found = everywhere(ensemble=separated(missing=True), reference=record(masked=True))
    known = found.members.isel(latitude=slice(1, None))
    assert (known["difference"] == 1).all()
    assert (known["difference_low"] > 0.85).all()
    assert (known["difference_high"] == 1).all()
    masked = found.members.isel(latitude=0, longitude=0)
    assert np.isnan([masked[name] for name in CONTRAST[:3]]).all()
    assert VERDICTS[int(masked["difference_verdict"])] == "not_known"
    assert "+100 to +100 points; clearly different everywhere" in found.headline


def test_the_headline_and_the_card_say_how_far_and_over_what_share_of_the_area():
    found = everywhere()
    gap, clear = found.members["difference"], found.members["difference_verdict"] == 2
    edges = np.sin(np.deg2rad([-15, -5, 7.5, 22.5]))  # half-way between the latitudes -10, 0 and 15
    area = np.diff(edges) / (edges[-1] - edges[0]) / LONGITUDE.size
    share = float((clear * area[:, np.newaxis]).sum())
    told = found.to_json()["field"]["difference"]
    assert told["clear_share"] == pytest.approx(share)
    assert share != pytest.approx(float(clear.mean()), abs=0.005)
    assert (told["min"], told["max"], told["level"]) == (float(gap.min()), float(gap.max()), 0.9)
    words = f"0 to {100 * told['max']:+.0f} points; clearly different over {100 * share:.0f} % of the area"
    assert found.headline.startswith(f"The share under high less that under low: {words}, each place judged alone by ")
    assert f"  difference  {words}\n  intervals   90 %, for sampling of members\n" in found.text
    assert words in found._repr_html_()


def test_a_map_in_bands_is_the_same_map(monkeypatch):
    whole = everywhere(ensemble=gappy()).members
    monkeypatch.setattr("pipeline.answers.fields.BAND_VALUES", 1)
    xr.testing.assert_identical(everywhere(ensemble=gappy()).members, whole)


def test_scenarios_without_a_common_window_are_refused():
    ensemble = projection()
    ensemble["tas"][1, :, 3:] = np.nan
    error = refusal(f"map of {DJF.format('')}{SCENARIOS}", ensemble)
    assert error.code == "scenario_mismatch"
    assert error.text == "No place has data under both high and low: no common window."


def test_the_forms_carry_the_difference(tmp_path):
    found = everywhere(ensemble=separated(missing=True), reference=record(masked=True))
    field = found.members
    first, second, contrast = as_coverage(found)["coverages"]
    assert (first["id"], second["id"], contrast["id"]) == ("high", "low", "difference")
    assert tuple(contrast["ranges"]) == CONTRAST
    assert not set(CONTRAST) & set(first["ranges"])
    assert contrast["ranges"]["difference"]["values"][:2] == [None, 1.0]
    label = "share of members with the event under high less that under low"
    assert contrast["parameters"]["difference"]["observedProperty"]["label"]["en"] == label
    table = pd.read_csv(io.StringIO(found.to_csv()), comment="#")
    one = table[table["scenario"] == "high"].set_index(["latitude", "longitude"]).loc[(0, 120)]
    path = tmp_path / "map.nc"
    path.write_bytes(found.to_netcdf())
    with netCDF4.Dataset(path) as data:
        for name in CONTRAST:
            expected = field[name].sel(latitude=0, longitude=120)
            assert data[name].dimensions == ("latitude", "longitude")
            assert data[name][1, 1] == one[name] == expected
        assert data["difference_low"].long_name == f"lower end of the 90 % interval of the {label}"
        assert (data["difference_low"].level, data["difference_low"].units) == (0.9, "1")
        assert data["difference_verdict"].flag_meanings.split() == list(VERDICTS)


def mesh_of(figure):
    return next(item for item in figure.axes[0].collections if hasattr(item, "get_coordinates"))


def hatches(figure):
    """The words of the legend, and by hatch how many cells it covers."""
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    paths = {patch.get_hatch(): patch.get_path() for patch in figure.axes[0].patches if patch.get_hatch()}
    shape = (LATITUDE.size, LONGITUDE.size)
    middles = np.stack(np.meshgrid(LONGITUDE, LATITUDE), axis=-1).reshape(-1, 2)
    return words, {hatch: path.contains_points(middles).reshape(shape) for hatch, path in paths.items()}


def test_the_picture_shows_the_difference_hatched_where_it_is_not_clear():
    ensemble, reference = gappy(), record(masked=True)
    ensemble["tas"][..., 0, 0] = np.nan
    found = everywhere(ensemble=ensemble, reference=reference)
    figure = found.plot.map()
    drawn = np.ma.filled(mesh_of(figure).get_array(), np.nan).reshape(3, 4)
    np.testing.assert_allclose(drawn, 100 * found.members["difference"], atol=1e-3)
    words, covered = hatches(figure)
    assert words == ["no clear difference", "no data"]
    verdict = found.members["difference_verdict"].values
    np.testing.assert_array_equal(covered["////"], verdict == VERDICTS.index("no_clear_difference"))
    np.testing.assert_array_equal(covered["."], verdict == VERDICTS.index("not_known"))
    assert figure.axes[1].get_xlabel() == "share of members, high less low (points)"
    assert answer_picture(found).startswith(b"\x89PNG")


def test_the_same_twice_is_hatched_all_over_and_the_opposite_nowhere():
    same = with_scenarios([forecast(members=40, seed=4)] * 2, ["high", "low"])
    words, covered = hatches(everywhere(ensemble=same).plot.map())
    assert words == ["no clear difference"]
    assert covered["////"].all()
    assert not everywhere(ensemble=separated()).plot.map().legends


def test_the_scale_is_centred_on_no_difference():
    classes = difference_classes()
    assert classes.breaks == tuple(-edge for edge in reversed(classes.breaks))
    assert classes.colormap(classes.norm([-4.9, 0.0, 4.9])).tolist() == [[1.0] * 4] * 3


def test_the_picture_of_a_series_shows_each_scenario_and_marks_clear_differences():
    series = ask(f"series of tas.mean(over=west) > 5.1 degC{SCENARIOS}", projection())
    (axes,) = series.plot.main().axes
    lines = {line.get_label(): line for line in axes.lines}
    for name in ("high", "low"):
        assert lines[name].get_ydata() == pytest.approx(100 * series.members["probability"].sel(scenario=name).values)
    clear = np.flatnonzero(series.members["difference_verdict"] == VERDICTS.index("clear_difference"))
    assert lines["clear difference"].get_xdata().tolist() == clear.tolist()
    alone = ask("series of tas.mean(over=west) > p66")
    assert [line.get_label() for line in alone.plot.series().axes[0].lines][1:] == ["members"]
    with pytest.raises(TercileError, match="only a 'series of"):
        ask("prob tas.mean(over=west).mean(time=all) > p66").plot.series()
