"""Work that no client should wait for: one at a time, with its progress, and its result kept for a while."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from fastapi.responses import Response

from pipeline.events import QuestionError
from pipeline.service.problems import ServiceError

log = logging.getLogger(__name__)

Work = Callable[[Callable[[float], None]], Response]

MOST = 8


@dataclass
class Job:
    """One piece of work: ``running``, ``done`` or ``failed``."""

    id: str
    state: str = "running"
    progress: float = 0.0
    result: Response | None = None
    text: str = ""

    def told(self) -> dict[str, Any]:
        """Where it stands, for clients."""
        found = {"id": self.id, "state": self.state, "progress": round(self.progress, 3)}
        if self.text:
            found["text"] = self.text
        return found | ({"result": f"/v1/jobs/{self.id}/result"} if self.state == "done" else {})


class Jobs:
    """The last few jobs of a service; the same work is done once."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="job")
        self.are_closed = False

    def start(self, name: str, work: Work) -> Job:
        """Begin, unless the same is there already.

        Raises:
            ServiceError: As many as are kept still wait for their turn.
        """
        if name in self._jobs and self._jobs[name].state != "failed":
            return self._jobs[name]
        if sum(job.state == "running" for job in self._jobs.values()) >= MOST:
            raise ServiceError(503, "busy", "Too many jobs at once; ask again.", {"Retry-After": "10"})
        job = self._jobs[name] = Job(name)
        while len(self._jobs) > MOST:
            self._jobs.pop(next(each for each, old in self._jobs.items() if old.state != "running"))
        self._worker.submit(self._run, job, work)
        return job

    def find(self, name: str) -> Job:
        """A job by its id.

        Raises:
            ServiceError: There is none, or it was long ago.
        """
        if name not in self._jobs:
            raise ServiceError(404, "unknown_job", "No such job; ask the question again.")
        return self._jobs[name]

    def result(self, name: str) -> Response:
        """What a job made.

        Raises:
            ServiceError: It is not done.
        """
        job = self.find(name)
        if job.result is None:
            raise ServiceError(
                409, "not_done", f"Job {name} is {job.state}; its progress is {100 * job.progress:.0f} %."
            )
        return job.result

    def close(self) -> None:
        """Let the worker go; what it still works on fails, which is no news."""
        self.are_closed = True
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _run(self, job: Job, work: Work) -> None:
        def progress(share: float) -> None:
            job.progress = share

        try:
            job.result = work(progress)
            job.state, job.progress = "done", 1.0
        except (ServiceError, QuestionError) as error:
            job.state, job.text = "failed", str(error)
        except Exception:  # its message may name folders of this machine, which are no client's business
            job.state, job.text = "failed", "The service failed at this job; its log says why."
            if not self.are_closed:
                log.exception("job %s failed", job.id)
