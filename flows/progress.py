"""How work shows: bars on a terminal, plain lines in a log, JSON lines for machines. Results go to standard output."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

LINES_PER_TASK = 5
"""Plain lines that one task gets between its start and its end."""


@dataclass
class Reporter:
    """Tells a person, a log or a machine what is going on.

    Attributes:
        as_json: One JSON object a line instead of words.
        times: Seconds of each stage that did something, in order.
    """

    as_json: bool = False
    times: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
        self._bars: Progress | None = None
        self._tasks: dict[str, Any] = {}
        self._shown: dict[str, int] = {}

    def say(self, text: str, **facts: Any) -> None:
        """One line of what happens."""
        if self.as_json:
            print(json.dumps({"event": "message", "text": text, **facts}), flush=True)
        else:
            self._console.print(text)

    @contextmanager
    def stage(self, name: str, note: str = "") -> Iterator[None]:
        """Time a stage, with bars for what it reports."""
        start = time.monotonic()
        self.say(f"{name}: {note}" if note else name, stage=name)
        columns = (
            TextColumn("  {task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
            TimeElapsedColumn(),
        )
        live = self._console.is_terminal and not self._console.is_dumb_terminal and not self.as_json
        self._bars = Progress(*columns, console=self._console, transient=True) if live else None
        try:
            with self._bars or _nothing():
                yield
        finally:
            self._bars, self._tasks, self._shown = None, {}, {}
        self.times[name] = time.monotonic() - start
        self.say(f"{name}: done in {self.times[name]:.1f} s", stage=name, seconds=round(self.times[name], 2))

    def update(self, task: str, done: int, total: int, **facts: float) -> None:
        """How far one task of the stage is."""
        text = "  ".join(f"{name} {value:.4g}" for name, value in facts.items())
        if self._bars is not None:
            if task not in self._tasks:
                self._tasks[task] = self._bars.add_task(task, total=total, facts="")
            self._bars.update(self._tasks[task], completed=done, facts=text)
            return
        part = LINES_PER_TASK * done // max(total, 1)
        if self._shown.get(task) != part:
            self._shown[task] = part
            self.say(f"  {task}: {done}/{total}  {text}".rstrip(), task=task, done=done, total=total, **facts)

    def on_event(self, event: dict[str, Any]) -> None:
        """A report that came from a worker."""
        self.update(event["task"], event["done"], event["total"], **event.get("facts", {}))

    def summary(self) -> None:
        """Time of each stage."""
        if self.times:
            total = sum(self.times.values())
            parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.times.items())
            self.say(
                f"stages: {parts}; together {total:.1f} s",
                times={name: round(value, 2) for name, value in self.times.items()},
            )


@contextmanager
def _nothing() -> Iterator[None]:
    sys.stderr.flush()
    yield
