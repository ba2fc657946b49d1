"""GRIB 1 and 2, by ``cfgrib``; a damaged message can end the process that decodes it, so another one looks first.

``python -m pipeline.sources.grib`` is that other process: it reads a path in each line, decodes every message of the
file, and answers with a line. Where none comes, the file has ended it.
"""

import json
import select
import subprocess
import sys
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import xarray as xr

from pipeline.errors import InputRefusedError, in_one_line

SECONDS = 600.0
"""Longest wait for one file to be looked through."""


def open_grib(path: Path, *, decode_times: Any) -> xr.Dataset:
    """All fields of a GRIB file, lazily, labelled by when they hold.

    Raises:
        InputRefusedError: It cannot be decoded, or holds forecasts of several steps.
    """
    try:
        import cfgrib
    except ImportError as error:
        raise InputRefusedError("GRIB needs the package cfgrib: `pip install tercile[grib]`.") from error
    state = path.stat()
    fault = _look_through(str(path), state.st_size, state.st_mtime_ns)
    if fault is not None:
        raise InputRefusedError(f"cannot be decoded as grib ({fault}). Fetch or write it again.")
    parts = cfgrib.open_datasets(str(path), backend_kwargs={"indexpath": ""}, decode_times=decode_times)
    if not parts:
        raise InputRefusedError("no field in it")
    parts = [_plain(part) for part in parts]
    return xr.merge(parts, compat="override", join="exact", combine_attrs="override")


def _plain(part: xr.Dataset) -> xr.Dataset:
    if "step" in part.dims and part.sizes["step"] > 1:
        raise InputRefusedError("forecasts of several steps; give analyses, or one step for each time.")
    if "step" in part.dims:
        part = part.isel(step=0)
    if "step" in part.coords and "valid_time" in part.coords:  # what is kept is when it holds, not when it was made
        part = part.assign_coords(time=part["valid_time"])
    return part.drop_vars([name for name in ("step", "valid_time") if name in part.coords])


class _Scout:
    """The other process, started when it is first needed and again after a file has ended it."""

    def __init__(self) -> None:
        self._lock, self._child = Lock(), None

    _child: "subprocess.Popen[str] | None"

    def ask(self, path: str) -> str | None:
        """What is wrong with a file, or None."""
        with self._lock:
            child = self._running()
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(json.dumps(path) + "\n")
            child.stdin.flush()
            answer = child.stdout.readline() if select.select([child.stdout], [], [], SECONDS)[0] else ""
            if answer:
                return None if json.loads(answer) is None else str(json.loads(answer))
            child.kill()
            child.wait()
            return "its messages end the process that decodes them"

    def _running(self) -> "subprocess.Popen[str]":
        if self._child is None or self._child.poll() is not None:
            command = [sys.executable, "-W", "ignore", "-m", "pipeline.sources.grib"]
            pipe = subprocess.PIPE
            self._child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        return self._child


_SCOUT = _Scout()


@cache
def _look_through(path: str, _size: int, _changed: int) -> str | None:
    """What is wrong with a file of that size and time of change, or None."""
    return _SCOUT.ask(path)


def _decode(path: str) -> None:
    """Decode every message of a file."""
    import cfgrib
    import eccodes

    cfgrib.open_datasets(path, backend_kwargs={"indexpath": ""})
    with Path(path).open("rb") as handle:
        while (message := eccodes.codes_grib_new_from_file(handle)) is not None:
            eccodes.codes_get_values(message)
            eccodes.codes_release(message)


def _scout() -> None:
    """Answer each path in the standard input with what is wrong with that file."""
    for line in sys.stdin:
        try:
            _decode(json.loads(line))
            answer = None
        except Exception as error:  # the reader of foreign bytes raises whatever it likes
            answer = in_one_line(error)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _scout()
