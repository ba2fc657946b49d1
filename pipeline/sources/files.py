"""Local and mounted files: NetCDF, HDF5, GRIB or Zarr, one or thousands, split over variables, time or realizations."""

import glob
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import xarray as xr
from pydantic import Field

from pipeline.errors import InputRefusedError
from pipeline.intake.processing import Processing
from pipeline.sources.base import Origin, SourceConfig, Wanted
from pipeline.sources.checksums import file_origin
from pipeline.sources.combine import combine, realize
from pipeline.sources.formats import few_open_files, open_file


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
            return open_files(_named(self._files(self.paths)), self.process)
        runs = {run: open_files(_named(self._files(paths)), self.process) for run, paths in self.realizations.items()}
        return realize(runs)

    def origins(self) -> list[Origin]:
        """Name, size and checksum of each file."""
        groups = [self.paths, *self.realizations.values()]
        files = [path for paths in groups if paths for path in self._files(paths)]
        with ThreadPoolExecutor() as readers:
            return list(readers.map(file_origin, files))

    def wants(self) -> Wanted:
        """The paths and globs."""
        return Wanted([path for paths in (self.paths, *self.realizations.values()) for path in paths])

    def _files(self, patterns: list[str]) -> list[Path]:
        found = []
        for pattern in patterns:
            matches = sorted(glob.glob(str(Path(pattern).expanduser()), recursive=True))
            if not matches:
                raise InputRefusedError(
                    f"source: no file matches '{pattern}' (looked from {Path.cwd()}). Mend `paths`."
                )
            found += [Path(match) for match in matches]
        if not found:
            raise InputRefusedError("source: no files. Give `paths` or `realizations`.")
        return found


def open_files(files: Mapping[str, Path], process: Processing) -> xr.Dataset:
    """Many files as one data set, lazily; each is called by its name in messages and in the record of provenance."""
    with few_open_files():
        parts = {name: open_file(path, process) for name, path in files.items()}
    return combine(parts, years=process.years)


def _named(paths: list[Path]) -> dict[str, Path]:
    return {str(path): path for path in paths}
