import numpy as np
import pytest

from pipeline.checks import check
from pipeline.errors import InputRefusedError
from pipeline.names import VARIABLES, canonical
from pipeline.periods import with_bounds
from tests.conftest import monthly_record

SST = {"sst": VARIABLES["sst"]}


def sound():
    return with_bounds(canonical(monthly_record(), variables=SST, spelling={})).load()


def test_sound_data_passes_every_gate():
    assert check(sound(), variables=SST) == []


def test_a_gap_blocks_and_is_named():
    data = sound()
    with pytest.raises(InputRefusedError, match=r"\[no_gaps\].*1990-03.*1990-05"):
        check(data.isel(time=[0, 1, 2, 4, 5]), variables=SST)


def test_an_empty_field_blocks():
    data = sound()
    data["sst"][3] = np.nan
    with pytest.raises(InputRefusedError, match=r"\[no_empty_fields\] variable 'sst': 1 step.*1990-04"):
        check(data, variables=SST)


@pytest.mark.parametrize("value", [15.0, 9.96921e36, -999.0])
def test_impossible_values_block(value):
    data = sound()
    data["sst"][5, 2, 2] = value
    with pytest.raises(InputRefusedError, match=r"\[possible_values\].*1990-06") as error:
        check(data, variables=SST)
    assert ("undeclared fill value" in str(error.value)) == (value != 15.0)


def test_holes_and_stuck_fields_warn():
    data = sound()
    data["sst"][5, 2, 2] = np.nan
    data["sst"][8] = data["sst"][7]
    assert {finding.gate for finding in check(data, variables=SST)} == {"lasting_mask", "fields_change"}


def test_another_grid_or_calendar_than_the_archives_blocks():
    data = sound()
    with pytest.raises(InputRefusedError, match=r"\[same_grid\] latitude"):
        check(data.isel(latitude=slice(3)), variables=SST, held=data)
    other = with_bounds(canonical(monthly_record(calendar="360_day"), variables=SST, spelling={})).load()
    with pytest.raises(InputRefusedError, match=r"\[same_calendar\].*360_day"):
        check(other, variables=SST, held=data)
