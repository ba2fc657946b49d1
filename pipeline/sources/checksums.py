"""Checksums of local files, remembered by name, size and time of change, so that a large archive is read once."""

import hashlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from pipeline.sources.base import Origin


def cache_folder() -> Path:
    """Folder for downloads and checksums: ``TERCILE_CACHE``, or ``tercile`` in the user's folder of caches."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("TERCILE_CACHE") or Path(base) / "tercile")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def file_origin(path: Path, *, name: str | None = None, version: str | None = None) -> Origin:
    """Origin of one local file; a Zarr store is its consolidated metadata and the time that anything in it changed."""
    name = name or str(path)
    if path.is_file():
        return Origin(name, path.stat().st_size, checksum(path), version)
    names = ("zarr.json", ".zmetadata", ".zgroup")
    target = next((path / one for one in names if (path / one).exists()), None)
    if target is None:
        return Origin(name, 0, hashlib.sha256(b"").hexdigest(), version)
    changed = max((item.stat().st_mtime_ns for item in path.rglob("*")), default=0)
    return Origin(name, target.stat().st_size, checksum(target), version or str(changed))


def checksum(path: Path) -> str:
    """SHA-256 of a file; one that has kept its size and time of change since it was last asked is not read again."""
    state = path.stat()
    key = (str(path.resolve()), state.st_size, state.st_mtime_ns, state.st_ino)
    with closing(sqlite3.connect(cache_folder() / "checksums.sqlite", timeout=60)) as known, known:
        known.execute(
            "CREATE TABLE IF NOT EXISTS sums (path TEXT PRIMARY KEY, size INT, changed INT, node INT, sum TEXT)"
        )
        row = known.execute("SELECT size, changed, node, sum FROM sums WHERE path = ?", key[:1]).fetchone()
        if row is not None and tuple(row[:3]) == key[1:]:
            return str(row[3])
        with path.open("rb") as handle:
            found = hashlib.file_digest(handle, "sha256").hexdigest()
        known.execute("REPLACE INTO sums VALUES (?, ?, ?, ?, ?)", (*key, found))
    return found
