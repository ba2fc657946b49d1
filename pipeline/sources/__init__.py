"""Where climate data comes from: one small module for each kind of source, all behind ``open``."""

from typing import Annotated

from pydantic import Field

from pipeline.sources.files import FilesSource
from pipeline.sources.sample import SampleSource

Source = Annotated[FilesSource | SampleSource, Field(discriminator="kind")]
"""Any source's configuration, told apart by ``kind``."""

__all__ = ["FilesSource", "SampleSource", "Source"]
