"""Local and mounted files: NetCDF or Zarr, one or many, split over time or over realizations."""

import glob
from pathlib import Path
from typing import Literal

import xarray as xr
from pydantic import Field

from pipeline.errors import InputRefusedError
from pipeline.sources.base import Origin, SourceConfig, file_origin


class FilesSource(SourceConfig):
    """Files that make up one group.

    Attributes:
        paths: Paths or globs; the files together span time, and may hold different variables.
        realizations: Instead of ``paths``, a list of paths or globs for each realization.
    """

    kind: Literal["files"] = "files"
    paths: list[str] = Field(default_factory=list)
    realizations: dict[int, list[str]] = Field(default_factory=dict)

    def open(self) -> xr.Dataset:
        """All files as one data set, opened lazily.

        Raises:
            InputRefusedError: A path matches nothing, or a file cannot be read.
        """
        if not self.realizations:
            return _open(self._files(self.paths))
        runs = [_open(self._files(paths)) for paths in self.realizations.values()]
        return xr.concat(
            runs, xr.Variable("realization", list(self.realizations)), join="exact", combine_attrs="override"
        )

    def origins(self) -> list[Origin]:
        """Name, size and checksum of each file."""
        groups = [self.paths, *self.realizations.values()]
        return [file_origin(path) for paths in groups if paths for path in self._files(paths)]

    def _files(self, patterns: list[str]) -> list[Path]:
        found = []
        for pattern in patterns:
            matches = sorted(glob.glob(str(Path(pattern).expanduser())))
            if not matches:
                raise InputRefusedError(
                    f"source: no file matches '{pattern}' (looked from {Path.cwd()}). Mend `paths`."
                )
            found += [Path(match) for match in matches]
        if not found:
            raise InputRefusedError("source: no files. Give `paths` or `realizations`.")
        return found


def _open(files: list[Path]) -> xr.Dataset:
    coder = xr.coders.CFDatetimeCoder(time_unit="s")
    try:
        parts = [
            xr.open_dataset(path, chunks={}, decode_times=coder, engine="zarr" if path.is_dir() else None)
            for path in files
        ]
    except (OSError, ValueError, KeyError) as error:
        raise InputRefusedError(f"source: cannot read one of {', '.join(map(str, files[:3]))}…: {error}") from error
    if len(parts) == 1:
        return parts[0]
    try:
        combined = xr.combine_by_coords(
            parts, join="outer", combine_attrs="override", data_vars="minimal", coords="minimal", compat="override"
        )
    except ValueError as error:
        raise InputRefusedError(f"source: the files do not fit together ({error}).") from error
    return combined if isinstance(combined, xr.Dataset) else combined.to_dataset()
