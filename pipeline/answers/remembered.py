"""Results that a workspace remembers: small JSON files, written whole, named by a hash of all that they depend on."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.workspace import Workspace, write_whole

Result = dict[str, Any]

MOST_UNKEPT = 512
_unkept: dict[Path, Result] = {}
"""What a disk that is read-only or full did not take: remembered by this process alone, the oldest makes room."""


def recall(workspace: Workspace, kind: str, key: Mapping[str, Any]) -> Result | None:
    """The result that was kept under this key, or None.

    Args:
        workspace: Where.
        kind: A name for results of one kind, the folder below ``cache``.
        key: All that the result depends on, as plain data.
    """
    path = _path(workspace, kind, key)
    return dict(json.loads(path.read_text())) if path.exists() else _unkept.get(path)


def remember(workspace: Workspace, kind: str, key: Mapping[str, Any], compute: Callable[[], Result]) -> Result:
    """The result that was kept under this key, or a new one, which is then kept; by this process alone if need be."""
    held = recall(workspace, kind, key)
    if held is None:
        held, path = compute(), _path(workspace, kind, key)
        try:
            write_whole(path, json.dumps(held))
        except OSError:  # whoever asks may not be who runs: an answer needs nothing but to read
            while len(_unkept) >= MOST_UNKEPT:
                _unkept.pop(next(iter(_unkept)), None)
            _unkept[path] = held
    return held


def _path(workspace: Workspace, kind: str, key: Mapping[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    return workspace.root / "cache" / kind / f"{digest}.json"
