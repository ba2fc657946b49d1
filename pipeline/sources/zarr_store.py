"""Zarr 2 and 3 on a web server, on S3 or on Google Cloud Storage, of which only the chunks of the selection are read.

Written for the layouts of ARCO-ERA5 (hourly, ``valid_time_start`` and ``valid_time_stop`` among the attributes because
the axis of time is longer than the data) and of WeatherBench 2 (longitude before latitude, ``level`` in hPa).
"""

import hashlib
from datetime import timedelta
from typing import Annotated, Any, Literal

import xarray as xr
from pydantic import Field

from pipeline.errors import InputRefusedError
from pipeline.names import rename_dimensions
from pipeline.sources.base import Origin, SourceConfig, Wanted
from pipeline.sources.combine import spans_of
from pipeline.sources.download import Patience
from pipeline.sources.formats import in_chunks, open_zarr_store
from pipeline.sources.outlines import zarr_outline
from pipeline.sources.retries import retried

METADATA = ("zarr.json", ".zmetadata", ".zgroup")


class ZarrSource(SourceConfig):
    """One Zarr group in an object store.

    Attributes:
        url: ``https://…``, ``s3://bucket/…`` or ``gs://bucket/…``; a store on a web server needs consolidated metadata.
        group: Group within the store.
        anonymous: Without credentials; otherwise they come from the environment, as the providers' own tools read them.
        endpoint: Address of an S3 service that is not Amazon's.
        region: Of an S3 bucket.
        tries: Attempts before giving up.
        stall: Seconds after which a request is given up.
    """

    kind: Literal["zarr"] = "zarr"
    url: str = Field(pattern=r"^(https?|s3|gs)://")
    group: str | None = None
    anonymous: bool = True
    endpoint: str | None = None
    region: str | None = None
    tries: int = Field(5, ge=1)
    stall: Annotated[float, Field(gt=0)] = 60.0

    def open(self) -> xr.Dataset:
        """The group, lazily.

        Raises:
            InputRefusedError: There is no Zarr group, or the server does not answer.
        """
        raw = retried(self._open, Patience(self.tries, stall=self.stall), self.url)
        found = in_chunks(_valid(rename_dimensions(raw)), self.process)
        found.encoding["spans"] = spans_of({self.url: found})
        return found

    def origins(self) -> list[Origin]:
        """The store, known by its metadata: size, checksum and ETag."""
        return [retried(self._origin, Patience(self.tries, stall=self.stall), self.url)]

    def outline(self) -> xr.Dataset | None:
        """Of the public stores of ERA5, whose addresses say what they hold."""
        return zarr_outline(self.url, self.variables)

    def wants(self) -> Wanted:
        """The store."""
        return Wanted([self.url])

    def _open(self) -> xr.Dataset:
        from zarr.storage import ObjectStore

        self._metadata()
        store, can_list = ObjectStore(self._store(), read_only=True), not self.url.startswith("http")
        try:
            return open_zarr_store(store, group=self.group, can_list=can_list)
        except InputRefusedError as error:
            raise InputRefusedError(f"source: {self.url}: {error}") from error

    def _origin(self) -> Origin:
        data, version = self._metadata()
        return Origin(self.url, len(data), hashlib.sha256(data).hexdigest(), version)

    def _metadata(self) -> tuple[bytes, str | None]:
        """The store's consolidated metadata and its ETag.

        Raises:
            InputRefusedError: None there.
        """
        store = self._store()
        for name in METADATA:
            try:
                found = store.get(name)
            except FileNotFoundError:
                continue
            return bytes(found.bytes()), found.meta.get("e_tag")
        raise InputRefusedError(f"source: {self.url}: no Zarr store there ({', '.join(METADATA)} not found).")

    def _store(self) -> Any:
        from obstore.store import from_url

        options: dict[str, Any] = {
            "client_options": {"timeout": timedelta(seconds=self.stall), "allow_http": True},
            "retry_config": {"max_retries": self.tries, "retry_timeout": timedelta(seconds=self.tries * self.stall)},
        }
        if self.url.startswith("http"):
            return from_url(self.url, **options)
        signing: dict[str, Any] = {"skip_signature": True} if self.anonymous else {}
        if self.url.startswith("s3"):
            given = {"endpoint": self.endpoint, "region": self.region or "us-east-1"}
            signing |= {key: value for key, value in given.items() if value is not None}
        return from_url(self.url, **signing, **options)


def _valid(dataset: xr.Dataset) -> xr.Dataset:
    """Without the part of time that the store has no data for."""
    start, stop = dataset.attrs.get("valid_time_start"), dataset.attrs.get("valid_time_stop")
    if start is None or stop is None or "time" not in dataset.dims:
        return dataset
    return dataset.sel(time=slice(str(start), str(stop)))
