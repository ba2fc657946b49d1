import numpy as np
import pytest

from pipeline.errors import InputRefusedError
from pipeline.names import VARIABLES, canonical
from pipeline.periods import infer_cadence
from pipeline.sources import FilesSource, SampleSource
from tests.conftest import monthly_record


def test_the_embedded_sample_is_what_it_says():
    scenarios = {name: SampleSource(scenario=name) for name in ("A1B", "E1")}
    tas = {
        name: canonical(source.open(), variables={"tas": VARIABLES["tas"]}, spelling={})
        for name, source in scenarios.items()
    }
    assert dict(tas["A1B"].sizes) == {"time": 240, "latitude": 37, "longitude": 49, "bnds": 2}
    assert str(infer_cadence(tas["E1"]["time"])) == "years"
    same = (tas["A1B"]["tas"] == tas["E1"]["tas"]).all(["latitude", "longitude"]).values
    assert same[:140].all()  # one run until 1999
    assert not same[140:].any()
    origin = scenarios["E1"].origins()[0]
    assert (origin.source, len(origin.sha256)) == ("E1_north_america.nc", 64)
    assert origin.version == "iris-sample-data 2.5.2"


def test_files_split_over_time_are_one_record(tmp_path):
    whole = monthly_record()
    for number, part in enumerate((slice(0, 50), slice(50, 144))):
        whole.isel(time=part).to_netcdf(tmp_path / f"part{number}.nc")
    source = FilesSource(paths=[str(tmp_path / "part*.nc")])
    np.testing.assert_array_equal(source.open()["sst"], whole["sst"])
    assert [origin.source for origin in source.origins()] == ["part0.nc", "part1.nc"]


def test_realizations_become_a_dimension(tmp_path):
    for run in (1, 2):
        monthly_record(seed=run).to_netcdf(tmp_path / f"run{run}.nc")
    source = FilesSource(realizations={run: [str(tmp_path / f"run{run}.nc")] for run in (1, 2)})
    assert source.open()["sst"].sizes["realization"] == 2
    np.testing.assert_array_equal(source.open()["sst"].sel(realization=2), monthly_record(seed=2)["sst"])


def test_zarr_folders_are_files_too(tmp_path):
    monthly_record().to_zarr(tmp_path / "record.zarr")
    source = FilesSource(paths=[str(tmp_path / "record.zarr")])
    np.testing.assert_array_equal(source.open()["sst"], monthly_record()["sst"])
    assert source.origins()[0].size > 0


def test_nothing_there_and_nothing_readable_are_said_plainly(tmp_path):
    with pytest.raises(InputRefusedError, match=r"no file matches '.*missing\.nc'.*looked from"):
        FilesSource(paths=[str(tmp_path / "missing.nc")]).open()
    (tmp_path / "broken.nc").write_bytes(b"CDF\x01 and no more")
    with pytest.raises(InputRefusedError, match="cannot read"):
        FilesSource(paths=[str(tmp_path / "broken.nc")]).open()
    with pytest.raises(InputRefusedError, match="no files"):
        FilesSource().open()
