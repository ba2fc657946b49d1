import json
import multiprocessing
import shutil
import time

import icechunk
import pytest
import zarr

from pipeline.errors import TercileError, WorkspaceMismatchError
from pipeline.workspace import Workspace, whole_file, write_whole


def test_a_workspace_belongs_to_one_experiment(tmp_path):
    workspace = Workspace(tmp_path / "ws")
    workspace.claim({"experiment": "a", "members": 50})
    workspace.claim({"experiment": "a", "members": 50})
    workspace.repository("archive")
    with pytest.raises(WorkspaceMismatchError, match="members: here 50, asked for 20"):
        workspace.claim({"experiment": "a", "members": 20})


def test_a_workspace_that_holds_nothing_may_become_anothers(tmp_path):
    """A slip in the variables, told by the first ingest, is mended in the file and not by another folder."""
    workspace = Workspace(tmp_path / "ws")
    workspace.claim({"experiment": "a", "variables": ["zg"]})
    workspace.claim({"experiment": "a", "variables": ["z"]})
    workspace.repository("archive")
    with pytest.raises(WorkspaceMismatchError, match="variables"):
        workspace.claim({"experiment": "a", "variables": ["zg"]})


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("…")
    with pytest.raises(WorkspaceMismatchError, match="not empty and no workspace"):
        Workspace(tmp_path).claim({"experiment": "a"})


def test_a_newer_layout_is_refused(tmp_path):
    workspace = Workspace(tmp_path / "ws")
    workspace.claim({"experiment": "a"})
    held = json.loads((workspace.root / "workspace.json").read_text())
    (workspace.root / "workspace.json").write_text(json.dumps({**held, "schema_version": 2}))
    with pytest.raises(TercileError, match="schema_version 2; this program reads 1"):
        workspace.claim({"experiment": "a"})


def test_a_store_that_is_not_there_says_what_to_run(tmp_path):
    with pytest.raises(TercileError, match=r"has no archive yet\. Run `tercile run"):
        Workspace(tmp_path / "ws").reader("archive")
    assert Workspace(tmp_path / "ws").groups("archive") == []
    assert not (tmp_path / "ws").exists()  # a reader leaves no traces


def _hold(root, seconds, order):
    with Workspace(root).committing("archive"):
        order.put("in")
        time.sleep(seconds)
        order.put("out")


def test_one_committer_at_a_time_and_a_dead_one_lets_go(tmp_path):
    context = multiprocessing.get_context("spawn")
    order = context.Queue()
    first = context.Process(target=_hold, args=(tmp_path / "ws", 60, order))
    first.start()
    assert order.get(timeout=30) == "in"
    second = context.Process(target=_hold, args=(tmp_path / "ws", 0, order))
    second.start()
    second.join(timeout=2)
    assert second.is_alive()  # it waits
    first.kill()
    second.join(timeout=30)
    assert [order.get(timeout=5) for _ in range(2)] == ["in", "out"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a" / "b.json"
    write_whole(path, "one")
    with pytest.raises(TypeError):
        write_whole(path, 5)
    assert path.read_text() == "one"
    assert [item.name for item in path.parent.iterdir()] == ["b.json"]


def test_netcdf_that_cannot_be_written_is_an_error_of_its_file_and_leaves_none(tmp_path):
    def write():
        with whole_file(tmp_path / "a.nc") as partial:
            partial.write_bytes(b"half")
            raise RuntimeError("NetCDF: HDF error")

    with pytest.raises(OSError, match="as on a full disk") as caught:
        write()
    assert caught.value.filename == str(tmp_path / "a.nc")
    assert not list(tmp_path.iterdir())


def test_a_store_whose_maker_was_killed_before_its_first_commit_is_begun_again(tmp_path):
    workspace = Workspace(tmp_path / "ws")
    (workspace.root / "archive").mkdir(parents=True)
    icechunk.Repository.create(icechunk.local_filesystem_storage(str(workspace.root / "archive")))
    assert workspace.groups("archive") == []
    workspace.repository("archive")
    assert zarr.open_group(workspace.reader("archive"), mode="r").attrs["schema_version"] == 1


def test_a_store_made_anew_has_lost_the_snapshots_of_the_old_one(tmp_path):
    workspace = Workspace(tmp_path / "ws")
    workspace.repository("archive")
    snapshot = workspace.snapshot("archive")
    assert workspace.keeps("archive", snapshot)
    shutil.rmtree(workspace.root / "archive")
    assert not workspace.keeps("archive", snapshot)
