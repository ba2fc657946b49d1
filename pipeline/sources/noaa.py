"""Named records of NOAA's Physical Sciences Laboratory: ERSSTv5, monthly, and the NCEP/NCAR reanalysis, daily."""

from abc import abstractmethod
from typing import Annotated, Literal

import numpy as np
import xarray as xr
from pydantic import Field, model_validator

from pipeline.names import known_variable
from pipeline.periods import Cadence
from pipeline.sources.base import Origin, SourceConfig, Wanted
from pipeline.sources.outlines import centres, every, outline
from pipeline.sources.web import HttpSource, OpendapSource

FILES = "https://downloads.psl.noaa.gov/Datasets"
OPENDAP = "https://psl.noaa.gov/thredds/dodsC/Datasets"
CREDIT = "{name} data provided by the NOAA PSL, Boulder, Colorado, USA, from https://psl.noaa.gov"

NCEP_FILES = {
    "slp": "surface/slp",
    "tas": "surface_gauss/air.2m.gauss",
    "pr": "surface_gauss/prate.sfc.gauss",
    "zg": "pressure/hgt",
    "ta": "pressure/air",
    "ua": "pressure/uwnd",
    "va": "pressure/vwnd",
    "hus": "pressure/shum",
}
"""Our variable → the path of its yearly files."""
NCEP_LEVELS = (10, 20, 30, 50, 70, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000)


class NoaaSource(SourceConfig):
    """What the named records have in common.

    Attributes:
        access: ``http`` fetches whole files once; ``opendap`` reads the selection alone.
        base: Address in front of the records' own paths, for a mirror.
        tries: Attempts before giving up.
        pause: Seconds before the second attempt; doubled each time.
    """

    access: Literal["http", "opendap"] = "http"
    base: str | None = None
    tries: int = Field(5, ge=1)
    pause: Annotated[float, Field(ge=0)] = 1.0

    def open(self) -> xr.Dataset:
        """The record, lazily."""
        return self.transport().open()

    def origins(self) -> list[Origin]:
        """Each file, with what its server says of it."""
        return self.transport().origins()

    def wants(self) -> Wanted:
        """The addresses."""
        return self.transport().wants()

    def transport(self) -> HttpSource | OpendapSource:
        """The plain source that this name stands for."""
        base = self.base or (FILES if self.access == "http" else OPENDAP)
        kind = HttpSource if self.access == "http" else OpendapSource
        urls = [f"{base}/{path}" for path in self.paths()]
        return kind(urls=urls, process=self.process, tries=self.tries, pause=self.pause)

    @abstractmethod
    def paths(self) -> list[str]:
        """Paths below the base."""


class ErsstSource(NoaaSource):
    """NOAA Extended Reconstructed SST, version 5: monthly, 2 degrees, from 1854."""

    kind: Literal["ersst-v5"] = "ersst-v5"
    attribution: str | None = CREDIT.format(name="NOAA ERSST V5")

    def outline(self) -> xr.Dataset:
        """From 1854 to the last whole month."""
        return outline(["sst"], every(Cadence("months"), "1854-01-01"), np.arange(-88, 89, 2.0), np.arange(0, 360, 2.0))

    def paths(self) -> list[str]:
        """The one file."""
        return ["noaa.ersst.v5/sst.mnmean.nc"]


class NcepDailySource(NoaaSource):
    """NCEP/NCAR reanalysis 1: daily, 2.5 degrees (surface fluxes and 2 m on a Gaussian grid), from 1948."""

    kind: Literal["ncep-daily"] = "ncep-daily"
    attribution: str | None = CREDIT.format(name="NCEP-NCAR Reanalysis 1")

    @model_validator(mode="after")
    def _known(self) -> "NcepDailySource":
        if self.process.years is None:
            raise ValueError("ncep-daily needs `process: {years: [first, last]}`; the record begins in 1948")
        for name in self.variables:
            if _base(name) not in NCEP_FILES:
                raise ValueError(f"ncep-daily has no '{name}'; it has {', '.join(NCEP_FILES)}, profiles with a level")
        return self

    def outline(self) -> xr.Dataset:
        """The years that are asked for, packed as short integers."""
        first, last = self.process.years or (0, 0)
        labels = every(Cadence("days"), f"{first}-01-01", f"{last}-12-31")
        is_gaussian = any("gauss" in NCEP_FILES[_base(name)] for name in self.variables)
        grid = centres(94, 192) if is_gaussian else centres(73, 144)
        return outline(self.variables, labels, *grid, levels=NCEP_LEVELS, dtype="int16")

    def paths(self) -> list[str]:
        """A file for each variable and year."""
        files = dict.fromkeys(NCEP_FILES[_base(name)] for name in self.variables)
        return [f"ncep.reanalysis/Dailies/{path}.{{year}}.nc" for path in files]


def _base(name: str) -> str:
    """A variable without its level."""
    variable = known_variable(name)
    return name.rstrip("0123456789") if variable is not None and variable.level is not None else name
