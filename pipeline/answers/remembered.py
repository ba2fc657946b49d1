"""Results that a workspace remembers: small JSON files, written whole, named by a hash of all that they depend on."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.workspace import Workspace, write_whole

Result = dict[str, Any]


def recall(workspace: Workspace, kind: str, key: Mapping[str, Any]) -> Result | None:
    """The result that was kept under this key, or None.

    Args:
        workspace: Where.
        kind: A name for results of one kind, the folder below ``cache``.
        key: All that the result depends on, as plain data.
    """
    path = _path(workspace, kind, key)
    return dict(json.loads(path.read_text())) if path.exists() else None


def remember(workspace: Workspace, kind: str, key: Mapping[str, Any], compute: Callable[[], Result]) -> Result:
    """The result that was kept under this key, or a new one, which is then kept."""
    held = recall(workspace, kind, key)
    if held is None:
        held = compute()
        write_whole(_path(workspace, kind, key), json.dumps(held))
    return held


def _path(workspace: Workspace, kind: str, key: Mapping[str, Any]) -> Any:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    return workspace.root / "cache" / kind / f"{digest}.json"
