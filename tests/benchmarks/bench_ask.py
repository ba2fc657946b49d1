"""Questions against their bounds, on stores that the project's own writer makes in a temporary folder.

``python tests/benchmarks/bench_ask.py [--out FILE]``; needs 8 GB of disk and some minutes; exits 1 where a bound is
broken. Comparisons are ratios of times measured in turn in one run. Cold means that the process's caches are empty; the
operating system's are not.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cftime
import httpx
import numpy as np
import psutil
import xarray as xr
import zarr

from pipeline.answers.issued import _opened, ask, explain_question
from pipeline.archive import ingest
from pipeline.direct import open_direct
from pipeline.ensemble_layout import Layout
from pipeline.ensemble_writer import EnsembleWriter, write_piece
from pipeline.periods import Cadence
from pipeline.pinned import _repository, committed
from pipeline.products import publish_calibration, publish_issue, publish_reference
from pipeline.workspace import Workspace

CADENCE = Cadence("months")
LEADS, FIRST, YEARS = 24, 1980, 42
BLOCK = 50  # members of a chunk; more members are more blocks
ATTRS = {"units": "K", "long_name": "temperature"}
POINT = "prob tas.anom.mean(over=point({}, {})).mean(time=lead 1..3) > 0.1 K"
REGION = "prob tas.mean(over=nino34).mean(time=lead {}) > 285.1 K"
HEAVY = (
    "prob tas.mean(over=polygon(10 10, 40 {0}, 45 {0}, 10 60)).mean(time=lead 1..3) > p66",
    "prob tas.mean(over=nino34).mean(time=lead 1..{1}) > p66 and pr.mean(over=nino4).mean(time=lead 1..{1}) < p33.3",
    "prob (tas.mean(over=box(lat=30..50, lon={0}..60)) > p66).run(time=lead 1..12) >= 2 months",
)
MAP = "map of tas.mean(time=lead {}) > 285.1 K"

AT_MOST = {
    "explain_p95_ms": 50,
    "point_warm_p95_ms": 100,
    "region_warm_p95_ms": 100,
    "point_cold_p95_ms": 500,
    "region_cold_p95_ms": 500,
    "polygon_compound_run_p95_ms": 1000,
    "map_p95_ms": 1500,
    "map_over_reading": 1.3,
    "map_calibrated_p95_ms": 1500,
    "map_calibrated_over_reading": 1.3,
    "skill_first_point_ms": 3000,
    "skill_first_region_ms": 3000,
    "skill_cached_p95_ms": 50,
    "skill_pending_p95_ms": 500,
    "clients_errors": 0,
    "clients_p99_s": 2,
    "clients_peak_gib": 1.5,
    "clients_memory_last_quarter_over_third": 1.1,
    "members_4x_time": 4,
    "members_4x_peak_memory": 1.2,
}
AT_LEAST = {"plain_xarray_map_over_ours": 3, "plain_xarray_point_over_ours": 30}


def build(root, *, latitudes, longitudes, members, names, hindcasts=0, folds=0):
    """A workspace that has issued a forecast of noise, with hindcasts and the record to judge them by.

    With ``folds`` it has a calibration too, which was learnt without each of them in turn.
    """
    workspace = Workspace(root)
    latitude, longitude = np.linspace(-90, 90, latitudes), np.arange(longitudes) * 360 / longitudes
    months = [cftime.datetime(FIRST + m // 12, m % 12 + 1, 1, calendar="noleap") for m in range(12 * YEARS + 1)]
    rng = np.random.default_rng(1)
    shape = (12 * YEARS, latitudes, longitudes)
    truth = xr.Dataset(
        {name: (("time", "latitude", "longitude"), _noise(rng, shape), ATTRS) for name in names},
        coords={
            "time": months[:-1],
            "time_bnds": (("time", "bnds"), np.array([months[:-1], months[1:]]).T),
            "latitude": latitude,
            "longitude": longitude,
        },
    )
    if hindcasts:
        ingest(workspace, truth, group="obs", provenance=[{"file": "noise"}])
        starts = [cftime.datetime(FIRST + year, 1, 1, calendar="noleap") for year in range(hindcasts)]
        _write(workspace, truth, starts, kind="hindcast", members=members)
    _write(workspace, truth, [months[-1]], kind="forecast", members=members)
    publish_reference(workspace, truth.isel(time=slice(12 * 10, 12 * 40)), group="obs", content="noise")
    if folds:
        about = {"content": "noise", "hindcasts": 40, "folds": [f"fold {fold}" for fold in range(folds)]}
        publish_calibration(workspace, _calibration(truth, names, folds), model="noise", fingerprint="abc", about=about)
    publish_issue(workspace, _issue(names))
    return workspace


def _calibration(truth, names, folds):
    """Coefficients near 0, 1 and 1 that differ between folds, leads, seasons and cells."""
    dims = ("coefficient", "fold", "lead_time", "season", "latitude", "longitude")
    shape = (3, 1 + folds, LEADS, 4, truth.sizes["latitude"], truth.sizes["longitude"])
    values = 0.02 * np.random.default_rng(3).standard_normal(shape, dtype="float32")
    values += np.array([0, 1, 1], dtype="float32").reshape(3, 1, 1, 1, 1, 1)
    coords = {"coefficient": ["alpha", "beta", "tau"], "fold": [-1, *range(folds)]}
    return xr.Dataset({name: (dims, values, {"transform": "none"}) for name in names}, coords)


def _noise(rng, shape):
    values = rng.standard_normal(shape, dtype="float32")
    values += 285
    return values


def _write(workspace, truth, starts, *, kind, members):
    starts = np.array(starts)
    bounds = np.array([[[CADENCE.advance(s, n), CADENCE.advance(s, n + 1)] for n in range(LEADS)] for s in starts])
    template = truth.drop_dims("bnds").isel(time=0, drop=True)
    plan = Layout(template, None, starts, bounds[..., 0], bounds, CADENCE, members, BLOCK)
    pen = EnsembleWriter(workspace, "noise", "abc", kind, plan)
    fold = [-1 if kind == "forecast" else 0] * len(starts)
    rng, shape = np.random.default_rng(2), (BLOCK, LEADS, *(template.sizes[d] for d in ("latitude", "longitude")))
    with pen.drawing(inputs_hash=list(range(len(starts))), fold=fold) as base:
        fork = base.fork()
        for piece in plan.pieces():
            fields = {name: _noise(rng, shape) for name in template.data_vars}
            background = [{name: np.full(shape[1:], value) for name in fields} for value in (285, 1)]
            whole = {"members": members, "forced": False, "background": background}
            write_piece(fork.store, pen.path, piece, piece.init, fields, **whole)
        pen.commit([fork], range(len(starts)))


def _issue(names):
    return {
        "experiment": "bench",
        "title": "Noise",
        "model": "noise",
        "kind": "noise",
        "fingerprint": "abc",
        "version": "1",
        "seed": 1,
        "variables": {name: {"aliases": []} for name in names},
        "regions": {},
        "events": {},
        "pathways": {},
        "attributions": [],
        "reference": {"group": "obs", "years": [FIRST + 10, FIRST + 39], "content": "noise"},
        "data": {},
    }


def cold():
    """Empty the caches of this process."""
    for cache in (_opened, _repository, committed):
        cache.cache_clear()


def times(work, count, before=lambda: None):
    found = []
    for number in range(count):
        before()
        began = time.perf_counter()
        work(number)
        found.append(1e3 * (time.perf_counter() - began))
    return found


def p95(found):
    return round(float(np.percentile(found, 95)), 1)


def latencies(workspace):
    """Milliseconds of each kind of question."""
    place = random.Random(3)

    def anywhere(_):
        return ask(workspace, POINT.format(place.randint(-80, 80), place.randint(-170, 170)))

    def heavy(number):
        return ask(workspace, HEAVY[number % 3].format(place.randint(50, 59), place.randint(2, 9)))

    anywhere(0)
    return {
        "explain_p95_ms": p95(times(lambda n: explain_question(workspace, REGION.format(f"1..{n % 20 + 1}")), 40)),
        "point_warm_p95_ms": p95(times(anywhere, 40)),
        "region_warm_p95_ms": p95(times(lambda n: ask(workspace, REGION.format(f"1..{n % 20 + 1}")), 40)),
        "point_cold_p95_ms": p95(times(anywhere, 12, before=cold)),
        "region_cold_p95_ms": p95(times(lambda n: ask(workspace, REGION.format("1..3")), 12, before=cold)),
        "polygon_compound_run_p95_ms": p95(times(heavy, 30)),
    }


def maps(workspace, *, name="map", is_calibrated=False):
    """A map of one window against reading and decompressing the bytes that it needs, in turn.

    Where members are calibrated these are also the background's and the coefficients' of every fold.
    """
    ensemble, learnt = "noise/abc/forecast", "calibration/noise/abc/tas"
    parts = [("ensembles", f"{ensemble}/tas"), ("products", "reference/tas")]
    if is_calibrated:
        parts += [("ensembles", f"{ensemble}/expected/tas"), ("ensembles", f"{ensemble}/deviation/tas")]
        parts.append(("products", learnt))

    def bare(first):
        for store, path in parts:
            array = zarr.open_array(workspace.reader(store), path=path, mode="r")
            leads = slice(first, first + 3)
            _ = array[0, leads] if path.startswith(ensemble) else array[:, :, leads] if path == learnt else array[:]

    asked, read = [], []
    for number in range(16):
        asked += times(lambda _, n=number: ask(workspace, MAP.format(f"{n + 1}..{n + 3}")), 1)
        read += times(lambda _, n=number: bare(n), 1)
    return {f"{name}_p95_ms": p95(asked), f"{name}_over_reading": round(float(np.median(asked) / np.median(read)), 2)}


def plain_xarray(workspace, folder):
    """The same map and point with plain xarray, over ours: on Zarr's own chunks, and on a field a chunk as runs write.

    Theirs is the share of members alone: no base rate, no interval.
    """
    stored = open_direct(workspace.reader("ensembles"), "noise/abc/forecast")
    whole = stored[["tas"]].load().drop_encoding()
    whole = whole.drop_vars([name for name in whole.coords if name not in whole.dims])
    whole.to_zarr(folder / "zarr.zarr", zarr_format=3)
    whole.to_zarr(
        folder / "field.zarr", zarr_format=3, encoding={"tas": {"chunks": (1, 1, 1, *whole["tas"].shape[3:])}}
    )
    ratios = {}
    for chunks in ("field", "zarr"):
        for leads in (LEADS, 3):
            found = _against(workspace, folder / f"{chunks}.zarr", leads)
            name = "" if (chunks, leads) == ("field", LEADS) else f"_{chunks}_chunks_{leads}_leads"
            ratios |= {f"plain_xarray_{what}_over_ours{name}": ratio for what, ratio in found.items()}
    return ratios


def _against(workspace, path, leads):
    """Plain xarray's time over ours for a map and a point of so many leads."""

    def plain(**place):
        data = xr.open_zarr(path)["tas"].isel(init_time=0, lead_time=slice(0, leads)).sel(**place)
        return (data.mean("lead_time") > 285.1).mean("member").compute()

    point = f"prob tas.mean(over=point(40, -105)).mean(time=lead 1..{leads}) > 285.1 K"
    ask(workspace, point)
    works = {
        "map": (lambda _: plain(), lambda _: ask(workspace, MAP.format(f"1..{leads}")), 3),
        "point": (lambda _: plain(latitude=40, longitude=255), lambda _: ask(workspace, point), 6),
    }
    return {
        name: round(float(np.median([times(theirs, 1)[0] / times(ours, 1)[0] for _ in range(count)])), 1)
        for name, (theirs, ours, count) in works.items()
    }


def skill(workspace):
    """Replaying forty hindcasts: the first time, from the cache, and an answer that does not wait."""
    ask(workspace, REGION.format("1..2"))
    point = POINT.format(12, 34)
    pending = times(lambda n: ask(workspace, REGION.format(f"2..{n + 3}"), skill="pending"), 10)
    return {
        "skill_first_point_ms": round(times(lambda _: ask(workspace, point), 1)[0], 1),
        "skill_first_region_ms": round(times(lambda _: ask(workspace, REGION.format("1..3")), 1)[0], 1),
        "skill_cached_p95_ms": p95(times(lambda _: ask(workspace, REGION.format("1..3")), 20)),
        "skill_pending_p95_ms": p95(pending),
    }


def clients(workspace, *, seconds, count=32):
    """Mixed questions from many clients at once, at most one in a hundred an uncached map."""
    code = (
        "import sys; from pathlib import Path; import uvicorn; from pipeline.service import create_app;"
        "from pipeline.workspace import Workspace;"
        "app = create_app(Workspace(Path(sys.argv[1])));"
        "uvicorn.run(app, port=int(sys.argv[2]), log_level='error', access_log=False)"
    )
    port = 8399
    server = subprocess.Popen([sys.executable, "-c", code, str(workspace.root), str(port)])
    found, failed, memory = [], [], []
    try:
        _wait_for(port)
        process, stop = psutil.Process(server.pid), time.monotonic() + seconds

        def client(seed):
            draw = random.Random(seed)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http:
                while time.monotonic() < stop:
                    path, text = _mixed(draw)
                    began = time.perf_counter()
                    reply = http.get(path, params={"q": text})
                    found.append(time.perf_counter() - began)
                    failed.extend([reply.text] if reply.status_code >= 400 else [])
                    time.sleep(draw.uniform(0.5, 1.5))

        threads = [threading.Thread(target=client, args=(seed,)) for seed in range(count)]
        for thread in threads:
            thread.start()
        while time.monotonic() < stop:
            memory.append(process.memory_info().rss)
            time.sleep(0.5)
        for thread in threads:
            thread.join()
    finally:
        server.terminate()
        server.wait()
    quarter = len(memory) // 4
    return {
        "clients": count,
        "clients_requests": len(found),
        "clients_errors": len(failed),
        "clients_p99_s": round(float(np.percentile(found, 99)), 2),
        "clients_peak_gib": round(max(memory) / 2**30, 2),
        "clients_memory_last_quarter_over_third": round(
            max(memory[-quarter:]) / max(memory[-2 * quarter : -quarter]), 2
        ),
    }


def _mixed(draw):
    """An explanation, a point, a region or, rarely, a map; people ask again what others have asked."""
    kind = draw.random()
    if kind < 0.01:
        return "/v1/ask", MAP.format(f"{draw.randint(1, 20)}..{draw.randint(21, 24)}")
    if kind < 0.3:
        return "/v1/explain", REGION.format(f"1..{draw.randint(1, 9)}")
    if kind < 0.65:
        return "/v1/ask", POINT.format(draw.randint(-80, 80), draw.randint(-170, 170))
    return "/v1/ask", REGION.format(f"1..{draw.randint(1, 9)}")


def _wait_for(port):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)
            return
        except httpx.TransportError:
            time.sleep(0.2)


def four_times_members(folder):
    """A map of 200 members against one of 50, each in a process of its own."""
    code = (
        "import json, sys, time; from pathlib import Path; from pipeline import Workspace, ask;"
        "from tests.benchmarks.bench_ingest import peak_kibibytes;"
        "w = Workspace(Path(sys.argv[1])); q = sys.argv[2]; ask(w, q); b = time.perf_counter(); ask(w, q); ask(w, q);"
        "t = time.perf_counter() - b;"
        "print(json.dumps([t, peak_kibibytes()]))"
    )
    found = {}
    for members in (50, 200):
        workspace = build(folder / f"m{members}", latitudes=181, longitudes=360, members=members, names=["tas"])
        command = [sys.executable, "-c", code, str(workspace.root), MAP.format("1..3")]
        found[members] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    few, many = found[50], found[200]
    return {"members_4x_time": round(many[0] / few[0], 2), "members_4x_peak_memory": round(many[1] / few[1], 2)}


def main():
    """Measure all, print and, if asked, write as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--folder", type=Path, help="Where the stores are made. [default: a temporary folder]")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--only", nargs="*", default=["wide", "calibrated", "skill", "members"])
    asked = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory(dir=asked.folder) as temporary:
        folder = Path(temporary)
        if "wide" in asked.only:
            wide = build(folder / "wide", latitudes=181, longitudes=360, members=50, names=["tas", "pr"])
            found |= latencies(wide) | maps(wide) | plain_xarray(wide, folder) | clients(wide, seconds=asked.seconds)
        if "calibrated" in asked.only:
            grid = {"latitudes": 181, "longitudes": 360, "members": 50, "names": ["tas"]}
            calibrated = build(folder / "calibrated", **grid, folds=6)
            found |= maps(calibrated, name="map_calibrated", is_calibrated=True)
        if "skill" in asked.only:
            system = build(
                folder / "system", latitudes=73, longitudes=144, members=50, names=["tas", "pr"], hindcasts=40
            )
            found |= skill(system)
        if "members" in asked.only:
            found |= four_times_members(folder)
    found["broken"] = broken(found)
    print(json.dumps(found, indent=2))
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=2))
    sys.exit(1 if found["broken"] else 0)


def broken(found):
    """The bounds that do not hold."""
    over = [f"{name} <= {bound}" for name, bound in AT_MOST.items() if found.get(name, bound) > bound]
    return over + [f"{name} >= {bound}" for name, bound in AT_LEAST.items() if found.get(name, bound) < bound]


if __name__ == "__main__":
    main()
