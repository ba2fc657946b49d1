"""The desk behind the service: answers from the last commit, a few at a time, and skill measured meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

from fastapi.responses import Response

from pipeline.answers.answer import Answer
from pipeline.answers.freshness import overdue
from pipeline.answers.issued import Issued, Skill, open_issued
from pipeline.errors import TercileError
from pipeline.events import question_id
from pipeline.events.tree import Question, model_references
from pipeline.service.jobs import Jobs
from pipeline.service.limits import Limits
from pipeline.service.problems import ServiceError
from pipeline.workspace import Workspace

Result = TypeVar("Result")

log = logging.getLogger(__name__)

MOST_KEPT, LARGEST_KEPT = 512, 200_000  # responses, and bytes of one


class Desk:
    """Answers questions for the service.

    Args:
        workspace: Whose issued forecast is asked.
        limits: How much at once.
    """

    def __init__(self, workspace: Workspace, limits: Limits) -> None:
        self.workspace, self.limits = workspace, limits
        self._workers = ThreadPoolExecutor(limits.at_once, thread_name_prefix="answer")
        self._replayer = ThreadPoolExecutor(1, thread_name_prefix="replay")
        self._replaying: set[str] = set()
        self._waiting = 0
        self.jobs = Jobs()
        self.kept: dict[str, Response] = {}

    async def run(self, work: Callable[[], Result]) -> Result:
        """Work in a thread, when it is its turn.

        Raises:
            ServiceError: Too many wait already, or it takes too long.
        """
        if self._waiting >= self.limits.waiting:
            raise ServiceError(503, "busy", "Too many questions at once; ask again.", {"Retry-After": "2"})
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._workers, work)
        future.add_done_callback(self._one_less)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self.limits.seconds)
        except TimeoutError:
            text = f"This takes more than {self.limits.seconds:g} s. Ask for a smaller region or a shorter window."
            raise ServiceError(503, "too_slow", text, {"Retry-After": "10"}) from None

    def issued(self, as_of: datetime | None = None) -> Issued:
        """What is issued now, at the last commit, or was at a time."""
        try:
            return open_issued(self.workspace, as_of=as_of)
        except TercileError as error:
            if as_of is None:
                raise
            raise ServiceError(
                404, "unknown_forecast", f"Nothing had been issued as of {as_of.isoformat()}."
            ) from error

    def answer(
        self, question: Question, *, level: float, partial: bool, skill: Skill, as_of: datetime | None = None
    ) -> Answer:
        """An answer; where its skill is pending, the replay begins beside it."""
        return self._answered(self.issued(as_of), question, level=level, partial=partial, skill=skill)

    def answer_both(
        self, first: Question, second: Question, *, as_of: datetime | None, **settings: Any
    ) -> tuple[Answer, Answer]:
        """Two answers of one state of the stores."""
        issued = self.issued(as_of)
        return self._answered(issued, first, **settings), self._answered(issued, second, **settings)

    def _answered(self, issued: Issued, question: Question, *, level: float, partial: bool, skill: Skill) -> Answer:
        why = self.too_large(issued, question, skill)
        if why:
            raise ServiceError(413, "too_big", f"{why} Ask with GET, which starts a job.")
        found = issued.ask(question, level=level, partial=partial, skill=skill)
        if found.to_json()["skill"].get("verdict") == "pending":
            self._replay(issued, question, level, partial)
        return found

    def tag(self, *questions: Question, as_of: datetime | None, **settings: Any) -> str:
        """An entity tag of an answer, or of two side by side: changes when anything that they depend on does."""
        asked, issued = [question_id(question) for question in questions], self.issued(as_of)
        key = json.dumps([asked, issued.snapshots, overdue(issued.ensemble), settings], sort_keys=True)
        return f'W/"{hashlib.sha256(key.encode()).hexdigest()[:32]}"'

    def keep(self, tag: str, response: Response) -> None:
        """Keep a small response for whoever asks the same until something is committed; the oldest makes room."""
        if len(response.body) > LARGEST_KEPT:
            return
        while len(self.kept) >= MOST_KEPT:
            self.kept.pop(next(iter(self.kept)), None)
        self.kept[tag] = response

    def close(self) -> None:
        """Let the workers go; what they still work on fails, which is no news."""
        self.jobs.close()
        for pool in (self._workers, self._replayer):
            pool.shutdown(wait=False, cancel_futures=True)

    def _one_less(self, _: object) -> None:
        self._waiting -= 1

    def too_large(self, issued: Issued, question: Question, skill: Skill) -> str | None:
        """Why a question is no answer to wait for, if so; only maps read more than their own cells."""
        if question.ask != "map":
            return None
        sizes = issued.ensemble.sizes
        each = sizes["latitude"] * sizes["longitude"] * sizes["lead_time"] * sizes["member"]
        compared = issued.hindcasts if model_references(*question.parts) else None
        starts = 0 if compared is None else compared.sizes["init_time"] * (1 + len(issued.refits))
        read = 4 * each * (max(1, len(question.scenarios)) + starts)
        text = f"This map reads {read / 1e9:.1f} GB: about {read / self.limits.read_rate:.0f} s."
        if read > self.limits.read_job:
            raise ServiceError(413, "too_big", f"{text} Ask for it with `tercile ask`.")
        if skill == "everywhere":
            return "Each cell of this map is replayed on past forecasts."
        return text if read > self.limits.read else None

    def _replay(self, issued: Issued, question: Question, level: float, partial: bool) -> None:
        key = f"{question_id(question)} {level} {partial} {issued.snapshots}"
        if key in self._replaying or len(self._replaying) >= self.limits.waiting:
            return
        self._replaying.add(key)

        def work() -> None:
            try:
                issued.ask(question, level=level, partial=partial, skill="now")
            except TercileError as error:
                log.info("no skill of %s: %s", question_id(question), error)
            except Exception:
                if not self.jobs.are_closed:
                    log.exception("the replay of %s failed", question_id(question))
            finally:
                self._replaying.discard(key)

        self._replayer.submit(work)
