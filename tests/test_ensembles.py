import threading
from dataclasses import replace

import cftime
import numpy as np
import pytest
import xarray as xr
import zarr

from pipeline import ensemble_layout
from pipeline.ensemble_layout import Layout, Piece
from pipeline.ensemble_writer import EnsembleWriter, write_piece
from pipeline.ensembles import open_ensemble
from pipeline.errors import TercileError, WorkspaceMismatchError
from pipeline.periods import Cadence
from pipeline.workspace import Workspace

BY_START = ("init_times", "valid_times", "valid_bounds")


def layout(*, inits=3, leads=4, members=5, block=2, scenarios=None, calendar="360_day", cells=(10, 20)):
    cadence = Cadence("months")
    starts = np.array([cftime.datetime(2000, 1 + n, 1, calendar=calendar) for n in range(inits)])
    bounds = np.array([[[cadence.advance(s, n), cadence.advance(s, n + 1)] for n in range(leads)] for s in starts])
    field = xr.DataArray(
        np.zeros(cells, "float32"),
        dims=("latitude", "longitude"),
        coords={"latitude": np.linspace(0, 40, cells[0]), "longitude": np.linspace(0, 80, cells[1])},
        attrs={"units": "K", "standard_name": "air_temperature"},
    )
    return Layout(field.to_dataset(name="tas"), scenarios, starts, bounds[..., 0], bounds, cadence, members, block)


def writer(tmp_path, plan, fingerprint="abc", kind="forecast"):
    return EnsembleWriter(Workspace(tmp_path / "ws"), "m", fingerprint, kind, plan)


def values(plan, piece):
    """Fields that name their own place: 1000·init + 100·scenario + member, plus a hundredth of the lead."""
    members = np.array(plan.members_of(piece))[:, None, None, None]
    lead = np.arange(plan.leads)[None, :, None, None] / 100
    return (1000 * piece.init + 100 * piece.scenario + members + lead + np.zeros((1, 1, 10, 20))).astype("float32")


def prepare(pen, *inputs_hash, fold=None):
    with pen.drawing(inputs_hash=inputs_hash, fold=fold or [-1] * len(inputs_hash)):
        pass


def draw(pen, pieces, inputs_hash=(1, 2, 3), fold=None):
    inputs_hash = inputs_hash[: len(pen.layout.init_times)]
    with pen.drawing(inputs_hash=inputs_hash, fold=fold or [-1] * len(inputs_hash)) as base:
        for piece in pieces:
            fork = base.fork()
            row = int(pen.rows()[piece.init])
            plan = pen.layout
            write_piece(
                fork.store,
                pen.path,
                piece,
                row,
                {"tas": values(plan, piece)},
                members=plan.members,
                forced=plan.scenarios is not None,
            )
            pen.commit([fork], [row])


@pytest.mark.parametrize("scenarios", [None, ("A", "B")])
@pytest.mark.parametrize("calendar", ["360_day", "standard"])
def test_every_value_lands_in_its_place(tmp_path, scenarios, calendar):
    plan = layout(scenarios=scenarios, calendar=calendar)
    pen = writer(tmp_path, plan)
    prepare(pen, 1, 2, 3)
    assert pen.missing() == plan.pieces()
    draw(pen, plan.pieces())
    assert pen.missing() == []
    data = open_ensemble(pen.workspace, model="m")
    assert data["tas"].dims == (
        *(("scenario",) if scenarios else ()),
        "init_time",
        "lead_time",
        "member",
        "latitude",
        "longitude",
    )
    expected = 1000 * np.arange(3)[:, None, None] + np.arange(5)[None, None, :] + np.arange(4)[None, :, None] / 100
    if scenarios:
        expected = expected + 100 * np.arange(2)[:, None, None, None]
    np.testing.assert_allclose(data["tas"].isel(latitude=3, longitude=17), expected, rtol=1e-6)
    assert data["lead_time"].attrs["units"] == "months"
    assert data["valid_time"].dims == ("init_time", "lead_time")
    assert (data["issued_at"].dt.year > 2020).all()


def test_a_chunk_never_spans_two_pieces(tmp_path):
    plan = layout(scenarios=("A", "B"), cells=(40, 72), leads=10)
    pen = writer(tmp_path, plan)
    prepare(pen, 1, 2, 3)
    array = zarr.open_array(pen.workspace.reader("ensembles"), path=f"{pen.path}/tas", mode="r")
    assert array.chunks == (1, 1, 5, plan.block, 14, 72)
    stored = zarr.open_array(pen.workspace.reader("ensembles"), path=f"{pen.path}/valid_time", mode="r")
    assert stored.dtype == "int64"
    assert stored.attrs["units"] == "seconds since 1850-01-01"


def test_resuming_asks_the_store_and_keeps_what_is_there(tmp_path):
    plan = layout()
    pen = writer(tmp_path, plan)
    prepare(pen, 1, 2, 3)
    draw(pen, plan.pieces()[:4])
    again = writer(tmp_path, plan)
    assert again.missing() == plan.pieces()[4:]
    snapshot = again.workspace.snapshot("ensembles")
    prepare(again, 1, 2, 3)
    assert again.workspace.snapshot("ensembles") == snapshot
    partly = open_ensemble(pen.workspace, model="m")["tas"].isel(latitude=0, longitude=0)
    # first start: all 5 members; second start: block 0, which is 2 members; 4 leads each
    assert int(partly.notnull().sum()) == (5 + 2) * 4


def test_a_new_initial_time_is_appended_and_changed_inputs_are_drawn_again(tmp_path):
    pen = writer(tmp_path, layout(inits=2))
    prepare(pen, 1, 2)
    draw(pen, pen.layout.pieces())
    more = writer(tmp_path, layout(inits=3))
    assert {piece.init for piece in more.missing()} == {2}
    assert more.stale([1, 9, 3], [-1] * 3)
    assert not more.stale([1, 2, 3], [-1] * 3)
    prepare(more, 1, 9, 3)
    assert {piece.init for piece in more.missing()} == {1, 2}
    draw(more, more.missing(), (1, 9, 3))
    data = open_ensemble(pen.workspace, model="m")["tas"].isel(latitude=0, longitude=0, lead_time=0, member=4)
    np.testing.assert_allclose(data, [4, 1004, 2004])
    assert not np.isnan(open_ensemble(pen.workspace, model="m")["tas"].values).any()


@pytest.mark.parametrize(("other", "left"), [((1, 2), 0), ((1, 9), 1)])
def test_a_run_that_waited_for_another_draws_only_what_its_own_inputs_still_lack(tmp_path, other, left):
    first, second = (writer(tmp_path, layout(inits=2)) for _ in range(2))
    found = {}

    def wait():
        with second.drawing(inputs_hash=other, fold=[-1, -1]):
            found["missing"] = {piece.init for piece in second.missing()}

    with first.drawing(inputs_hash=(1, 2), fold=[-1, -1]) as base:
        waiting = threading.Thread(target=wait)
        waiting.start()
        fork = base.fork()
        for piece in first.missing():
            fields = {"tas": values(first.layout, piece)}
            write_piece(fork.store, first.path, piece, piece.init, fields, members=5, forced=False)
        first.commit([fork], first.rows())
        assert not found
    waiting.join()
    assert len(found["missing"]) == left
    assert not second.stale(other, [-1, -1])


def test_an_ensemble_in_other_chunks_grows_in_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(ensemble_layout, "CHUNK", {"lead_time": 24, "latitude": 4, "longitude": 32})
    pen = writer(tmp_path, layout(inits=2, leads=10))
    prepare(pen, 1, 2)
    draw(pen, pen.layout.pieces())
    monkeypatch.undo()
    more = writer(tmp_path, layout(inits=3, leads=10))
    prepare(more, 1, 2, 3)
    draw(more, more.missing())
    data = open_ensemble(pen.workspace, model="m")["tas"].isel(latitude=0, longitude=0, lead_time=0, member=4)
    np.testing.assert_allclose(data, [4, 1004, 2004])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"members": 7}, "member: stored 5"),
        ({"leads": 5}, "lead_time: stored 4"),
        ({"block": 3}, "block: stored 2"),
        ({"cells": (9, 20)}, "latitude: stored 10"),
    ],
)
def test_another_ensemble_is_refused_and_the_difference_named(tmp_path, change, named):
    prepare(writer(tmp_path, layout()), 1, 2, 3)
    with pytest.raises(WorkspaceMismatchError, match=named):
        prepare(writer(tmp_path, layout(**change)), 1, 2, 3)


def test_a_hindcast_has_the_fold_of_what_is_asked_now_or_none(tmp_path):
    pen = writer(tmp_path, layout(), kind="hindcast")
    with pen.drawing(inputs_hash=[1, 2, 3], fold=[0, 1, 2]):
        pass
    whole = vars(pen.layout)
    fewer = replace(pen, layout=replace(pen.layout, **{name: whole[name][1:] for name in BY_START}))
    assert fewer.stale([2, 3], [0, 1])
    with fewer.drawing(inputs_hash=[2, 3], fold=[0, 1]):
        pass
    assert not fewer.stale([2, 3], [0, 1])
    held = open_ensemble(pen.workspace, model="m", kind="hindcast")
    assert held["fold"].values.tolist() == [0, 1]
    assert held["init_time"].dt.month.values.tolist() == [2, 3]
    assert pen.stale([1, 2, 3], [0, 1, 2])
    with pen.drawing(inputs_hash=[1, 2, 3], fold=[0, 1, 2]):
        pass
    assert open_ensemble(pen.workspace, model="m", kind="hindcast")["fold"].values.tolist() == [0, 1, 2]


def test_starts_come_in_the_order_of_time_and_not_of_their_drawing(tmp_path):
    whole = layout(inits=3)
    later = writer(tmp_path, replace(whole, **{name: vars(whole)[name][2:] for name in BY_START}))
    draw(later, later.layout.pieces(), (3,))
    pen = writer(tmp_path, whole)
    draw(pen, [Piece(0, init, block) for init in (1, 0) for block in range(whole.blocks)])
    assert pen.rows().tolist() == [1, 2, 0]
    for with_dask in (True, False):
        data = open_ensemble(pen.workspace, model="m", with_dask=with_dask)
        assert data.indexes["init_time"].is_monotonic_increasing
        one = data["tas"].isel(latitude=0, longitude=0, lead_time=0, member=4)
        np.testing.assert_allclose(one, [4, 1004, 4])  # the last was drawn as the first of its own layout


def test_a_newer_fingerprint_is_read_and_the_older_one_kept(tmp_path):
    for number, fingerprint in enumerate(("old", "new")):
        pen = writer(tmp_path, layout(inits=1), fingerprint)
        draw(pen, pen.layout.pieces(), (number,))
    workspace = Workspace(tmp_path / "ws")
    assert open_ensemble(workspace, model="m").attrs["fingerprint"] == "new"
    assert open_ensemble(workspace, model="m", fingerprint="old")["inputs_hash"].values.tolist() == [0]
    with pytest.raises(TercileError, match="no model 'n'"):
        open_ensemble(workspace, model="n")
    with pytest.raises(TercileError, match="has no hindcast"):
        open_ensemble(workspace, model="m", kind="hindcast")


def test_a_reader_during_writing_sees_whole_pieces_only(tmp_path):
    plan = layout()
    pen = writer(tmp_path, plan)
    prepare(pen, 1, 2, 3)
    for piece in plan.pieces():
        draw(pen, [piece])
        data = open_ensemble(pen.workspace, model="m")
        for init, block in np.ndindex(3, plan.blocks):
            members = [m for m in plan.members_of(Piece(0, init, block)) if m < plan.members]
            part = data["tas"].isel(init_time=init, member=members).values
            assert np.isfinite(part).all() if data["done"].values[init, block] else np.isnan(part).all()
