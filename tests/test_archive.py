from datetime import UTC, datetime

import numpy as np
import pytest
import xarray as xr

from pipeline.archive import ingest, open_archive, step_hashes
from pipeline.errors import TercileError
from pipeline.names import VARIABLES, canonical
from pipeline.periods import with_bounds
from pipeline.workspace import Workspace
from tests.conftest import monthly_record


def prepared(**settings):
    return with_bounds(canonical(monthly_record(**settings), variables={"sst": VARIABLES["sst"]}, spelling={}))


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "ws")


@pytest.mark.parametrize("calendar", ["standard", "360_day", "noleap"])
@pytest.mark.parametrize("realizations", [0, 2])
def test_what_goes_in_comes_out(workspace, calendar, realizations):
    data = prepared(calendar=calendar, realizations=realizations)
    ingest(workspace, data, group="obs", provenance=[{"source": "x"}])
    held = open_archive(workspace, group="obs")
    assert held["sst"].chunks is not None
    xr.testing.assert_equal(held["sst"].compute(), data["sst"].astype("float32"))
    np.testing.assert_array_equal(held["time_bnds"].values, data["time_bnds"].values)
    assert held["time"].encoding["units"] == "seconds since 1850-01-01"
    assert held["time"].encoding["calendar"].replace("proleptic_gregorian", "standard") == calendar
    assert held["sst"].attrs["cell_methods"] == "time: mean"


def test_the_same_twice_makes_no_snapshot(workspace):
    ingest(workspace, prepared(), group="obs", provenance=[])
    before = workspace.snapshot("archive")
    again = ingest(workspace, prepared(), group="obs", provenance=[])
    assert (again.added, again.corrected, again.unchanged) == (0, 0, 144)
    assert workspace.snapshot("archive") == before


def test_only_what_is_new_is_appended(workspace):
    ingest(workspace, prepared(years=10), group="obs", provenance=[])
    result = ingest(workspace, prepared(years=12).isel(time=slice(60, None)), group="obs", provenance=[])
    assert (result.added, result.corrected, result.unchanged) == (24, 0, 60)
    assert open_archive(workspace, group="obs").sizes["time"] == 144


def test_a_corrected_past_is_a_new_snapshot_and_the_old_one_can_be_read(workspace):
    data = prepared()
    ingest(workspace, data, group="obs", provenance=[])
    between = datetime.now(UTC)
    mended = data.copy(deep=True)
    mended["sst"][5, 2, 2] += 1
    assert ingest(workspace, mended, group="obs", provenance=[]).corrected == 1
    xr.testing.assert_equal(open_archive(workspace, group="obs")["sst"].load(), mended["sst"])
    xr.testing.assert_equal(open_archive(workspace, group="obs", as_of=between)["sst"].load(), data["sst"])


def test_gaps_and_an_earlier_past_are_refused(workspace):
    ingest(workspace, prepared().isel(time=slice(12, 60)), group="obs", provenance=[])
    with pytest.raises(TercileError, match="gap"):
        ingest(workspace, prepared().isel(time=slice(72, 90)), group="obs", provenance=[])
    with pytest.raises(TercileError, match="before the last one held"):
        ingest(workspace, prepared().isel(time=slice(0, 60)), group="obs", provenance=[])
    assert open_archive(workspace, group="obs").sizes["time"] == 48


def test_hashes_know_values_and_not_chunks():
    data = prepared()
    np.testing.assert_array_equal(step_hashes(data), step_hashes(data.chunk(time=5)))
    changed = data.copy(deep=True)
    changed["sst"][7, 1, 1] += 0.01
    assert np.flatnonzero(step_hashes(changed) != step_hashes(data)).tolist() == [7]


def test_an_unknown_group_offers_the_nearest(workspace):
    ingest(workspace, prepared(), group="ersst", provenance=[])
    with pytest.raises(TercileError, match="Did you mean 'ersst'"):
        open_archive(workspace, group="erst")
