import numpy as np
import pytest
import xarray as xr

from pipeline.errors import InputRefusedError
from pipeline.grid import area_weights
from pipeline.intake.processing import selected
from pipeline.names import VARIABLES, canonical, known_variable, nearest
from pipeline.units import conversion
from tests.conftest import monthly_record


def only(name):
    return {name: VARIABLES[name]}


def test_foreign_spellings_become_ours():
    raw = monthly_record().rename(sst="TOS", lat="FNOCY", lon="FNOCX", time="TIME")
    data = canonical(raw, variables=only("sst"), spelling={})
    assert data["sst"].dims == ("time", "latitude", "longitude")
    assert set(data.coords) == {"time", "latitude", "longitude"}
    np.testing.assert_array_equal(data["sst"].values, raw["TOS"].values)


def test_descending_latitudes_are_turned_with_their_values():
    raw = monthly_record()
    data = canonical(raw.isel(lat=slice(None, None, -1)), variables=only("sst"), spelling={})
    np.testing.assert_array_equal(data["sst"].values, raw["sst"].values)
    assert (np.diff(data["latitude"]) > 0).all()


@pytest.mark.parametrize(
    ("longitudes", "expected"),
    [
        ([-180, -90, 0, 90], [-180, -90, 0, 90]),
        ([0, 90, 180, 270, 360], [0, 90, 180, 270]),  # the repeated cyclic point goes
        ([20, 110, 200, 290], [20, 110, 200, 290]),
        ([200, 290, 380, 470], [20, 110, 200, 290]),  # past the circle: turned back
        ([340, 350, 0, 10], [-20, -10, 0, 10]),  # an area across the seam of its spelling stays whole
        ([170, 175, -180, -175], [170, 175, 180, 185]),
        ([350, 355, 360, 365], [-10, -5, 0, 5]),
        ([300, 320, 340, 360], [-60, -40, -20, 0]),
        ([380, 390, 400, 410], [20, 30, 40, 50]),
        ([-60, -40, -20, 0], [-60, -40, -20, 0]),
    ],
)
def test_longitudes_are_normalised(longitudes, expected):
    raw = monthly_record(longitudes=len(longitudes)).assign_coords(lon=("lon", longitudes, {"units": "degrees_east"}))
    data = canonical(raw, variables=only("sst"), spelling={})
    np.testing.assert_allclose(data["longitude"], expected)
    for value in expected:
        same = next(i for i, lon in enumerate(longitudes) if (lon - value) % 360 == 0)
        np.testing.assert_array_equal(data["sst"].sel(longitude=value), raw["sst"].isel(lon=same))


def test_an_area_across_greenwich_has_cells_as_wide_as_they_are():
    lon = ("lon", [340, 350, 0, 10], {"units": "degrees_east"})
    data = canonical(monthly_record(longitudes=4).assign_coords(lon=lon), variables=only("sst"), spelling={})
    np.testing.assert_allclose(area_weights(data).std("longitude"), 0, atol=1e-12)


def test_units_are_converted_and_never_guessed():
    raw = monthly_record()
    celsius = raw.assign(sst=(raw["sst"] - 273.15).assign_attrs(units="degC"))
    data = canonical(celsius, variables=only("sst"), spelling={})
    np.testing.assert_allclose(data["sst"], raw["sst"], rtol=1e-6)
    assert data["sst"].attrs["units"] == "K"
    del celsius["sst"].attrs["units"]
    with pytest.raises(InputRefusedError, match="gives no units"):
        canonical(celsius, variables=only("sst"), spelling={})


def test_units_of_another_quantity_are_refused_by_the_variables_name():
    raw = monthly_record().rename(sst="tos")
    raw["tos"].attrs["units"] = "m2 s-2"
    with pytest.raises(
        InputRefusedError,
        match=r"variable 'sst' \('tos' of the source\): cannot convert 'm2 s-2' to 'K'.*`units: {sst: UNITS}`",
    ):
        canonical(raw, variables=only("sst"), spelling={})
    found = canonical(raw, variables=only("sst"), spelling={}, units={"sst": "K"})
    np.testing.assert_array_equal(found["sst"], raw["tos"])


def test_conversion_golden_numbers():
    assert conversion("hPa", "Pa") == pytest.approx((100, 0))
    assert conversion("degC", "K") == pytest.approx((1, 273.15))
    assert conversion("degF", "K")[0] == pytest.approx(5 / 9)
    assert conversion("M/S", "m s-1") == pytest.approx((1, 0))  # Ferret writes capitals


def test_units_of_another_quantity_are_refused():
    raw = monthly_record()
    raw["sst"].attrs["units"] = "mm"
    with pytest.raises(InputRefusedError, match="cannot convert 'mm' to 'K'"):
        canonical(raw, variables=only("sst"), spelling={})


def test_a_wrong_name_offers_the_nearest():
    with pytest.raises(InputRefusedError, match="Did you mean 'sst'"):
        canonical(monthly_record(), variables=only("sst"), spelling={"sst": "sstt"})
    raw = monthly_record().rename(sst="t3")
    raw["t3"].attrs.pop("standard_name")
    with pytest.raises(InputRefusedError, match="variable 'sst': none in the source"):
        canonical(raw, variables=only("sst"), spelling={})


def test_a_missing_dimension_is_named():
    raw = monthly_record().isel(lon=0, drop=True)
    with pytest.raises(InputRefusedError, match="longitude"):
        canonical(raw, variables=only("sst"), spelling={})
    curvilinear = monthly_record().drop_vars(["lat", "lon"]).rename(lat="j", lon="i")
    with pytest.raises(InputRefusedError, match=r"latitude, longitude not found; .*curvilinear"):
        canonical(curvilinear, variables=only("sst"), spelling={})


def test_a_profile_is_known_by_its_own_name_beside_a_surface_field_of_the_same_standard_name():
    raw = monthly_record(years=1).rename(sst="tas")
    raw["tas"].attrs["standard_name"] = "air_temperature"
    levels = {"plev": ("plev", [85000.0, 50000.0], {"units": "Pa"})}
    both = raw.assign(ta=raw["tas"].expand_dims(plev=2, axis=1) - 20).assign_coords(levels)
    both["ta"].attrs = raw["tas"].attrs
    found = canonical(both, variables={name: known_variable(name) for name in ("tas", "ta500")}, spelling={})
    np.testing.assert_array_equal(found["ta500"], found["tas"] - 20)
    taken = both[["ta"]].isel(plev=1).rename(ta="ta500", plev="level")
    again = canonical(taken, variables={"ta500": known_variable("ta500")}, spelling={})
    np.testing.assert_array_equal(again["ta500"], found["ta500"])


def test_nearest_lists_what_there_is():
    assert nearest("temp", ["tas", "pr"]).endswith("There is: pr, tas.")
    assert nearest("x", []) == " There is: nothing."


def test_lazy_stays_lazy():
    data = canonical(monthly_record().chunk(time=12), variables=only("sst"), spelling={})
    assert data["sst"].chunks is not None
    assert isinstance(data, xr.Dataset)


@pytest.mark.parametrize(
    ("spelling", "target", "expected"),
    [
        ("deg C", "K", (1, 273.15)),
        ("degrees Celsius", "K", (1, 273.15)),
        ("degK", "K", (1, 0)),
        ("deg F", "K", (5 / 9, 459.67 * 5 / 9)),
        ("mb", "Pa", (100, 0)),
        ("millibars", "Pa", (100, 0)),
        ("mm/day", "kg m-2 s-1", (1 / 86400, 0)),
        ("m s-1", "kg m-2 s-1", (1000, 0)),
        ("inches/day", "kg m-2 s-1", (25.4 / 86400, 0)),
    ],
)
def test_spellings_that_files_have(spelling, target, expected):
    assert conversion(spelling, target) == pytest.approx(expected)


def rain(units):
    raw = monthly_record().rename(sst="pr")
    return raw.assign(pr=(raw["pr"] * 0 + 62.0).assign_attrs(units=units))


def test_totals_of_months_are_spread_over_their_days():
    with pytest.raises(InputRefusedError, match=r"'mm/month', but months .*accumulated: {pr: period}"):
        canonical(rain("mm/month"), variables=only("pr"), spelling={})
    found = canonical(rain("mm"), variables=only("pr"), spelling={}, accumulated={"pr": "period"})["pr"]
    np.testing.assert_allclose(found[:3, 2, 2], 62 / 86400 / np.array([31, 28, 31]), rtol=1e-6)
    assert found.attrs["cell_methods"] == "time: mean"


def test_a_dimension_of_one_value_goes_and_one_of_more_is_chosen_from():
    raw = monthly_record()
    flat = raw.assign(sst=raw["sst"].expand_dims(zlev=[0.0], axis=1))
    np.testing.assert_array_equal(canonical(flat, variables=only("sst"), spelling={})["sst"], raw["sst"])
    deep = raw.assign(sst=raw["sst"].expand_dims(depth=[0.0, 10.0], axis=1))
    with pytest.raises(InputRefusedError, match=r"dimension depth is none of.*`select: {depth: VALUE}`"):
        canonical(deep, variables=only("sst"), spelling={})
    assert "depth" not in selected(deep, {"depth": 10})["sst"].dims
    with pytest.raises(InputRefusedError, match="'depth' has no 5; it has 0, 10"):
        selected(deep, {"depth": 5})
    with pytest.raises(InputRefusedError, match="no dimension 'lev' with values"):
        selected(deep, {"lev": 5})


def test_axes_without_values_and_curvilinear_grids_are_refused():
    raw = monthly_record()
    with pytest.raises(InputRefusedError, match="latitude: a dimension without values of its own"):
        canonical(raw.drop_vars("lat"), variables=only("sst"), spelling={})
    turned = raw.rename(lat="y", lon="x").drop_vars(["x", "y"])
    with pytest.raises(InputRefusedError, match="latitude, longitude: a dimension without values"):
        canonical(turned, variables=only("sst"), spelling={})


@pytest.mark.parametrize(
    ("dim", "attrs", "told"),
    [
        ("rlat", {"standard_name": "grid_latitude", "units": "degrees"}, "grid_latitude in degrees"),
        ("y", {"standard_name": "projection_y_coordinate"}, "projection_y_coordinate"),
        ("lat", {"units": "km"}, "km"),
        ("lat", {"units": "radian"}, "radian"),
    ],
)
def test_rotated_and_projected_axes_are_no_latitudes(dim, attrs, told):
    raw = monthly_record().rename(lat=dim)
    raw[dim].attrs = attrs
    with pytest.raises(InputRefusedError, match=rf"\[known_grid\] latitude: the source's axis is {told}, no latitude"):
        canonical(raw, variables=only("sst"), spelling={})


def test_dimensions_are_known_by_standard_name_and_by_dates():
    raw = monthly_record().rename(lat="g0_lat_1", lon="g0_lon_2", time="initial_time0_hours")
    raw["g0_lat_1"].attrs = {"standard_name": "latitude"}
    assert canonical(raw, variables=only("sst"), spelling={})["sst"].dims == ("time", "latitude", "longitude")


def test_a_repeated_cyclic_point_goes_though_it_is_rounded():
    lon = np.float32(0.05) + np.float32(0.1) * np.arange(3601, dtype="float32")
    assert (lon[-1] - 360.0) - lon[0] != 0
    raw = monthly_record(years=1, longitudes=3601).assign_coords(lon=("lon", lon, {"units": "degrees_east"}))
    data = canonical(raw, variables=only("sst"), spelling={})
    assert data.sizes["longitude"] == 3600
    np.testing.assert_allclose(np.diff(data["longitude"]), 0.1, atol=1e-4)
