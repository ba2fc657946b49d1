import numpy as np
import pytest
import xarray as xr

from pipeline.ensembles import open_ensemble
from pipeline.errors import TercileError
from pipeline.export import export_members
from pipeline.workspace import Workspace
from tests.test_hindcast import MODEL, learnt  # noqa: F401

pytestmark = pytest.mark.usefixtures("prefect_server")


def reread(path):
    return xr.open_dataset(path, decode_times=xr.coders.CFDatetimeCoder(time_unit="s"), decode_timedelta=False)


@pytest.mark.parametrize("calibrated", [True, False])
def test_an_exported_ensemble_is_the_one_that_is_stored(learnt, tmp_path, calibrated):  # noqa: F811
    path = export_members(learnt.workspace, tmp_path / "out" / "members.nc", calibrated=calibrated)
    stored = open_ensemble(learnt.workspace, model=MODEL, calibrated=calibrated)
    with reread(path) as found:
        np.testing.assert_array_equal(found["sst"], stored["sst"])
        assert found["sst"].attrs["units"] == "K"
        assert found["lead_time"].attrs["units"] == "months"
        assert found["lead_time"].values.tolist() == [1, 2, 3]
        xr.testing.assert_equal(found["valid_time"].drop_vars("valid_time_bnds", errors="ignore"), stored["valid_time"])
        assert found.attrs["members"] == ("calibrated" if calibrated else "as drawn")
    assert [item.name for item in path.parent.iterdir()] == ["members.nc"]


def test_hindcasts_and_other_models_can_be_exported_too(learnt, tmp_path):  # noqa: F811
    path = export_members(learnt.workspace, tmp_path / "h.nc", model="climatology", kind="hindcast", calibrated=False)
    with reread(path) as found:
        assert found.sizes["init_time"] == 19
        assert found["fold"].max() == 2


def test_nothing_issued_is_told(tmp_path):
    with pytest.raises(TercileError, match=r"issued nothing yet|has no products"):
        export_members(Workspace(tmp_path / "ws"), tmp_path / "x.nc")
