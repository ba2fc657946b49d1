"""What a source is: a description that opens as a raw data set, with the origin of each file."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import xarray as xr
from pydantic import BaseModel, ConfigDict, Field

from pipeline.intake.processing import Processing, process, selected
from pipeline.names import Span, Variable, canonical


@dataclass(frozen=True)
class Origin:
    """Where bytes came from: enough to find and to recognise them again.

    Attributes:
        source: Path or URL; of what a package brings or a store makes on request, its name.
        size: Bytes; of a store, those of its metadata.
        sha256: Checksum of those bytes, where they have been read as a whole.
        version: What the provider says of the version: an ETag, a date, a package.
        first: First label of time in it, as text.
        last: Last label of time in it.
    """

    source: str
    size: int | None = None
    sha256: str | None = None
    version: str | None = None
    first: str | None = None
    last: str | None = None

    def record(self) -> dict[str, Any]:
        """As a plain dictionary without what is not known."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Wanted:
    """What a source would read, told without reading it.

    Attributes:
        addresses: Paths, globs, URLs or requests.
        unknown: What cannot be said before the source has been asked, and why.
    """

    addresses: list[str]
    unknown: list[str] = field(default_factory=list)


class SourceConfig(BaseModel, ABC):
    """What all sources have in common.

    Attributes:
        variables: Short names that are wanted; the experiment's where not given.
        spelling: Our short name → the source's own name of a variable that cannot be recognised by itself.
        units: Our short name → units of a variable that the source gives none for, or wrong ones.
        accumulated: Our short name → hours, where the source adds a flux up over that long before a label, or
            ``period`` where it is the total of each step's own period.
        select: Another dimension of the source → the value of it that is taken; a lead time in hours.
        process: What is done to the data before they are kept.
        attribution: What the licence asks to be said wherever the data is shown.
        licence: Name of the licence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    variables: list[str] = Field(default_factory=list)
    spelling: dict[str, str] = Field(default_factory=dict)
    units: dict[str, str] = Field(default_factory=dict)
    accumulated: dict[str, Span] = Field(default_factory=dict)
    select: dict[str, float] = Field(default_factory=dict)
    process: Processing = Processing()
    attribution: str | None = None
    licence: str | None = None

    @abstractmethod
    def open(self) -> xr.Dataset:
        """The raw data set, lazily, in the source's own names.

        Raises:
            InputRefusedError: Nothing there, or nothing that can be read.
        """

    @abstractmethod
    def origins(self) -> list[Origin]:
        """Origin of each file. Two calls that differ mean that the source has changed."""

    @abstractmethod
    def wants(self) -> Wanted:
        """What ``open`` would read, without a network and without reading it."""

    def outline(self) -> xr.Dataset | None:
        """The record without values, in our names, where its layout is known without asking."""
        return None

    def read(self, variables: Mapping[str, Variable]) -> xr.Dataset:
        """The wanted variables, canonical and processed, lazily; ``encoding["spans"]`` has the time of each file.

        Raises:
            InputRefusedError: Nothing there, nothing that can be read, or not what was asked for.
        """
        return self.prepared(self.open(), variables)

    def prepared(self, raw: xr.Dataset, variables: Mapping[str, Variable]) -> xr.Dataset:
        """A raw data set that this source has opened, canonical and processed.

        Raises:
            InputRefusedError: It is not what was asked for.
        """
        plain = canonical(
            selected(raw, self.select),
            variables=variables,
            spelling=self.spelling,
            units=self.units,
            accumulated=self.accumulated,
        )
        found = process(plain, self.process, accumulated=self.accumulated)
        found.encoding["spans"] = raw.encoding.get("spans", {})
        return found
