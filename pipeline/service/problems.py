"""Refusals as RFC 9457 problem documents: the same words that the command line prints, and fields for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from pipeline.errors import TercileError
from pipeline.events import QuestionError

MEDIA = "application/problem+json"
STATUS = {"unknown_forecast": 404, "members_incomplete": 409}


class Problem(BaseModel):
    """What was wrong with a request, and what would do."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    text: str
    where: str | None = None
    did_you_mean: str | None = None
    try_: list[str] = Field(default=[], alias="try")


class ServiceError(Exception):
    """A refusal that is not about the question itself."""

    def __init__(self, status: int, code: str, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.code, self.text, self.headers = status, code, text, headers

    def to_dict(self) -> dict[str, Any]:
        """The error as a problem document's members."""
        return {"code": self.code, "text": self.text, "where": None, "did_you_mean": None, "try": []}


def problem(
    status: int, code: str, text: str, *, headers: Mapping[str, str] | None = None, **fields: Any
) -> JSONResponse:
    """A problem document."""
    content = {"type": "about:blank", "title": code.replace("_", " "), "status": status, "detail": text}
    members = {"where": None, "did_you_mean": None, "try": [], **fields}
    return JSONResponse(
        {**content, "code": code, "text": text, **members}, status, dict(headers or {}), media_type=MEDIA
    )


def install(app: FastAPI) -> None:
    """Answer every error of an application with a problem document."""

    @app.exception_handler(QuestionError)
    async def question(_: Request, error: QuestionError) -> JSONResponse:
        return refused(error)

    @app.exception_handler(ServiceError)
    async def service(_: Request, error: ServiceError) -> JSONResponse:
        return problem(error.status, error.code, error.text, headers=error.headers)

    @app.exception_handler(TercileError)
    async def store(_: Request, error: TercileError) -> JSONResponse:
        # The message may name folders of this machine, which are no client's business.
        return problem(503, "not_ready", "This service has no forecast to ask yet, or its stores cannot be read.")

    @app.exception_handler(RequestValidationError)
    async def shape(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem(422, "bad_request", f"{where}: {first['msg']}", where=where)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
        return problem(error.status_code, code, str(error.detail), headers=error.headers)

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> JSONResponse:
        return problem(500, "failed", "The service failed at this request; its log says why.")


def refused(error: QuestionError) -> JSONResponse:
    """The problem document of a question that cannot be answered as it was put."""
    fields = jsonable_encoder(error.to_dict())
    return problem(STATUS.get(error.code, 422), fields.pop("code"), fields.pop("text"), **fields)
