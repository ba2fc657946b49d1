"""Shared systems: small, real, and made from closed-form laws so that truths are known."""

import os

os.environ.update({"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"})

import cftime
import numpy as np
import pytest
import xarray as xr
import yaml

from tests.command import tercile

LONGEST = (
    "cli demo run hindcast deploy ranks probability conditions report ingest_faults verify_flow replay model_climate "
    "stability explorer ensembles remote_sources service calibration faces"
).split()
"""Files that take long, the longest first."""


def pytest_collection_modifyitems(items):
    """Longest files first: two processes that take file after file then end together."""
    place = {f"test_{name}.py": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


def monthly_record(*, years=12, first=1990, calendar="standard", latitudes=5, longitudes=7, seed=3, realizations=0):
    """An AR(1) field with an annual cycle and one cell of land, monthly, K, as a well-kept NetCDF file has it."""
    rng = np.random.default_rng(seed)
    months = years * 12
    labels = [cftime.datetime(first + m // 12, m % 12 + 1, 1, calendar=calendar) for m in range(months)]
    if calendar == "standard":
        labels = [np.datetime64(label.isoformat(), "ns") for label in labels]
    cycle = 5 * np.cos(2 * np.pi * np.arange(months) / 12)
    shape = (max(realizations, 1), months, latitudes, longitudes)
    noise, state = rng.standard_normal(shape), np.zeros(shape)
    for m in range(1, months):
        state[:, m] = 0.8 * state[:, m - 1] + 0.6 * noise[:, m]
    values = (288 + cycle[:, None, None] + state).astype("float32")
    values[..., 0, 0] = np.nan
    dims = ("realization", "time", "lat", "lon") if realizations else ("time", "lat", "lon")
    attrs = {"standard_name": "sea_surface_temperature", "units": "K", "cell_methods": "time: mean"}
    return xr.Dataset(
        {"sst": (dims, values if realizations else values[0], attrs)},
        coords={
            "time": labels,
            "lat": ("lat", np.linspace(-10, 10, latitudes), {"units": "degrees_north"}),
            "lon": ("lon", np.linspace(200, 230, longitudes), {"units": "degrees_east"}),
        },
    )


def experiment_text(path, **changes):
    """A small experiment on one NetCDF file, as YAML."""
    content = {
        "name": "small",
        "title": "A small system",
        "sources": {"obs": {"kind": "files", "paths": [str(path)]}},
        "variables": ["sst"],
        "split": {"train": [1990, 1997], "validate": [1998, 1998], "test": [1999, 2001]},
        "reference": [1990, 1997],
        "background": {"harmonics": 1, "spread_harmonics": 0},
        "models": {"climatology": {"kind": "climatology"}, "persistence": {"kind": "damped_persistence"}},
        "hindcast": {"folds": 3, "starts": 20},
        "forecast": {
            "model": "persistence",
            "init_times": {"first": "1999-02-01", "last": "2001-09-01", "every": 4},
            "leads": 3,
            "members": 6,
            "block": 4,
            "seed": 7,
        },
        "verify": {"reference": "climatology"},
        "events": {"warm": "prob sst.mean(over=box(lat=-5..5, lon=205..225)).mean(time=lead 1) > p66"},
        "cluster": {"kind": "threads", "workers": 2},
        **changes,
    }
    return yaml.safe_dump(content, sort_keys=False)


@pytest.fixture
def record_file(tmp_path):
    """A monthly record on disk."""
    path = tmp_path / "record.nc"
    monthly_record().to_netcdf(path)
    return path


@pytest.fixture
def experiment_file(tmp_path, record_file):
    """An experiment on that record."""
    path = tmp_path / "small.yaml"
    path.write_text(experiment_text(record_file))
    return path


@pytest.fixture(scope="session")
def server(prefect_server):
    """Environment that points commands at the tests' Prefect server."""
    from prefect.settings import PREFECT_API_URL

    return {"PREFECT_API_URL": PREFECT_API_URL.value()}


@pytest.fixture(scope="session")
def small(tmp_path_factory, server):
    """A small experiment that has been run by the command: its folder, and the command as it ended."""
    folder = tmp_path_factory.mktemp("cli")
    monthly_record().to_netcdf(folder / "record.nc")
    (folder / "small.yaml").write_text(experiment_text(folder / "record.nc"))
    done = tercile("run", "small.yaml", cwd=folder, **server)
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.fixture(scope="session")
def prefect_server():
    """Prefect's own harness: a real server on a database of its own, once for all tests."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
