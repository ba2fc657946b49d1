"""What climate data is, and what is asked of it.

``open_archive`` and ``open_ensemble`` read the stores of a workspace as xarray; ``ask`` answers a question from the
forecast that a workspace issues, and ``var`` begins a question in Python. Each is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.answers.compose import var
    from pipeline.answers.issued import ask, explain_question
    from pipeline.archive import open_archive
    from pipeline.ensembles import open_ensemble
    from pipeline.workspace import Workspace

_HOMES = {
    "open_archive": "pipeline.archive",
    "open_ensemble": "pipeline.ensembles",
    "ask": "pipeline.answers.issued",
    "explain_question": "pipeline.answers.issued",
    "var": "pipeline.answers.compose",
    "Workspace": "pipeline.workspace",
}

__all__ = ["Workspace", "ask", "explain_question", "open_archive", "open_ensemble", "var"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'pipeline' has no attribute '{name}'")
