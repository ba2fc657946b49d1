import itertools
import re
import struct

import cftime
import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex, to_rgb

from pipeline.errors import TercileError
from pipeline.judging.reliability import reliability, tabulate
from pipeline.places.coastline import coastline
from pipeline.reporting.charts import lead_chart, loss_curves, rank_histogram, spectrum_chart
from pipeline.reporting.figures import (
    FanChart,
    encode_picture,
    encode_svg,
    exceedance_curves,
    fan_chart,
    field_map,
    latitude_text,
    longitude_text,
    reliability_diagram,
)
from pipeline.reporting.palette import (
    BASE,
    INK,
    MUTED,
    PROBABILITY_BREAKS,
    STYLES,
    change_classes,
    difference_classes,
    probability_classes,
    skill_classes,
    styles,
)
from pipeline.reporting.summaries import (
    at_place,
    base_band,
    by_season,
    by_year,
    exceedance_curve,
    fan,
    leads_in,
    subjects,
    window_change,
    window_exceedance,
)

# Severity 1 deuteranomaly on linear RGB. Source: Machado, Oliveira and Fernandes (2009), doi:10.1109/TVCG.2009.113.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
SRGB_TO_XYZ = np.array(  # IEC 61966-2-1
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(colour):
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    x, y, z = SRGB_TO_XYZ @ rgb / [0.95047, 1.0, 1.08883]
    f = [np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def difference(first, second, matrix):
    """CIE 1976 ΔE of two colours as a viewer with that matrix sees them."""
    return np.linalg.norm(np.subtract(*[lab(np.clip(matrix @ linear(colour), 0, 1)) for colour in (first, second)]))


def contrast(first, second):
    """WCAG 2.2 contrast ratio."""
    light, dark = sorted((np.dot([0.2126, 0.7152, 0.0722], linear(colour)) for colour in (first, second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def adjacent(classes):
    return itertools.pairwise(classes.colours)


def test_colour_difference_of_black_and_white_is_100():
    assert difference("#000000", "#ffffff", np.eye(3)) == pytest.approx(100, abs=0.1)
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("matrix", [np.eye(3), DEUTERANOPIA], ids=["full", "deuteranopia"])
@pytest.mark.parametrize(
    "classes",
    [
        probability_classes(),
        difference_classes(),
        skill_classes(),
        change_classes(np.array([0.3, 6.2])),
        change_classes(np.array([1.0, 8.0])),
        change_classes(np.array([-4.0, -0.5])),
        change_classes(np.array([-3.0, 2.0])),
        change_classes(np.array([-0.2, 0.9]), is_wetness=True),
    ],
    ids=["probability", "difference", "skill", "warming", "strong warming", "cooling", "both", "rain"],
)
def test_adjacent_classes_can_be_told_apart(classes, matrix):
    assert len(classes.breaks) == len(classes.colours) + 1
    assert min(difference(a, b, matrix) for a, b in adjacent(classes)) >= 10


@settings(max_examples=60, deadline=None)
@given(st.floats(-40, 40), st.floats(-40, 40), st.booleans())
def test_classes_of_any_change_can_be_told_apart(low, high, is_wetness):
    classes = change_classes(np.array([low, high]), is_wetness=is_wetness)
    assert min(difference(a, b, DEUTERANOPIA) for a, b in adjacent(classes)) >= 10
    assert classes.breaks[0] <= min(low, high) + 1e-9
    assert max(low, high) - 1e-9 <= classes.breaks[-1]


def test_probability_classes_break_where_the_specification_says():
    classes = probability_classes()
    assert classes.breaks == PROBABILITY_BREAKS == (0, 10, 33, 50, 66, 90, 100)
    drawn = classes.colormap(classes.norm([0, 9.9, 10, 65.9, 66, 90, 100]))
    assert [classes.colours.index(to_hex(colour)) for colour in drawn] == [0, 0, 1, 3, 4, 5, 5]


@pytest.mark.parametrize(
    ("low", "high"), [(0.3, 6.2), (-3.1, 0.2), (-0.02, 1.9), (-7.0, -1.0), (0.0, 0.0), (1e-6, 3e-6), (2.0, 2.0)]
)
def test_change_classes_hold_every_value_and_are_symmetric_about_zero(low, high):
    classes = change_classes(np.array([low, high, np.nan]))
    assert classes.breaks[0] <= low
    assert classes.breaks[-1] >= high
    if low < 0 < high:
        assert classes.breaks == tuple(-edge for edge in reversed(classes.breaks))
        assert len(classes.colours) >= 6  # three for changes that nearly all have one sign


def test_lines_and_text_have_contrast_on_white():
    assert min(contrast(style.colour, "#ffffff") for style in STYLES) >= 4.5  # end labels are text in these colours
    assert min(contrast(colour, "#ffffff") for colour in (INK, MUTED)) >= 4.5
    assert contrast(INK, BASE) >= 4.5


def test_neighbouring_scenarios_differ_in_colour_and_dash():
    found = list(styles(["A1B", "E1", "third"]).values())
    assert len({style.dash for style in found}) == len({style.marker for style in found}) == 3
    assert difference(found[0].colour, found[1].colour, DEUTERANOPIA) > 40


@pytest.mark.parametrize(("west", "east"), [(-180, 180), (0, 360), (225, 315), (-0.5, 359.5), (20, 377.5)])
def test_coastline_covers_any_count_of_longitudes(west, east):
    lines = coastline(west=west, east=east)
    points = np.concatenate(lines)
    assert all(line.shape[1] == 2 for line in lines)
    assert abs(points[:, 1]).max() <= 90
    florida = [280, 25] if east > 250 else [-80, 25]
    assert np.hypot(*(points - florida).T).min() < 1.0  # the tip of Florida lies within a degree
    steps = np.concatenate([abs(np.diff(line[:, 0])) for line in lines])
    assert steps.max() < 30  # no line runs across the map along a seam


def test_coastline_refuses_a_span_that_runs_backwards():
    with pytest.raises(ValueError, match="east"):
        coastline(west=10, east=-10)


def make_fan_chart(**changes):
    x = np.arange(2000.0, 2010)
    rise = np.arange(10.0)
    levels = np.array([-2.0, -1, 0, 1, 2])[:, None]
    chart = {
        "x": x,
        "fans": {"A1B": rise + levels, "E1": rise / 2 + levels},
        "base": np.tile([[-1.0], [1.0]], 10),
        "past": (np.arange(1990.0, 2000), np.zeros(10)),
        "later": {"E1": (x[:5], np.ones(5))},
        "quantity": "temperature, change (K)",
        "time": "year",
    }
    return FanChart(**{**chart, **changes})


def lines_of(axes):
    return [np.column_stack(line.get_data()) for line in axes.get_lines()]


def test_fan_chart_draws_the_medians_and_the_record_it_was_given():
    chart = make_fan_chart()
    axes = fan_chart(chart).axes[0]
    drawn = lines_of(axes)
    for name in ("A1B", "E1"):
        assert any(np.array_equal(line, np.column_stack([chart.x, chart.fans[name][2]])) for line in drawn)
    assert any(np.array_equal(line, np.column_stack(chart.past)) for line in drawn)
    assert {text.get_text() for text in axes.texts} == {"A1B", "E1"}
    assert (axes.get_xlabel(), axes.get_title(loc="left")) == ("year", "temperature, change (K)")
    heights = [text.xy[1] for text in axes.texts]
    assert abs(np.diff(heights)).min() > 0


def test_end_labels_never_overlap():
    same = {name: np.zeros((5, 10)) for name in "abcd"}
    axes = fan_chart(make_fan_chart(fans=same, later={})).axes[0]
    low, high = axes.get_ylim()
    assert np.diff(sorted(text.xy[1] for text in axes.texts)).min() >= 0.06 * (high - low)


def test_fan_chart_of_an_unforced_system_labels_dates():
    chart = make_fan_chart(
        x=np.arange(1.0, 11), fans={"": make_fan_chart().fans["E1"]}, past=(np.arange(-4.0, 1), np.zeros(5)), later={},
        base=np.array([-np.arange(10.0), np.arange(10.0)]), dates={n: f"month {n}" for n in range(-4, 11)},
    )  # fmt: skip
    axes = fan_chart(chart).axes[0]
    assert axes.xaxis.get_major_formatter()(3.0) == "month 3"
    assert not axes.texts


@pytest.mark.parametrize("date", ["2010-10", "2010-10-13", "2010-10-13 06:00"])
def test_dates_below_an_axis_never_overlap(date):
    dates = dict.fromkeys(range(-21, 11), date)
    steps = {"x": np.arange(1.0, 11), "past": (np.arange(-21.0, 1), np.zeros(22)), "later": {}, "dates": dates}
    figure = fan_chart(make_fan_chart(**steps))
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels() if label.get_text()]
    assert len(boxes) > 1
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def grid(values, west=225.0):
    rows, columns = values.shape
    coords = {"latitude": 15 + 5.0 * np.arange(rows), "longitude": west + 5.0 * np.arange(columns)}
    return xr.DataArray(values, dims=("latitude", "longitude"), coords=coords)


def test_map_shows_the_values_in_classes_with_a_legend_for_each_meaning():
    values = np.linspace(0, 100, 48).reshape(6, 8)
    values[0, 0] = np.nan
    field = grid(values)
    figure = field_map(field, classes=probability_classes(), quantity="share (%)", title="tas, E1", hatched=field > 60)
    axes, bar = figure.axes
    mesh = next(item for item in axes.collections if hasattr(item, "get_coordinates"))
    np.testing.assert_array_equal(np.ma.filled(mesh.get_array(), np.nan).reshape(values.shape), values)
    assert bar.get_xlabel() == "share (%)"
    assert [label.get_text() for label in bar.get_xticklabels()] == ["0", "10", "33", "50", "66", "90", "100"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["no skill shown", "no data"]
    assert [patch.get_facecolor()[3] for patch in axes.patches if patch.get_hatch()] == [0, 1]  # values show through
    assert axes.get_title(loc="left") == "tas, E1"


def test_map_without_gaps_needs_no_legend_and_one_cell_is_a_map():
    assert not field_map(grid(np.ones((3, 4))), classes=probability_classes(), quantity="%").legends
    assert encode_picture(field_map(grid(np.ones((1, 1))), classes=probability_classes(), quantity="%"))


def fits(figure):
    """Whether nothing is drawn beyond the edges."""
    figure.draw_without_rendering()
    drawn = figure.get_tightbbox()
    return drawn.x0 >= 0 and drawn.y0 >= 0 and (drawn.max <= figure.get_size_inches()).all()


@pytest.mark.parametrize(
    ("rows", "columns", "step"), [(37, 49, 1.5), (48, 96, 3.7), (17, 33, 2.5), (60, 20, 1.0)], ids=str
)
def test_maps_of_any_shape_keep_their_title_and_legend_inside(rows, columns, step):
    values = np.full((rows, columns), 42.0)
    values[0, 0] = np.nan
    coords = {
        "latitude": (np.arange(rows) - rows / 2) * step * 0.95,
        "longitude": np.arange(columns) * step,
    }
    field = xr.DataArray(values, dims=("latitude", "longitude"), coords=coords)
    assert fits(field_map(field, classes=probability_classes(), quantity="share (%)", title="tas", hatched=field > 40))
    assert fits(field_map(field.fillna(0), classes=probability_classes(), quantity="share (%)", title="tas"))


def test_charts_with_long_names_keep_them_inside():
    quantity = "near-surface air temperature over the Rocky Mountains, change from 1860–1999 (K)"
    assert fits(fan_chart(make_fan_chart(quantity=quantity)))
    values = {name: np.full((3, 12), 0.1) for name in ("climatology", "linear-inverse", "autoregressive", "diffusion")}
    leads = [f"{year}–{year + 9}" for year in range(2000, 2120, 10)]
    look = styles(list(values))
    assert fits(lead_chart(values, leads=leads, axis="valid years", quantity=quantity, neutral=0.0, look=look))


@pytest.mark.parametrize(
    ("x", "text"), [(255, "105°W"), (-105, "105°W"), (0, "0°"), (360, "0°"), (180, "180°"), (12.54, "12.5°E")]
)
def test_longitudes_read_as_people_write_them(x, text):
    assert longitude_text(x) == text
    assert [latitude_text(y) for y in (-5, 0, 40)] == ["5°S", "0°", "40°N"]


def test_exceedance_curve_is_the_share_of_values_above():
    values = np.random.default_rng(3).normal(size=500)
    at, chance = exceedance_curve(values)
    assert chance[0] == 100
    assert chance[-1] == 0
    assert (np.diff(at) >= 0).all()
    for place in (10, 50, 90):
        assert 100 * (values > at[place]).mean() == pytest.approx(chance[place], abs=0.3)
    axes = exceedance_curves({"A1B": (at, chance)}, base=(at - 1, chance), quantity="change (K)").axes[0]
    assert (axes.get_xlabel(), axes.get_title(loc="left")) == ("change (K)", "share of members above each value (%)")


def test_small_numbers_below_a_curve_do_not_run_into_each_other():
    at, chance = exceedance_curve(np.linspace(2e-5, 1.7e-4, 200))
    figure = exceedance_curves({"": (at, chance)}, base=(at, chance), quantity="precipitation (kg m-2 s-1)")
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels() if label.get_text()]
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


def test_lead_chart_keeps_values_intervals_and_neutral_line():
    values = {"linear": np.array([[0.1, 0.2], [0.0, 0.1], [0.2, 0.3]])}
    figure = lead_chart(
        values, leads=["1", "2"], axis="lead (months)", quantity="CRPS skill", neutral=0.0, look=styles(["linear"])
    )
    axes = figure.axes[0]
    assert any(np.array_equal(line[:, 1], [0.1, 0.2]) for line in lines_of(axes))
    assert any(set(line[:, 1]) == {0.0} for line in lines_of(axes))
    assert axes.get_xlabel() == "lead (months)"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2"]


def test_rank_histogram_of_equal_frequencies_is_one_everywhere():
    frequencies = {"even": np.full(51, 1 / 51), "narrow": np.r_[0.3, np.full(49, 0.4 / 49), 0.3]}
    axes = rank_histogram(frequencies, quantity="tas", look=styles(list(frequencies))).axes[0]
    even, narrow = (line[:, 1] for line in lines_of(axes) if len(line) == 11)
    np.testing.assert_allclose(even, 1.0)
    assert narrow[0] > 3 * narrow[5]
    assert axes.get_ylim()[1] > narrow.max()


def test_spectrum_chart_draws_the_ratio_of_each_model_on_logarithmic_axes():
    ratios = {"linear": np.array([[0.5, 0.4], [1.0, 2.0], [1.5, 4.0]]), "smooth": np.full((3, 2), 0.1)}
    figure = spectrum_chart(ratios, quantity="tas", axis="waves", banded="linear", look=styles(list(ratios)))
    axes = figure.axes[0]
    assert any(np.array_equal(line[:, 1], [1.0, 2.0]) for line in lines_of(axes))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_ylim()[0] < 0.1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["linear, 5–95 %", "linear", "smooth"]


def test_reliability_diagram_draws_the_recalibrated_curve():
    rng = np.random.default_rng(0)
    share = xr.DataArray(rng.integers(0, 11, 4000) / 10)
    table = reliability(tabulate(share, (rng.uniform(size=4000) < share).astype(float)), draws=50)
    axes = reliability_diagram({"linear": table}, quantity="tas", banded="linear", look=styles(["linear"])).axes[0]
    assert any(
        np.allclose(line[:, 1], 100 * table["recalibrated"])
        for line in lines_of(axes)
        if len(line) == table["recalibrated"].size
    )
    assert "%" in axes.get_xlabel()
    assert "%" in axes.get_title(loc="left")


def test_loss_curves_skip_steps_that_were_not_validated():
    steps = np.arange(5.0)
    axes = loss_curves({"validate": (steps, np.array([1, np.nan, 0.5, np.nan, 0.2]))}).axes[0]
    np.testing.assert_array_equal(lines_of(axes)[0], [[0, 1], [2, 0.5], [4, 0.2]])


def test_encoding_leaves_settings_alone_and_repeats_itself():
    before = dict(mpl.rcParams)
    first, second = (encode_svg(fan_chart(make_fan_chart()), name="fan-a", alt="rises <fast>") for _ in range(2))
    assert first == second
    assert dict(mpl.rcParams) == before
    assert first.startswith("<svg viewBox=")
    assert "<title>rises &lt;fast&gt;</title>" in first
    assert "http" not in first
    ids = re.findall(r'\bid="([^"]+)"', first)
    assert len(ids) == len(set(ids))
    assert all(name.startswith("fan-a-") for name in ids)
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', first)) <= set(ids)


def test_png_is_a_picture_of_the_asked_size():
    data = encode_picture(loss_curves({"train": (np.arange(3.0), np.ones(3))}), dpi=100)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert width == pytest.approx(344, abs=2)
    assert height == 240


# What the figures are drawn from


def yearly(members=4, leads=6):
    rng = np.random.default_rng(7)
    time = [cftime.Datetime360Day(year, 6, 1) for year in range(1980, 2006)]
    space = {"latitude": [10.0, 20, 40], "longitude": [350.0, 355, 360, 365]}
    record = xr.DataArray(
        rng.normal(280, 1, (2, 26, 3, 4)),
        dims=("scenario", "time", "latitude", "longitude"),
        coords={"scenario": ["A", "B"], "time": time, **space},
    )
    record[1, :20] = record[0, :20]
    valid = np.array([[cftime.Datetime360Day(2000 + n, 6, 1) for n in range(leads)]])
    forecast = xr.DataArray(
        rng.normal(282, 1, (2, 1, leads, members, 3, 4)),
        dims=("scenario", "init_time", "lead_time", "member", "latitude", "longitude"),
        coords={
            "scenario": ["A", "B"],
            "lead_time": ("lead_time", np.arange(1, leads + 1), {"units": "years"}),
            **space,
        },
        attrs={"units": "K", "long_name": "air temperature"},
    )
    ensemble = xr.Dataset({"tas": forecast, "done": ("init_time", [1])})
    return ensemble.assign_coords(valid_time=(("init_time", "lead_time"), valid)), xr.Dataset({"tas": record})


def test_subjects_are_anomalies_from_the_reference_years():
    ensemble, record = yearly()
    (subject,) = subjects(ensemble.chunk(member=2), record, reference=(1980, 1999))
    mean = record["tas"].isel(scenario=0, time=slice(0, 20)).mean("time")
    np.testing.assert_allclose(subject.mean, mean)
    np.testing.assert_allclose(
        subject.forecast, (ensemble["tas"].isel(init_time=0) - mean).transpose(*subject.forecast.dims), atol=1e-5
    )
    assert abs(float(subject.reference.mean())) < 1e-9
    assert (subject.units, subject.label, subject.name) == ("K", "air temperature", "tas")
    assert subject.forecast.chunks is not None


def test_fan_and_window_maps_equal_numpy():
    (subject,) = subjects(*yearly(), reference=(1980, 1999))
    values = at_place(subject.forecast, (20.0, -4.0))
    cell = subject.forecast.sel(latitude=20, longitude=355)
    np.testing.assert_allclose(
        fan(values).sel(scenario="B"), np.quantile(cell.sel(scenario="B"), [0.05, 0.25, 0.5, 0.75, 0.95], axis=1)
    )
    change = window_change(subject.forecast, (2, 4))
    np.testing.assert_allclose(
        change, subject.forecast.transpose("scenario", "lead_time", "member", ...)[:, 1:4].mean(("lead_time", "member"))
    )
    share = window_exceedance(subject.forecast, subject.reference, quantile=1.0, leads=(2, 4))
    above = (subject.forecast.isel(lead_time=slice(1, 4)) > subject.reference.max("time")).sum(("lead_time", "member"))
    np.testing.assert_allclose(share, 100 * above / 12)


def test_a_missing_member_makes_its_cell_missing_and_no_other():
    ensemble, record = yearly()
    ensemble["tas"][0, 0, 0, 1, 2, 2] = np.nan
    (subject,) = subjects(ensemble, record, reference=(1980, 1999))
    share = window_exceedance(subject.forecast, subject.reference, quantile=0.9, leads=(1, 2))
    assert int(share.isnull().sum()) == 1
    assert np.isnan(share[0, 2, 2])


def test_the_threshold_exceeds_the_reference_itself_as_often_as_it_should():
    time = xr.date_range("1990-01-01", periods=1200, freq="MS")
    season = 10 * np.sin(2 * np.pi * np.arange(1200) / 12)
    record = xr.DataArray(season + np.random.default_rng(0).normal(size=1200), dims="time", coords={"time": time})
    limit = by_season(record, record["time"], lambda steps: steps.quantile(0.9, "time"))
    above = (record > limit.transpose("time")).groupby("time.month").mean()
    np.testing.assert_allclose(above, 0.1, atol=0.01)
    valid = xr.DataArray(time[:12], dims="lead_time", coords={"lead_time": np.arange(1, 13)})
    band = base_band(record, valid)
    assert band.dims == ("quantile", "lead_time")
    january = record.sel(time=record["time.month"] == 1)
    np.testing.assert_allclose(band[:, 0], np.quantile(january, [0.05, 0.95]))


def test_days_near_new_year_share_a_season():
    time = xr.date_range("2001-01-01", periods=3 * 365, freq="D")
    record = xr.DataArray(np.arange(3.0 * 365), dims="time", coords={"time": time})
    valid = xr.DataArray(time[[365]], dims="lead_time", coords={"lead_time": [1]})
    count = by_season(record, valid, lambda steps: steps.count("time"))
    assert count.item() == 3 * (8 + 7)  # 1–8 January and 25–31 December of three years


def test_units_that_people_read_and_levels_by_themselves():
    ensemble, record = yearly()
    ensemble["tas"].attrs |= {"units": "Pa", "long_name": "pressure"}
    both = [dataset[["tas"]].expand_dims(level=[500.0, 850.0]) for dataset in (ensemble, record)]
    both[0]["level"].attrs["units"] = "hPa"
    found = subjects(*both, reference=(1980, 1999))
    assert [subject.name for subject in found] == ["tas at 500 hPa", "tas at 850 hPa"]
    assert found[0].label == "pressure at 500 hPa"
    assert found[0].units == "hPa"
    (plain,) = subjects(ensemble, record, reference=(1980, 1999))
    np.testing.assert_allclose(found[1].forecast, plain.forecast)
    np.testing.assert_allclose(
        plain.forecast.isel(lead_time=0),
        0.01 * (ensemble["tas"][:, 0, 0] - plain.mean).transpose(*plain.forecast[:, 0].dims),
    )


def test_a_reference_outside_of_the_record_or_no_common_variable_is_refused():
    ensemble, record = yearly()
    with pytest.raises(TercileError, match="1900–1910"):
        subjects(ensemble, record, reference=(1900, 1910))
    with pytest.raises(TercileError, match="share no variable"):
        subjects(ensemble, record.rename(tas="pr"), reference=(1980, 1999))


def decades_of_months():
    """Twenty years and a half of months from July on, warming by 0.1 K a year about a season, with its record."""
    months = xr.date_range("1980-01-15", periods=12 * 42, freq="30D", calendar="360_day", use_cftime=True)
    space = {"latitude": [10.0, 20.0], "longitude": [0.0, 10.0, 20.0]}
    season = 280 + 5 * np.sin(2 * np.pi * np.arange(months.size) / 12) + 0.1 * (np.arange(months.size) // 12)
    record = xr.DataArray(season[:, None, None] + np.zeros((1, 2, 3)), {"time": months, **space}, name="tas")
    record.attrs = {"units": "K", "long_name": "near-surface air temperature"}
    ahead = record.isel(time=slice(12 * 20 + 6, 12 * 41)).expand_dims(member=3, init_time=1).copy()
    ensemble = ahead.rename(time="lead_time").rename("tas").to_dataset()
    valid = ("init_time", "lead_time"), ahead["time"].values[None]
    leads = ("lead_time", np.arange(1, ensemble.sizes["lead_time"] + 1), {"units": "months"})
    return ensemble.assign_coords(lead_time=leads, valid_time=valid), record.to_dataset()


def test_decades_of_months_are_drawn_by_whole_years():
    (subject,) = subjects(*decades_of_months(), reference=(1981, 1990))
    drawn = by_year(subject)
    assert drawn.label == "yearly mean near-surface air temperature"
    assert drawn.forecast["lead_time"].attrs == {"units": "years"}
    assert drawn.forecast["valid_time"].dt.year.values.tolist() == list(range(2001, 2021))
    mean = at_place(drawn.forecast, None).isel(member=0)
    np.testing.assert_allclose(mean, 0.1 * (np.arange(2001, 2021) - 1985.5))
    assert drawn.record.sizes["time"] == 42
    assert leads_in(subject, drawn, (2, 3)) == (19, 42)  # 2002 and 2003, six months of 2000 before them


def test_a_missing_month_makes_its_year_missing():
    ensemble, record = decades_of_months()
    ensemble["tas"][0, 0, 10] = np.nan
    (subject,) = subjects(ensemble, record, reference=(1981, 1990))
    missing = by_year(subject).forecast.isnull()
    first = missing.isel(member=0, lead_time=0)
    assert first.all()
    assert int(missing.sum()) == first.size


def test_few_months_are_drawn_as_they_are():
    ensemble, record = decades_of_months()
    (subject,) = subjects(ensemble.isel(lead_time=slice(0, 60)), record, reference=(1981, 1990))
    assert by_year(subject) is subject
    assert leads_in(subject, subject, (1, 3)) == (1, 3)
