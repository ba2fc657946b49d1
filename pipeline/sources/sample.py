"""The embedded sample: two scenarios of a Met Office model over North America, 1860–2099.

They come with the package ``iris-sample-data`` under the UK Open Government Licence. Both runs are one and the same
until 1999 and branch in 2000.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Literal

import iris_sample_data
import xarray as xr

from pipeline.sources.base import Origin, SourceConfig, Wanted
from pipeline.sources.checksums import file_origin
from pipeline.sources.formats import open_file

PACKAGE = "iris-sample-data"


class SampleSource(SourceConfig):
    """Annual means of near-surface air temperature under one scenario, ``(time 240, latitude 37, longitude 49)``, K."""

    kind: Literal["sample"] = "sample"
    scenario: Literal["A1B", "E1"]
    attribution: str | None = "Contains Met Office climate model data, from the package iris-sample-data."
    licence: str | None = "UK Open Government Licence v3.0"

    def open(self) -> xr.Dataset:
        """The raw file."""
        return open_file(self._path, self.process)

    def origins(self) -> list[Origin]:
        """The one file and the version of its package."""
        return [file_origin(self._path, name=self._path.name, version=f"{PACKAGE} {version(PACKAGE)}")]

    def wants(self) -> Wanted:
        """The one file."""
        return Wanted([str(self._path)])

    @property
    def _path(self) -> Path:
        return Path(iris_sample_data.path) / f"{self.scenario}_north_america.nc"
