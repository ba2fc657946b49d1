"""The three bounds on scores, each a ratio within one run: speed of fair CRPS, a metrics pass, its memory.

Run ``python tests/benchmarks/bench_scores.py [--out scores.json] [--points 1000000]``; exits 1 where a bound is broken.
"""

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cftime
import dask
import dask.array as da
import numpy as np
import xarray as xr
import zarr

from pipeline.judging.scores import crps_ensemble
from pipeline.judging.verification import score_ensemble

MEMBERS = 50
TILE = {"latitude": 16, "longitude": 32}


def best_of(count: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """Shortest wall time of several runs, after one to warm up, and the result."""
    result = work()
    times = []
    for _ in range(count):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return min(times), result


def bench_crps(points: int) -> dict[str, Any]:
    """Fair CRPS against every implementation at hand, each given the layout it likes best, on one thread."""
    import scores.probability
    import scoringrules
    import xskillscore

    rng = np.random.default_rng(0)
    forecast = xr.DataArray(rng.normal(290, 2, (MEMBERS, points)).astype("float32"), dims=("member", "point"))
    truth = xr.DataArray(rng.normal(290, 2, points).astype("float32"), dims="point")
    by_point, last = np.ascontiguousarray(forecast.values.T), forecast.transpose("point", "member").copy()
    few = slice(0, points // 20)  # for scores, which holds members × members × points at once
    fast = functools.partial(scoringrules.crps_ensemble, truth.values, by_point, backend="numba")
    rivals: dict[str, tuple[int, Callable[[], Any]]] = {
        "scoringrules fair": (1, lambda: fast(estimator="fair")),
        "scoringrules pwm": (1, lambda: fast(estimator="pwm")),
        "xskillscore (plain)": (1, lambda: xskillscore.crps_ensemble(truth, last, dim=[])),
        "scores": (20, lambda: scores.probability.crps_for_ensemble(
            forecast[:, few], truth[few], "member", method="fair", preserve_dims=["point"]
        )),
    }  # fmt: skip
    mine, ours = best_of(5, lambda: crps_ensemble(forecast, truth))
    mine_last, _ = best_of(5, lambda: crps_ensemble(last, truth))
    result: dict[str, Any] = {"tercile": mine, "tercile, member last": mine_last}
    for name, (factor, work) in rivals.items():
        result[name] = factor * best_of(2, work)[0]
    double = scoringrules.crps_ensemble(
        truth.values.astype(float), by_point.astype(float), estimator="fair", backend="numba"
    )
    difference = float(np.abs(double / ours.values - 1).max())  # their float32 sums lose digits, so in float64
    fastest = min(value for name, value in result.items() if not name.startswith("tercile"))
    return {"seconds": result, "ratio": fastest / mine, "bound": 2.0, "largest relative difference": difference}


def write_hindcast(path: Path, *, inits: int, leads: int = 10, shape: tuple[int, int] = (32, 64)) -> None:
    """A hindcast and its truth as the product stores them: a chunk for each initial time and tile."""
    rng = np.random.default_rng(1)
    times = np.array([cftime.datetime(1900 + n, 6, 1, calendar="360_day") for n in range(inits + leads)])
    space = {"latitude": np.linspace(-80, 80, shape[0]), "longitude": np.linspace(0, 354, shape[1])}
    truth = rng.normal(280, 2, (len(times), *shape)).astype("float32")
    xr.DataArray(truth, dims=("time", *space), coords={"time": times, **space}, name="tas").to_zarr(
        path / "truth", consolidated=False
    )
    noise = rng.normal(280, 2, (leads, MEMBERS, *shape)).astype("float32")
    blocks = da.concatenate([da.from_array(noise, chunks=(leads, MEMBERS, *TILE.values()))[None]] * inits)
    coords = {
        "init_time": [cftime.datetime(1899 + n, 12, 1, calendar="360_day") for n in range(inits)],
        "lead_time": ("lead_time", np.arange(1, leads + 1), {"units": "years"}),
        "valid_time": (("init_time", "lead_time"), times[np.arange(inits)[:, None] + np.arange(leads)]),
        **space,
    }
    dims = ("init_time", "lead_time", "member", *space)
    codec = zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")
    forecast = xr.DataArray(blocks, dims=dims, coords=coords, name="tas")
    forecast.to_dataset().to_zarr(path / "forecast", encoding={"tas": {"compressors": [codec]}}, consolidated=False)


def open_case(path: Path) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Members, truth and weights, lazily."""
    coder = xr.coders.CFDatetimeCoder(use_cftime=True)
    opened = {
        n: xr.open_zarr(path / n, decode_times=coder, decode_timedelta=False, consolidated=False)["tas"]
        for n in ("forecast", "truth")
    }
    weights = np.cos(np.deg2rad(opened["truth"]["latitude"])) * xr.ones_like(opened["truth"]["longitude"])
    return opened["forecast"], opened["truth"], weights


def read_once(forecast: xr.DataArray) -> None:
    """Read every byte, keep nothing, with the same engine that scores."""
    blocks = forecast.data.map_blocks(lambda block: block[:1, :1, :1, :1, :1].copy(), chunks=(1,) * 5, dtype="float32")
    dask.compute(blocks)


def bench_pass(path: Path) -> dict[str, Any]:
    """The contract's statistics and ranks against reading the same bytes once."""
    forecast, truth, weights = open_case(path)
    reading, _ = best_of(3, lambda: read_once(forecast))
    scoring, _ = best_of(3, lambda: score_ensemble(forecast, truth, weights=weights))
    megabytes = forecast.nbytes / 1e6
    return {
        "seconds": {"read": reading, "score": scoring},
        "megabytes": megabytes,
        "ratio": scoring / reading,
        "bound": 3.0,
    }


def peak_megabytes(path: Path) -> float:
    """Peak resident memory of a fresh process that scores what is at ``path``."""
    command = [sys.executable, __file__, "--peak-of", str(path)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def bench_memory(short: Path, long: Path) -> dict[str, Any]:
    """Peak memory with ten times the initial times against the short run's."""
    peaks = {"short": peak_megabytes(short), "long": peak_megabytes(long)}
    return {"megabytes": peaks, "ratio": peaks["long"] / peaks["short"], "bound": 1.1}


def score_and_report_peak(path: Path) -> None:
    """Score one case and print this process's peak memory in MB."""
    forecast, truth, weights = open_case(path)
    score_ensemble(forecast, truth, weights=weights)
    status = Path("/proc/self/status").read_text()  # getrusage would remember the parent's peak
    print(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def main() -> int:
    """Run all three, print a table, and say by the exit status whether the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--peak-of", type=Path)
    arguments = parser.parse_args()
    if arguments.peak_of:
        score_and_report_peak(arguments.peak_of)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        short, long = Path(folder, "short"), Path(folder, "long")
        write_hindcast(short, inits=10)
        write_hindcast(long, inits=100)
        results = {
            "fair CRPS": bench_crps(arguments.points),
            "metrics pass": bench_pass(long),
            "memory": bench_memory(short, long),
        }
    verdicts = {
        "fair CRPS": results["fair CRPS"]["ratio"] >= 2 and results["fair CRPS"]["largest relative difference"] <= 1e-6,
        "metrics pass": results["metrics pass"]["ratio"] <= 3,
        "memory": results["memory"]["ratio"] <= 1.1,
    }
    for name, result in results.items():
        verdict = "holds" if verdicts[name] else "BROKEN"
        print(f"{name:14} ratio {result['ratio']:6.2f}  bound {result['bound']:4.1f}  {verdict}")
        print(f"{'':14} {json.dumps({k: v for k, v in result.items() if k not in ('ratio', 'bound')})}")
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    return 0 if all(verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
