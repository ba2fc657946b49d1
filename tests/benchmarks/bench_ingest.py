"""The three bounds on ingest, each a ratio within one run: its rate, its memory, the cost of appending one step.

Run ``python tests/benchmarks/bench_ingest.py [--out ingest.json] [--gigabytes 2] [--steps 100000]``; exits 1 where a
bound is broken.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.archive import ingest
from pipeline.intake.checks import Checks
from pipeline.names import VARIABLES
from pipeline.sources import FilesSource
from pipeline.workspace import Workspace

VARIABLE = {"tas": VARIABLES["tas"]}
GRID = (181, 360)


def write_files(folder: Path, *, files: int, steps: int, seed: int = 0) -> int:
    """Hourly temperature on one degree, ``steps`` in each of ``files``; gives their bytes."""
    rng = np.random.default_rng(seed)
    weather = 285 + 10 * rng.standard_normal((steps, *GRID), dtype="float32").cumsum(2) / GRID[1] ** 0.5
    folder.mkdir(parents=True)
    for number in range(files):
        first = np.datetime64("1990-01-01", "h") + number * steps
        values = weather + rng.standard_normal(GRID, dtype="float32") * 0.1
        data = xr.Dataset(
            {"t2m": (("time", "lat", "lon"), values.clip(200, 340), {"units": "K"})},
            coords={
                "time": (first + np.arange(steps)).astype("datetime64[ns]"),
                "lat": ("lat", np.linspace(-90, 90, GRID[0]), {"units": "degrees_north"}),
                "lon": ("lon", np.arange(0.0, GRID[1]), {"units": "degrees_east"}),
            },
        )
        data.to_netcdf(folder / f"{number:04d}.nc")
    return sum(path.stat().st_size for path in folder.iterdir())


def put(files: Path, root: Path) -> None:
    """Files through all gates into an archive, checksums included."""
    source = FilesSource(paths=[str(files / "*.nc")])
    origins = [origin.record() for origin in source.origins()]
    data = source.read(VARIABLE)
    ingest(Workspace(root), data, group="obs", provenance=[{"origins": origins}], checks=Checks(VARIABLE))


def peak_kibibytes() -> int:
    """Largest resident memory of this process; what a child inherits from its parent does not count."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith("VmHWM")))


def timed(work: Callable[[], Any], *paths: Path) -> float:
    """Seconds of one run into places that are empty before it."""
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
    os.sync()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def bench_rate(folder: Path, *, gigabytes: float, rounds: int) -> dict[str, Any]:
    """Ingest of many files against plain xarray and against copying the bytes; rounds alternate, the best counts."""
    field = 4 * GRID[0] * GRID[1]
    size = write_files(folder / "files", files=100, steps=max(2, int(gigabytes * 1e9 / 100 / field)))
    ours, plain, copy = folder / "ws", folder / "plain.zarr", folder / "copy"

    def by_xarray() -> None:
        with xr.open_mfdataset(str(folder / "files" / "*.nc")) as data:
            data.to_zarr(plain)

    def by_tercile() -> None:
        os.environ["TERCILE_CACHE"] = tempfile.mkdtemp(dir=folder)  # every file's checksum is reckoned again
        put(folder / "files", ours)

    works: dict[str, Callable[[], Any]] = {
        "tercile": by_tercile,
        "xarray": by_xarray,
        "copy": lambda: shutil.copytree(folder / "files", copy),
    }
    seconds = {name: min(timed(work, ours, plain, copy) for _ in range(rounds)) for name, work in works.items()}
    rates = {name: size / took / 1e6 for name, took in seconds.items()}
    return {
        "bytes": size,
        "megabytes_per_second": rates,
        "against_xarray": rates["tercile"] / rates["xarray"],
        "against_copy": rates["tercile"] / rates["copy"],
        "bound": "against_xarray >= 0.9",
        "holds": rates["tercile"] >= 0.9 * rates["xarray"],
    }


def bench_memory(folder: Path, *, steps: int) -> dict[str, Any]:
    """Peak memory of a process that ingests a record, and one ten times longer."""
    peaks = {}
    for times in (1, 10):
        write_files(folder / f"files{times}", files=10 * times, steps=steps)
        code = (
            "import sys; from pathlib import Path; from tests.benchmarks.bench_ingest import peak_kibibytes, put;"
            "put(Path(sys.argv[1]), Path(sys.argv[2])); print(peak_kibibytes())"
        )
        arguments = [sys.executable, "-W", "ignore", "-c", code, folder / f"files{times}", folder / f"ws{times}"]
        environment = {**os.environ, "TERCILE_CACHE": str(folder / f"cache{times}")}
        done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment)
        peaks[times] = int(done.stdout) / 1024
    ratio = peaks[10] / peaks[1]
    return {"mebibytes": peaks, "ratio": ratio, "bound": "ratio <= 1.2", "holds": ratio <= 1.2}


def bench_append(folder: Path, *, steps: int, rounds: int) -> dict[str, Any]:
    """Seconds to append one step to a short archive and to a long one, taken in turns; the median counts."""
    lengths = {"short": 1_000, "long": steps}
    records = {name: _hourly(0, length) for name, length in lengths.items()}
    for name, record in records.items():
        ingest(Workspace(folder / name), record, group="obs", checks=Checks(VARIABLE))
    seconds: dict[str, list[float]] = {name: [] for name in lengths}
    for turn in range(rounds + 1):
        for name, length in lengths.items():
            step = _hourly(length + turn, 1)
            start = time.perf_counter()
            done = ingest(Workspace(folder / name), step, group="obs", checks=Checks(VARIABLE))
            seconds[name].append(time.perf_counter() - start)
            if done.added != 1:
                raise RuntimeError(f"{done}: one step was to be added")
    medians = {name: float(np.median(took[1:])) for name, took in seconds.items()}
    ratio = medians["long"] / medians["short"]
    return {"steps": lengths, "seconds": medians, "ratio": ratio, "bound": "ratio <= 1.5", "holds": ratio <= 1.5}


def _hourly(first: int, steps: int) -> xr.Dataset:
    rng = np.random.default_rng(first)
    return xr.Dataset(
        {"tas": (("time", "latitude", "longitude"), rng.normal(285, 5, (steps, 37, 72)).astype("float32"),
                 {**VARIABLE["tas"].attrs(), "cell_methods": "time: mean"})},
        coords={
            "time": (np.datetime64("1990-01-01", "h") + first + np.arange(steps)).astype("datetime64[s]"),
            "latitude": np.linspace(-90, 90, 37),
            "longitude": np.arange(0.0, 360.0, 5.0),
        },
    )  # fmt: skip


def main() -> None:
    """Measure all three, print them, keep them where asked."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path)
    options.add_argument("--gigabytes", type=float, default=2.0)
    options.add_argument("--memory-steps", type=int, default=48, help="steps in each of 10 and of 100 files")
    options.add_argument("--steps", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {"rate": bench_rate(folder / "rate", gigabytes=given.gigabytes, rounds=given.rounds)}
        shutil.rmtree(folder / "rate")
        found["memory"] = bench_memory(folder / "memory", steps=given.memory_steps)
        shutil.rmtree(folder / "memory")
        found["append"] = bench_append(folder / "append", steps=given.steps, rounds=5 * given.rounds)
    text = json.dumps(found, indent=2)
    print(text)
    if given.out:
        given.out.write_text(text)
    sys.exit(0 if all(part["holds"] for part in found.values()) else 1)


if __name__ == "__main__":
    main()
