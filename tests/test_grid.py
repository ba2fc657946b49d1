import numpy as np
import pytest
import xarray as xr

from pipeline.grid import EARTH_RADIUS_KM, area_mean, area_weights, cell_area, is_global


def axes(latitude, longitude):
    return (xr.DataArray(latitude, dims="latitude"), xr.DataArray(longitude, dims="longitude"))


@pytest.mark.parametrize("shape", [(18, 36), (37, 24)])
def test_cells_of_a_global_grid_add_up_to_the_sphere(shape):
    latitude = np.linspace(-90, 90, shape[0] * 2 + 1)[1::2]
    longitude = np.arange(shape[1]) * 360 / shape[1]
    total = cell_area(*axes(latitude, longitude)).sum()
    assert float(total) == pytest.approx(4 * np.pi * EARTH_RADIUS_KM**2, rel=1e-12)


def test_a_band_by_hand():
    """One cell from 0 to 60 N and 90 degrees wide: R² · (π/2) · sin 60°."""
    area = cell_area(*axes([30.0, 90.0], [0.0, 90.0])).values[0, 0]
    assert area == pytest.approx(EARTH_RADIUS_KM**2 * np.pi / 2 * (np.sin(np.pi / 3) - 0), rel=1e-12)


def test_the_mean_of_a_constant_is_the_constant_and_a_mask_changes_only_weights():
    data = xr.DataArray(
        np.full((4, 5, 6), 3.0),
        dims=("time", "latitude", "longitude"),
        coords={"latitude": np.linspace(0, 80, 5), "longitude": np.linspace(0, 50, 6)},
    )
    data[:, 2, 3] = np.nan
    np.testing.assert_allclose(area_mean(data), 3.0)
    assert float(area_weights(data).mean()) == pytest.approx(1.0)


def test_a_hole_in_one_step_is_left_out_of_all_steps():
    data = xr.DataArray(
        np.zeros((2, 2, 2)),
        dims=("time", "latitude", "longitude"),
        coords={"latitude": [-10.0, 10.0], "longitude": [0.0, 10.0]},
    )
    data[0, 0, 0], data[1, 0, 0] = np.nan, 100.0
    np.testing.assert_allclose(area_mean(data), 0.0)


def test_a_field_without_values_leaves_the_means_of_the_others():
    data = xr.DataArray(
        np.ones((2, 3, 2, 2)),
        dims=("scenario", "time", "latitude", "longitude"),
        coords={"latitude": [-10.0, 10.0], "longitude": [0.0, 10.0]},
    )
    data[:, :, 0, 0] = np.nan  # land
    data[1, 2] = np.nan  # the shorter scenario has ended
    np.testing.assert_array_equal(area_mean(data), [[1, 1, 1], [1, 1, np.nan]])


@pytest.mark.parametrize(
    ("longitudes", "expected"),
    [(np.arange(0, 360, 5.0), True), (np.arange(-180, 180, 7.5), True), (np.arange(225, 316, 1.875), False)],
)
def test_which_grids_close_the_circle(longitudes, expected):
    assert is_global(xr.DataArray(longitudes, dims="longitude")) is expected
