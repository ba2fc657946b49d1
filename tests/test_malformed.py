"""Malformed files are refused, each time, cleanly, soon, and in little memory."""

import json
import subprocess
import sys

import pytest

from tests.servers.malformed import malformed

MANY = 60
CHILD = """
import json, os, sys, time
from pathlib import Path
from pipeline.archive import ingest
from pipeline.intake.checks import Checks
from pipeline.errors import InputRefusedError
from pipeline.names import VARIABLES
from pipeline.sources import FilesSource
from pipeline.workspace import Workspace
from tests.benchmarks.bench_ingest import peak_kibibytes
from tests.conftest import monthly_record
folder = Path(sys.argv[1])
variables = {"sst": VARIABLES["sst"]}
def put(path):
    data = FilesSource(paths=[str(path)]).read(variables)
    ingest(Workspace(folder / "ws"), data, group="obs", checks=Checks(variables))
(folder / "good.nc").unlink(missing_ok=True)
monthly_record().to_netcdf(folder / "good.nc")
put(folder / "good.nc")
before, snapshot = peak_kibibytes(), Workspace(folder / "ws").snapshot("archive")
for path in sorted(folder.glob("bad*.nc")):
    start, outcome = time.monotonic(), "ACCEPTED"
    try:
        put(path)
    except InputRefusedError as error:
        outcome = "refused" if path.name in str(error) or "[" in str(error) else f"UNCLEAR {error}"
    except BaseException as error:
        outcome = f"{type(error).__name__} {error}"
    print(json.dumps([path.name, outcome, time.monotonic() - start]), flush=True)
print(json.dumps([
    peak_kibibytes() - before, Workspace(folder / "ws").snapshot("archive") == snapshot,
]), flush=True)
os._exit(0)  # what such files do to the C libraries' memory may end an interpreter that is being taken down
"""


def refuse_all(folder, count, seed):
    made = dict((path.name, kind) for kind, path in malformed(folder, count, seed=seed))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, str(folder)], capture_output=True, text=True, check=False
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert done.returncode == 0, (done.returncode, lines[-1:], done.stderr[-800:])
    *outcomes, (kilobytes, untouched) = lines
    assert len(outcomes) == count
    wrong = [(made[name], name, outcome) for name, outcome, _ in outcomes if outcome != "refused"]
    assert not wrong, wrong
    assert max(seconds for *_, seconds in outcomes) < 20
    assert kilobytes < 700_000
    assert untouched  # what was good before stays, byte for byte


def test_malformed_files_are_refused(tmp_path):
    refuse_all(tmp_path, MANY, seed=0)


@pytest.mark.slow
def test_many_malformed_files_are_refused(tmp_path):
    refuse_all(tmp_path, 360, seed=1)
