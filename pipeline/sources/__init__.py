"""Where climate data comes from: one small module for each kind of source, all behind ``open``."""

from typing import Annotated

from pydantic import Field

from pipeline.sources.cds import CdsSource
from pipeline.sources.cmip6 import Cmip6Source
from pipeline.sources.files import FilesSource
from pipeline.sources.noaa import ErsstSource, NcepDailySource
from pipeline.sources.sample import SampleSource
from pipeline.sources.web import HttpSource, OpendapSource
from pipeline.sources.zarr_store import ZarrSource

Source = Annotated[
    FilesSource
    | SampleSource
    | ZarrSource
    | HttpSource
    | OpendapSource
    | ErsstSource
    | NcepDailySource
    | Cmip6Source
    | CdsSource,
    Field(discriminator="kind"),
]
"""Any source's configuration, told apart by ``kind``."""

__all__ = [
    "CdsSource",
    "Cmip6Source",
    "ErsstSource",
    "FilesSource",
    "HttpSource",
    "NcepDailySource",
    "OpendapSource",
    "SampleSource",
    "Source",
    "ZarrSource",
]
