"""Files on a web server, fetched once, and OPeNDAP servers, of which only the selection is fetched."""

from typing import Annotated, Any, Literal

import xarray as xr
from pydantic import Field, model_validator

from pipeline.errors import InputRefusedError
from pipeline.intake.provenance import first_and_last
from pipeline.names import rename_dimensions
from pipeline.sources.base import Origin, SourceConfig, Wanted
from pipeline.sources.combine import combine
from pipeline.sources.download import Download, Patience
from pipeline.sources.files import open_files
from pipeline.sources.formats import TIMES, in_chunks
from pipeline.sources.retries import retried


class WebSource(SourceConfig):
    """What sources on the web have in common.

    Attributes:
        urls: Addresses; ``{year}`` stands for each of ``process.years``.
        tries: Attempts before giving up.
        pause: Seconds before the second attempt; doubled each time.
        stall: Seconds without a byte after which a connection is given up.
    """

    urls: list[Annotated[str, Field(pattern=r"^https?://")]] = Field(min_length=1)
    tries: int = Field(5, ge=1)
    pause: Annotated[float, Field(ge=0)] = 1.0
    stall: Annotated[float, Field(gt=0)] = 60.0

    @model_validator(mode="after")
    def _years_given(self) -> "WebSource":
        if any("{year}" in url for url in self.urls) and self.process.years is None:
            raise ValueError("urls with {year} need `process: {years: [first, last]}`")
        return self

    def wants(self) -> Wanted:
        """The addresses."""
        return Wanted(self.addresses())

    def addresses(self) -> list[str]:
        """All URLs, in order."""
        first, last = self.process.years or (0, 0)
        found = []
        for url in self.urls:
            found += [url.replace("{year}", str(year)) for year in range(first, last + 1)] if "{year}" in url else [url]
        return found

    @property
    def patience(self) -> Patience:
        """How long the server is waited for."""
        return Patience(self.tries, self.pause, self.stall)


class HttpSource(WebSource):
    """NetCDF or GRIB files on a web server: downloaded whole, resumed, kept in the cache while they do not change."""

    kind: Literal["http"] = "http"

    def open(self) -> xr.Dataset:
        """All files as one data set, from the cache.

        Raises:
            InputRefusedError: The server does not give a file, or gives something else.
        """
        return open_files({download.url: download.fetch() for download in self.downloads()}, self.process)

    def origins(self) -> list[Origin]:
        """Each file as the server has it now."""
        found = []
        for download in self.downloads():
            download.fetch()
            found.append(download.origin())
        return found

    def downloads(self) -> list[Download]:
        """One for each address."""
        return [Download(url, self.patience) for url in self.addresses()]


class OpendapSource(WebSource):
    """Records behind OPeNDAP, as THREDDS serves them: only the bytes of the selection are fetched."""

    kind: Literal["opendap"] = "opendap"

    def open(self) -> xr.Dataset:
        """All addresses as one data set, lazily.

        Raises:
            InputRefusedError: A server does not answer as OPeNDAP.
        """
        parts = {url: in_chunks(_open_dap(url, self.patience), self.process) for url in self.addresses()}
        return combine(parts, years=self.process.years)

    def origins(self) -> list[Origin]:
        """Each address with the range of time that it has now."""
        found = []
        for url in self.addresses():
            data = _open_dap(url, self.patience)
            first, last = first_and_last(data)
            version = str(data.attrs.get("history") or data.attrs.get("date_modified") or "")[-200:] or None
            found.append(Origin(url, data.nbytes, version=version, first=first, last=last))
        return found


def _open_dap(url: str, patience: Patience) -> xr.Dataset:
    try:
        from pydap.client import open_url
        from pydap.net import create_session
    except ImportError as error:
        raise InputRefusedError("OPeNDAP needs the package pydap: `pip install tercile[opendap]`.") from error
    # The NetCDF library's own client takes an answer that was cut short for data; this one does not.
    retry = {"total": patience.tries, "status": patience.tries, "backoff_factor": patience.pause}

    def attempt() -> xr.Dataset:
        session = create_session(session_kwargs={"retry_args": dict(retry)})
        dataset = open_url(url, session=session, protocol="dap2", timeout=patience.stall)
        store: Any = xr.backends.PydapDataStore
        return xr.open_dataset(store(dataset=dataset, protocol="dap2"), decode_times=TIMES, chunks=None)

    found = rename_dimensions(retried(attempt, patience, url))
    if "time" not in found.dims:
        raise InputRefusedError(f"source: {url} has no dimension of time.")
    return found
