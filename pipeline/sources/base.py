"""What a source is: a description that opens as a raw data set, with the origin of each file."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xarray as xr
from pydantic import BaseModel, ConfigDict, Field


@dataclass(frozen=True)
class Origin:
    """Where bytes came from: enough to find and to recognise them again."""

    source: str
    size: int
    sha256: str
    version: str | None = None

    def record(self) -> dict[str, Any]:
        """As a plain dictionary without what is not known."""
        return {key: value for key, value in asdict(self).items() if value is not None}


class SourceConfig(BaseModel, ABC):
    """What all sources have in common.

    Attributes:
        spelling: Our short name → the source's own name of a variable that cannot be recognised by itself.
        attribution: What the licence asks to be said wherever the data is shown.
        licence: Name of the licence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    spelling: dict[str, str] = Field(default_factory=dict)
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
        """Origin of each file, with its checksum."""


def file_origin(path: Path, *, version: str | None = None) -> Origin:
    """Origin of one local file; a Zarr store is its consolidated metadata."""
    target = (
        path
        if path.is_file()
        else next((path / name for name in ("zarr.json", ".zmetadata") if (path / name).exists()), None)
    )
    if target is None:
        return Origin(path.name, 0, hashlib.sha256(b"").hexdigest(), version)
    with target.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return Origin(path.name, target.stat().st_size, digest, version)
