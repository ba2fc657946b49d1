"""The Copernicus Climate Data Store: ERA5 on single levels, daily and monthly, through ``cdsapi``.

A record is split into requests that stay below the store's limit. Each is known by its content: what has come is kept
in the cache, what is queued is found again by its number after a restart, what has failed or expired is asked anew.
Address and key are read as ``cdsapi`` reads them, from ``CDSAPI_URL`` and ``CDSAPI_KEY`` or ``~/.cdsapirc``.
"""

import calendar
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import xarray as xr
from pydantic import Field, model_validator

from pipeline.errors import InputRefusedError, in_one_line
from pipeline.intake.processing import Processing, box_of, narrowed
from pipeline.names import VARIABLES
from pipeline.periods import Cadence
from pipeline.sources.base import Origin, SourceConfig, Wanted
from pipeline.sources.checksums import cache_folder, checksum
from pipeline.sources.files import open_files
from pipeline.sources.formats import kind_of
from pipeline.sources.outlines import centres, every, outline
from pipeline.workspace import write_whole

MONTHLY = "reanalysis-era5-single-levels-monthly-means"
DAILY = "derived-era5-single-levels-daily-statistics"
PUBLISHED_AFTER = timedelta(days=7)
"""How long after its end a month is in the store."""
NAMES: Mapping[str, str] = {
    "tas": "2m_temperature",
    "sst": "sea_surface_temperature",
    "slp": "mean_sea_level_pressure",
    "pr": "total_precipitation",
    "uas": "10m_u_component_of_wind",
    "vas": "10m_v_component_of_wind",
    "wspd": "10m_wind_speed",
}
"""Our short name → the store's."""
METHODS: Mapping[str, str] = {
    "daily_mean": "time: mean",
    "daily_minimum": "time: minimum",
    "daily_maximum": "time: maximum",
    "daily_sum": "time: sum",
}
"""Statistic of a day → CF's cell methods, where a file does not say them."""


class CdsSource(SourceConfig):
    """ERA5 on single levels.

    Attributes:
        cadence: ``daily`` statistics or ``monthly`` means.
        statistic: Of a day.
        limit: Fields in one request, at most; the store's own limits change, and larger requests queue longer.
        poll: Longest pause between two looks at a queued request, seconds.
        patience: Seconds after which a request that is still queued is left to a later run.
        tries: Attempts at a request that fails or expires.
    """

    kind: Literal["cds"] = "cds"
    cadence: Literal["daily", "monthly"] = "monthly"
    statistic: Literal["daily_mean", "daily_minimum", "daily_maximum", "daily_sum"] = "daily_mean"
    limit: int = Field(1_000, ge=31)
    poll: Annotated[float, Field(gt=0)] = 60.0
    patience: Annotated[float, Field(gt=0)] = 6 * 3600.0
    tries: int = Field(3, ge=1)
    attribution: str | None = "Contains modified Copernicus Climate Change Service information (ERA5)."
    licence: str | None = "CC-BY 4.0"

    @model_validator(mode="after")
    def _can_be_asked(self) -> "CdsSource":
        if self.process.years is None:
            raise ValueError("cds needs `process: {years: [first, last]}`")
        for name in self.variables:
            if name not in NAMES and name not in self.spelling:
                raise ValueError(f"cds: how does the store call '{name}'? Say so with `spelling: {{{name}: …}}`")
        return self

    def open(self) -> xr.Dataset:
        """The whole record, from the cache.

        Raises:
            InputRefusedError: A request was refused, failed time and again, or is still queued.
        """
        paths = [self._fetch(request) for request in self.requests()]
        return open_files({self._name(path): path for path in paths}, self.process)

    def prepared(self, raw: xr.Dataset, variables: Mapping[str, Any]) -> xr.Dataset:
        """The wanted variables; the store's long names are for requests, its files have short ones."""
        fields = [str(name) for name in raw.data_vars if "latitude" in raw[name].dims]
        if self.cadence == "daily":
            methods = {"cell_methods": METHODS[self.statistic]}
            raw = raw.assign({name: raw[name].assign_attrs(methods | raw[name].attrs) for name in fields})
        spelling = {name: _short(long, fields) for name, long in self.spelling.items()}
        plain = self.model_copy(update={"spelling": {name: short for name, short in spelling.items() if short}})
        return super(CdsSource, plain).prepared(raw, variables)

    def origins(self) -> list[Origin]:
        """Each request's file."""
        found = []
        for request in self.requests():
            path = self._fetch(request)
            found.append(Origin(self._name(path), path.stat().st_size, checksum(path)))
        return found

    def outline(self) -> xr.Dataset:
        """A quarter of a degree, of which the store makes the region."""
        published = self._published()
        first, last = min(published), max(published)
        end = f"{last}-{published[last]:02d}-{calendar.monthrange(last, published[last])[1]}"
        labels = every(Cadence("days" if self.cadence == "daily" else "months"), f"{first}-01-01", end)
        return narrowed(outline(self.variables, labels, *centres(721, 1440)), Processing(region=self.process.region))

    def wants(self) -> Wanted:
        """Each request."""
        texts = [f"{self.dataset} {json.dumps(request)}" for request in self.requests()]
        return Wanted(texts, ["bytes: the store makes the files when it is asked"])

    def _name(self, path: Path) -> str:
        return f"{self.dataset}/{path.stem}"

    @property
    def dataset(self) -> str:
        """The store's name of the data set."""
        return DAILY if self.cadence == "daily" else MONTHLY

    def requests(self) -> list[dict[str, Any]]:
        """What is asked of the store, in order."""
        return [self._request(years, months) for years, months in self._pieces()]

    def _pieces(self) -> Iterator[tuple[list[int], list[int]]]:
        """Years and months of each request."""
        published, each = self._published(), max(1, len(self.variables))
        if self.cadence == "monthly":
            many = max(1, self.limit // (12 * each))
            over = [year for year, count in published.items() if count == 12]
            for at in range(0, len(over), many):
                yield over[at : at + many], list(range(1, 13))
            yield from (([year], list(range(1, count + 1))) for year, count in published.items() if count < 12)
            return
        many = min(12, max(1, self.limit // (31 * each)))
        for year, count in published.items():
            for month in range(1, count + 1, many):
                yield [year], list(range(month, min(count, month + many - 1) + 1))

    def _published(self) -> dict[int, int]:
        """Year → how many of its months the store has.

        A year that is not over is asked for anew with each month: what is in the cache is never looked at again.

        Raises:
            InputRefusedError: None of the years has begun.
        """
        first, last = self.process.years or (0, 0)
        now = datetime.now(UTC) - PUBLISHED_AFTER
        found = {year: 12 if year < now.year else now.month - 1 for year in range(first, min(last, now.year) + 1)}
        found = {year: count for year, count in found.items() if count}
        if not found:
            raise InputRefusedError(f"cds: no month of {first}–{last} is published yet. Mend `process.years`.")
        return found

    def _request(self, years: list[int], months: list[int]) -> dict[str, Any]:
        request: dict[str, Any] = {
            "variable": [self.spelling.get(name) or NAMES[name] for name in self.variables],
            "year": [str(year) for year in years],
            "month": [f"{month:02d}" for month in months],
        }
        if self.cadence == "daily":
            days = max(calendar.monthrange(years[0], month)[1] for month in months)
            request |= {"product_type": "reanalysis", "day": [f"{day:02d}" for day in range(1, days + 1)]}
            request |= {"daily_statistic": self.statistic, "time_zone": "utc+00:00", "frequency": "6_hourly"}
        else:
            request |= {"product_type": ["monthly_averaged_reanalysis"], "time": ["00:00"]}
            request |= {"data_format": "netcdf", "download_format": "unarchived"}
        if self.process.region is not None:
            box = box_of(self.process.region)
            request["area"] = [box.north, box.west, box.south, box.east]
        return request

    def _fetch(self, request: dict[str, Any]) -> Path:
        digest = hashlib.sha256(json.dumps([self.dataset, request], sort_keys=True).encode()).hexdigest()[:16]
        try:
            import cdsapi  # noqa: F401
            import requests
        except ImportError as error:
            raise InputRefusedError("cds needs the package cdsapi: `pip install tercile[cds]`.") from error
        path = cache_folder() / "cds" / f"{digest}.nc"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            return path
        failures = []
        for _ in range(self.tries):
            try:
                return self._ask(request, path)
            except _GoneError as error:
                path.with_suffix(".job").unlink(missing_ok=True)
                failures.append(str(error))
            except requests.RequestException as error:  # the connection broke; the job is still there
                failures.append(in_one_line(error))
        raise InputRefusedError(f"cds: {self.tries} request(s) failed, the last with: {failures[-1]} ({request}).")

    def _client(self) -> Any:
        """The store's own client, with the user's address and key."""
        import cdsapi
        import requests

        how: dict[str, Any] = {"quiet": True, "progress": False, "sleep_max": self.poll, "retry_max": 5}
        try:
            return cdsapi.Client(**how, wait_until_complete=False).client
        except requests.RequestException:
            raise
        except Exception as error:  # it has no class of its own for a key that is not there or of an older form
            raise InputRefusedError(
                f"cds: no address and key of today's form ({in_one_line(error)}). Put `url` and `key` into ~/.cdsapirc "
                "as your page at the store shows them, or set CDSAPI_URL and CDSAPI_KEY."
            ) from error

    def _ask(self, request: dict[str, Any], path: Path) -> Path:
        """Submit a request, or find the one that was submitted before, wait for it and fetch what it made."""
        import requests

        client = self._client()
        job = path.with_suffix(".job")
        try:
            if job.exists():
                remote = client.get_remote(job.read_text())
            else:
                remote = client.submit(self.dataset, request)
                write_whole(job, remote.request_id)
            self._wait(remote)
            partial = path.with_suffix(".part")
            remote.get_results().download(str(partial))
        except requests.HTTPError as error:
            if error.response is not None and error.response.status_code in (401, 403):
                raise InputRefusedError(
                    f"cds: the store refuses ({error}). Check CDSAPI_KEY and the licence."
                ) from error
            raise _GoneError(str(error)) from error
        except RuntimeError as error:  # what the client raises for failed and dismissed jobs and for short downloads
            raise _GoneError(str(error)) from error
        kind_of(partial)
        partial.replace(path)
        with suppress(FileNotFoundError):
            job.unlink()
        return path

    def _wait(self, remote: Any) -> None:
        pause, end = min(1.0, self.poll), time.monotonic() + self.patience
        while not remote.results_ready:
            if time.monotonic() > end:
                raise InputRefusedError(
                    f"cds: request {remote.request_id} is still queued. Run the same command later to go on with it."
                )
            time.sleep(pause)
            pause = min(1.5 * pause, self.poll)


def _short(long: str, fields: list[str]) -> str | None:
    """The field of a file that a long name of the store means: by what else it is called, or the only one there is."""
    called = next(({known.name, *known.aliases} for known in VARIABLES.values() if long in known.aliases), set())
    found = [name for name in fields if name.lower() in called] or fields
    return found[0] if len(found) == 1 else None


class _GoneError(Exception):
    """A request that must be made again."""
