"""Downloads that are whole or not there: resumed, retried, recognised when they change, kept in the user's cache.

Beside each file lies ``<name>.json`` with what the server said of it. A partial file goes on from where it stopped only
if the server still has the same version, by ETag or date; otherwise it begins again.
"""

import fcntl
import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline.errors import InputRefusedError
from pipeline.sources.base import Origin
from pipeline.sources.checksums import cache_folder, checksum
from pipeline.sources.formats import kind_of_bytes
from pipeline.workspace import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Attributes:
        tries: Attempts that bring nothing new before giving up.
        pause: Seconds before the second attempt; doubled each time.
        stall: Seconds without a byte after which a connection is given up.
    """

    tries: int = 5
    pause: float = 1.0
    stall: float = 60.0

    @property
    def often(self) -> str:
        """How often it was tried, in words."""
        return "once" if self.tries == 1 else f"{self.tries} times"


@dataclass(frozen=True)
class Download:
    """One URL and its place in the cache.

    Attributes:
        url: Where from.
        patience: How long the server is waited for.
        is_data: Whether it must begin as NetCDF, HDF5 or GRIB do.
    """

    url: str
    patience: Patience = Patience()
    is_data: bool = True

    @property
    def path(self) -> Path:
        """The file in the cache, there or not."""
        parts = urlsplit(self.url)
        digest = hashlib.sha256(self.url.encode()).hexdigest()[:16]
        return cache_folder() / "downloads" / parts.netloc.replace(":", "_") / digest / Path(parts.path).name

    def fetch(self) -> Path:
        """The file, as new as the server has it.

        Raises:
            InputRefusedError: The server does not give it, or gives something else.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # of two that want the same file one fetches it, the other finds it
            return self._fetch()

    def _fetch(self) -> Path:
        left, pause, got = self.patience.tries, self.patience.pause, self._partial_size
        while True:
            try:
                return self._attempt()
            except _TryAgainError as error:
                left = self.patience.tries if self._partial_size > got else left - 1
                got = self._partial_size
                if left <= 0:
                    kept = f"The {got} bytes that came are kept; run" if got else "Check address and server, and run"
                    raise InputRefusedError(
                        f"source: {self.url}: {error}, {self.patience.often}. {kept} the same command again."
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, 60.0)

    def origin(self) -> Origin:
        """What the cached file is: address, size, checksum, and the version that the server names."""
        said = self._said()
        return Origin(self.url, self.path.stat().st_size, checksum(self.path), said.get("etag") or said.get("modified"))

    def size(self) -> int | None:
        """Bytes that the server says it has, asked for without fetching them; None where it does not say."""
        with suppress(_TryAgainError), self._connection() as client:
            reply = self._send(client, "HEAD", {})
            length = reply.headers.get("content-length")
            return int(length) if reply.is_success and length else None
        return None

    @property
    def _partial(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part")

    @property
    def _partial_size(self) -> int:
        return self._partial.stat().st_size if self._partial.exists() else 0

    def _said(self, path: Path | None = None) -> dict[str, Any]:
        note = (path or self.path).with_name(f"{(path or self.path).name}.json")
        return dict(json.loads(note.read_text())) if note.exists() else {}

    def _note(self, path: Path, headers: Mapping[str, str]) -> dict[str, Any]:
        said = {"url": self.url, "etag": headers.get("etag"), "modified": headers.get("last-modified")}
        write_whole(path.with_name(f"{path.name}.json"), json.dumps(said, indent=2))
        return said

    @contextmanager
    def _connection(self) -> "Iterator[httpx.Client]":
        import httpx

        with httpx.Client(timeout=self.patience.stall, follow_redirects=True) as client:
            yield client

    def _send(self, client: "httpx.Client", method: str, headers: Mapping[str, str]) -> "httpx.Response":
        import httpx

        request = client.build_request(method, self.url, headers={"accept-encoding": "identity", **headers})
        try:
            return client.send(request, stream=method == "GET")
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise _TryAgainError(f"no answer ({type(error).__name__}: {error})") from error

    def _attempt(self) -> Path:
        with self._connection() as client:
            headers, have = self._conditions()
            reply = self._send(client, "GET", headers)
            try:
                if reply.status_code == 304:
                    return self.path
                if reply.status_code == 416:  # the part is as long as the file, or the file is another one
                    self._partial.unlink(missing_ok=True)
                    raise _TryAgainError("the part that was kept does not fit")
                self._refuse_status(reply)
                self._receive(reply, have if reply.status_code == 206 else 0)
            finally:
                reply.close()
        return self._accept()

    def _conditions(self) -> tuple[dict[str, str], int]:
        """Headers that ask for what is missing of the same version, or for nothing if the file has not changed."""
        part, whole = self._said(self._partial), self._said()
        have = self._partial_size
        mark = part.get("etag") if not str(part.get("etag")).startswith("W/") else None
        mark = mark or part.get("modified")
        if have and mark:
            return {"range": f"bytes={have}-", "if-range": mark}, have
        if self.path.exists() and whole.get("etag"):
            return {"if-none-match": whole["etag"]}, 0
        if self.path.exists() and whole.get("modified"):
            return {"if-modified-since": whole["modified"]}, 0
        return {}, 0

    def _refuse_status(self, reply: "httpx.Response") -> None:
        if reply.status_code in (408, 425, 429) or reply.status_code >= 500:
            raise _TryAgainError(f"the server answered {reply.status_code} {reply.reason_phrase}")
        if not reply.is_success:
            raise InputRefusedError(
                f"source: {self.url}: the server answered {reply.status_code} {reply.reason_phrase}. "
                "Check the address, and whether it asks for a login."
            )

    def _receive(self, reply: "httpx.Response", have: int) -> None:
        import httpx

        before = self._said(self._partial)
        if have and before.get("etag") and reply.headers.get("etag") not in (None, before["etag"]):
            self._partial.unlink()
            raise _TryAgainError("the file changed between two requests")
        self._note(self._partial, reply.headers)
        length = reply.headers.get("content-length")
        expected = None if length is None else have + int(length)
        try:
            with self._partial.open("ab" if have else "wb") as handle:
                for piece in reply.iter_raw():
                    handle.write(piece)
        except httpx.TransportError as error:
            raise _TryAgainError(f"the connection broke ({type(error).__name__}: {error})") from error
        if expected is not None and self._partial_size != expected:
            raise _TryAgainError(f"{self._partial_size} of {expected} bytes came")

    def _accept(self) -> Path:
        if self.is_data:
            with self._partial.open("rb") as handle:
                head = handle.read(64)
            try:
                kind_of_bytes(head, self.url)
            except InputRefusedError:
                self._partial.unlink()
                raise
        note = self._partial.with_name(f"{self._partial.name}.json")
        self._partial.replace(self.path)
        note.replace(self.path.with_name(f"{self.path.name}.json"))
        return self.path


class _TryAgainError(Exception):
    """What may go better the next time."""
