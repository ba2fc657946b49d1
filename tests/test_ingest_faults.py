"""Ingests that are killed, that meet, that run out of disk, and readers beside them: nothing half in, nothing lost."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import pipeline.intake.archive_writer as writer
from pipeline.archive import ingest, open_archive, step_hashes
from pipeline.intake.archive_writer import field_names
from pipeline.intake.checks import Checks
from pipeline.intake.inventory import take_inventory
from pipeline.names import VARIABLES
from pipeline.sources import FilesSource
from pipeline.workspace import Workspace
from tests.conftest import monthly_record

CHILD = """
import sys
from pathlib import Path
import pipeline.intake.archive_writer as writer
from pipeline.archive import ingest
from pipeline.intake.checks import Checks
from pipeline.names import VARIABLES
from pipeline.sources import FilesSource
from pipeline.workspace import Workspace
writer.CHUNK_BYTES, writer.BLOCK_BYTES = 100_000, 200_000
variables = {"sst": VARIABLES["sst"]}
print("ready", flush=True)
sys.stdin.readline()
data = FilesSource(paths=[sys.argv[2]]).read(variables)
workspace, group = Workspace(Path(sys.argv[1])), sys.argv[3]
print(ingest(workspace, data, group=group, provenance=[{"source": "x"}], checks=Checks(variables)))
"""


def start(workspace, path, *, group="obs"):
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CHILD, str(workspace.root), str(path), group],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout.readline() == "ready\n"
    return child


def go(child):
    child.stdin.write("\n")
    child.stdin.flush()


def finish(child):
    out, error = child.communicate(timeout=120)
    assert child.returncode == 0, error[-2000:]
    return out


def undisturbed(workspace, path):
    """The same ingest within this process; gives its seconds."""
    begun, variables = time.monotonic(), {"sst": VARIABLES["sst"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "CHUNK_BYTES", 100_000)
        patch.setattr(writer, "BLOCK_BYTES", 200_000)
        data = FilesSource(paths=[str(path)]).read(variables)
        ingest(workspace, data, group="obs", provenance=[{"source": "x"}], checks=Checks(variables))
    return time.monotonic() - begun


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Two states of a record: the later one is longer, and corrects a step of the earlier."""
    folder = tmp_path_factory.mktemp("records")
    whole = monthly_record(years=60, latitudes=30, longitudes=40)
    whole.isel(time=slice(0, 300)).to_netcdf(folder / "early.nc")
    whole["sst"][100, 2, 2] += 1
    whole.to_netcdf(folder / "late.nc")
    return folder / "early.nc", folder / "late.nc"


def content(workspace):
    held = open_archive(workspace, group="obs")
    return {str(name): held[name].values.tobytes() for name in held.variables if name != "ingest"}


def is_whole(workspace):
    """Whether what a reader sees now is one of the two states, with every step as its hash says."""
    held = open_archive(workspace, group="obs", with_dask=False)
    data = held[[*field_names(held), "content_hash"]].load()
    np.testing.assert_array_equal(step_hashes(data), data["content_hash"])
    assert data.sizes["time"] in (300, 720)


class Reader(threading.Thread):
    """Reads in a loop until it is stopped, and keeps what went wrong."""

    def __init__(self, workspace):
        super().__init__(daemon=True)
        self.workspace, self.reads, self.wrong, self.over = workspace, 0, [], threading.Event()

    def run(self):
        while not self.over.is_set():
            try:
                is_whole(self.workspace)
                self.reads += 1
            except Exception as error:
                self.wrong.append(error)
                return
            time.sleep(0.02)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(30)
        assert not self.wrong, self.wrong
        assert self.reads


def kill_at_random(tmp_path, records, moments, seed):
    early, late = records
    whole, killed = Workspace(tmp_path / "whole"), Workspace(tmp_path / "killed")
    for workspace in (whole, killed):
        undisturbed(workspace, early)
    takes = undisturbed(whole, late)
    rng, struck = np.random.default_rng(seed), 0
    with Reader(killed):
        for _ in range(moments):
            child = start(killed, late)
            go(child)
            time.sleep(rng.uniform(0, 1.1 * takes))
            struck += child.poll() is None
            child.send_signal(signal.SIGKILL)
            child.communicate()
            is_whole(killed)
    undisturbed(killed, late)
    assert struck
    assert content(killed) == content(whole)
    assert take_inventory(killed, verify=True).is_sound
    sizes = [take_inventory(workspace).stored_bytes for workspace in (killed, whole)]
    assert sizes[0] < 1.5 * sizes[1] + 100_000  # what the killed ones left behind has been swept


def test_an_ingest_killed_at_any_moment_is_made_good_by_the_next(tmp_path, records):
    kill_at_random(tmp_path, records, 3, seed=0)


@pytest.mark.slow
def test_an_ingest_killed_at_fifty_moments_is_made_good_by_the_next(tmp_path, records):
    kill_at_random(tmp_path, records, 50, seed=1)


def test_two_ingests_at_once_lose_nothing(tmp_path, records):
    workspace, alone = Workspace(tmp_path / "both"), Workspace(tmp_path / "alone")
    children = [start(workspace, path) for path in (records[1], records[1])]
    for child in children:
        go(child)
    told = sorted(finish(child) for child in children)
    assert ["added=0" in text for text in told] == [True, False]
    undisturbed(alone, records[1])
    assert content(workspace) == content(alone)
    assert len(take_inventory(workspace).snapshots) == 3  # Icechunk's own, the empty store's, and one ingest


def test_two_ingests_of_different_records_both_end_well(tmp_path, records):
    workspace = Workspace(tmp_path / "both")
    children = [start(workspace, path, group=group) for path, group in zip(records, ("early", "late"), strict=True)]
    for child in children:
        go(child)
    assert all("corrected=0" in finish(child) for child in children)
    found = take_inventory(workspace, verify=True)
    assert {group.group: group.steps for group in found.groups} == {"early": 300, "late": 720}
    assert found.is_sound


def test_readers_never_see_part_of_an_append(tmp_path, records):
    workspace = Workspace(tmp_path / "ws")
    undisturbed(workspace, records[0])
    with Reader(workspace) as reader:
        child = start(workspace, records[1])
        go(child)
        finish(child)
        while not reader.reads:
            time.sleep(0.05)
    is_whole(workspace)


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs privileges")
    yield Path(disk)
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_disk_that_fills_leaves_the_last_snapshot(small_disk, records):
    workspace = Workspace(small_disk / "ws")
    undisturbed(workspace, records[0])
    before = content(workspace)
    child = start(workspace, records[1])
    go(child)
    _, error = child.communicate(timeout=60)
    assert child.returncode
    assert "No space left on device" in error
    assert content(workspace) == before
    is_whole(workspace)
