"""The service: ``/v1/ask``, ``/v1/compare``, ``/v1/view`` and the other routes of ``/v1``, and the page at ``/``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from importlib.metadata import version
from importlib.resources import files
from typing import Annotated, Any, Literal

from fastapi import Body, Depends, FastAPI, Header, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from pipeline.answers.answer import LEVEL, Answer
from pipeline.answers.issued import Skill
from pipeline.answers.views import exceedance, map_question, plume
from pipeline.events import QuestionError, from_steps, parse, question_text, to_yaml
from pipeline.events.errors import nearest
from pipeline.events.tree import Question
from pipeline.places.regions import ar6_regions, country_names, index_regions
from pipeline.service.desk import Desk
from pipeline.service.formats import MEDIA, SIDE_BY_SIDE, Format, dumped, wanted, written, written_side_by_side
from pipeline.service.guard import Guard
from pipeline.service.limits import Limits
from pipeline.service.problems import MEDIA as PROBLEM
from pipeline.service.problems import Problem, ServiceError, install
from pipeline.workspace import Workspace

SCRIPTS = ("main.js", "card.js", "charts.js", "layers.js", "map.js", "members.js", "sentence.js", "sides.js")
PAGE = {
    "/": "explorer/index.html",
    "/explorer/style.css": "explorer/style.css",
    "/explorer/coastline.json": "coastline.json",
    **{f"/explorer/{name}": f"explorer/{name}" for name in SCRIPTS},
}
TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "json": "application/json"}

QuestionText = Annotated[
    str,
    Query(
        max_length=20_000,
        description="A question in the event language.",
        examples=["prob tas.mean(over=globe).mean(time=lead 1) > p66"],
    ),
]
OtherText = Annotated[
    str,
    Query(
        alias="with",
        max_length=20_000,
        description="The question that it is compared with.",
        examples=["prob tas.mean(over=nino34).mean(time=lead 1) > p66"],
    ),
]
Level = Annotated[float, Query(ge=50, le=99, description="Level of the intervals, %.")]
Partial = Annotated[bool, Query(description="The part of a region that lies on the grid will do.")]
Waits = Annotated[
    Skill,
    Query(description="`pending` does not wait for it, `now` does, `everywhere` judges each cell of a map."),
]
AsOf = Annotated[
    datetime | None, Query(description="What was committed at that time, as `provenance.as_of` of an answer says it.")
]


async def _settings(
    level: Level = 90.0, partial: Partial = False, skill: Waits = "pending", as_of: AsOf = None
) -> dict[str, Any]:
    """How to answer, as the desk has it."""
    return {"level": level / 100, "partial": partial, "skill": skill, "as_of": as_of}


Settings = Annotated[dict[str, Any], Depends(_settings)]
Form = Annotated[Format | None, Query(alias="format", description="Overrides the Accept header.")]
PairForm = Annotated[
    Literal["json", "csv", "png", "svg"] | None, Query(alias="format", description="Overrides the Accept header.")
]


async def _only_known(request: Request) -> None:
    """Refuse a parameter that the route does not have: without it the answer would be to another question.

    Raises:
        QuestionError: ``bad_request``.
    """
    routes = request.app.openapi()["paths"].get(request.scope["route"].path)
    if routes is None:  # the page, whose address is read in the browser
        return
    described = routes[request.method.lower()].get("parameters", [])
    known = [each["name"] for each in described if each["in"] == "query"]
    for name in request.query_params:
        if name not in known:
            there = f"there are {', '.join(known)}" if known else "this route takes none"
            text = f"No parameter '{name:.40}'; {there}. Scenario, forecast and condition stand in the question itself."
            raise QuestionError("bad_request", text, where=f"query.{name:.40}", did_you_mean=nearest(name, known))


class Asked(BaseModel):
    """A question by its steps, or as text, with how to answer it."""

    model_config = ConfigDict(extra="forbid")

    question: dict[str, Any] | str = Field(description="Steps as in YAML, or one string in the text form.")
    level: float = Field(90.0, ge=50, le=99)
    partial: bool = False
    skill: Skill = "pending"
    as_of: datetime | None = None


def create_app(workspace: Workspace, *, token: str | None = None, limits: Limits | None = None) -> FastAPI:
    """The service of one workspace.

    Args:
        workspace: Whose issued forecast is asked.
        token: What clients must show; None for a service that this machine alone can reach.
        limits: Bounds of requests.
    """
    bounds = limits or Limits()
    desk = Desk(workspace, bounds)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        desk.close()

    app = FastAPI(
        title="tercile",
        description="How likely is it? Questions to an ensemble of possible climate futures.",
        version=version("tercile"),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        dependencies=[Depends(_only_known)],
        responses={
            code: {"model": Problem, "content": {PROBLEM: {}}, "description": text}
            for code, text in {
                401: "A token is needed.",
                403: "Not from this machine.",
                404: "No such forecast or job.",
                406: "No such form of an answer.",
                409: "The run, or the job, still goes on.",
                413: "Too large.",
                422: "A question that cannot be answered as it was put.",
                503: "Busy, or nothing issued yet.",
            }.items()
        },
    )
    install(app)
    app.add_middleware(Guard, token=token, body=bounds.body, open_paths=(*PAGE, "/healthz"))
    _add_page(app)
    _add_questions(app, desk)
    return app


def _add_questions(app: FastAPI, desk: Desk) -> None:
    """The routes that ask."""

    async def answered(request: Request, question: Question, form: Format, settings: dict[str, Any]) -> Response:
        tag = await desk.run(lambda: desk.tag(question, form=form, **settings))
        known = _known(desk, request, tag)
        if known is not None:
            return known
        why = await desk.run(lambda: desk.too_large(desk.issued(settings["as_of"]), question, settings["skill"]))
        if why:
            return _started(desk, question, form, settings, tag=tag, why=why)

        def work() -> tuple[Response, bool]:
            answer = desk.answer(question, **settings)
            return written(answer, form, cells=desk.limits.cells), _is_pending(answer)

        return _labelled(desk, *await desk.run(work), tag=tag)

    unchanged: dict[int | str, dict[str, Any]] = {304: {"description": "Not changed."}}
    forms: dict[int | str, dict[str, Any]] = {
        200: {"description": "The answer.", "content": {media: {} for media in MEDIA.values()}},
        202: {"description": "A job has begun; `Location` says where it stands."},
        **unchanged,
    }
    pair_forms: dict[int | str, dict[str, Any]] = {
        200: {"description": "Both answers.", "content": {MEDIA[form]: {} for form in SIDE_BY_SIDE}},
        **unchanged,
    }

    @app.get("/v1/ask", summary="Answer a question", responses=forms, response_class=Response)
    async def ask(
        request: Request,
        q: QuestionText,
        settings: Settings,
        form: Form = None,
        accept: Annotated[str, Header()] = "*/*",
    ) -> Response:
        return await answered(request, parse(q), wanted(accept, form), settings)

    @app.post("/v1/ask", summary="Answer a question, or a list of them", response_class=Response)
    async def ask_steps(asked: Annotated[Asked | list[Asked], Body()]) -> Response:
        batch = asked if isinstance(asked, list) else [asked]
        if len(batch) > desk.limits.batch:
            raise ServiceError(413, "too_big", f"One request asks at most {desk.limits.batch} questions.")

        def work() -> list[dict[str, Any]]:
            return [_one(desk, each, is_batch=isinstance(asked, list)) for each in batch]

        found = await desk.run(work)
        return Response(dumped(found if isinstance(asked, list) else found[0]), media_type="application/json")

    @app.get(
        "/v1/compare",
        summary="Two questions side by side, with difference and ratio",
        responses=pair_forms,
        response_class=Response,
    )
    async def compare(
        request: Request,
        q: QuestionText,
        other: OtherText,
        settings: Settings,
        form: PairForm = None,
        accept: Annotated[str, Header()] = "*/*",
    ) -> Response:
        pair, wish = (parse(q), parse(other)), wanted(accept, form, among=SIDE_BY_SIDE)
        tag = await desk.run(lambda: desk.tag(*pair, form=wish, **settings))
        known = _known(desk, request, tag)
        if known is not None:
            return known

        def work() -> tuple[Response, bool]:
            both = desk.answer_both(*pair, **settings)
            return written_side_by_side(*both, wish), any(map(_is_pending, both))

        return _labelled(desk, *await desk.run(work), tag=tag)

    @app.get("/v1/explain", summary="Restate a question; no member is read", response_class=Response)
    async def explain(q: QuestionText, partial: Partial = False, as_of: AsOf = None) -> Response:
        return await _restated(desk, parse(q), partial=partial, as_of=as_of)

    @app.post("/v1/explain", summary="Restate a question; no member is read", response_class=Response)
    async def explain_steps(asked: Asked) -> Response:
        return await _restated(desk, from_steps(asked.question), partial=asked.partial, as_of=asked.as_of)

    @app.get("/v1/view", summary="What is drawn beside an answer", response_class=Response)
    async def view(q: QuestionText, partial: Partial = False, as_of: AsOf = None) -> Response:
        question = parse(q)

        def work() -> str:
            answer = desk.answer(question, level=LEVEL, partial=partial, skill="pending", as_of=as_of)
            event = answer.members.get("event")
            whole = None if event is None else event.transpose(..., "member")
            return dumped(
                {
                    "exceedance": exceedance(answer.inquiry),
                    "plume": plume(answer.inquiry),
                    "event": None if whole is None or "sample" in whole.dims else whole.values.tolist(),
                }
            )

        return Response(await desk.run(work), media_type="application/json")

    @app.get("/v1/jobs/{job}", summary="Where a job stands", response_class=Response)
    async def job_state(job: str) -> Response:
        return Response(dumped(desk.jobs.find(job).told()), media_type="application/json")

    @app.get("/v1/jobs/{job}/result", summary="What a job made", response_class=Response)
    async def job_result(job: str) -> Response:
        return desk.jobs.result(job)

    @app.get("/v1/catalog", summary="What can be asked about", response_class=Response)
    async def catalog() -> Response:
        return Response(dumped(await desk.run(lambda: _catalog(desk))), media_type="application/json")


def _started(desk: Desk, question: Question, form: Format, settings: dict[str, Any], *, tag: str, why: str) -> Response:
    """The job that answers a question which takes too long to wait for."""

    def work(progress: Callable[[float], None]) -> Response:
        how = {name: value for name, value in settings.items() if name != "as_of"}
        answer = desk.issued(settings["as_of"]).ask(question, **how, progress=progress)
        return written(answer, form, cells=desk.limits.cells)

    job = desk.jobs.start(tag.strip('W/"')[:12], work)
    content = {"code": "too_big", "text": f"{why} Job {job.id} started.", "job": job.told()}
    return Response(
        dumped(content), status_code=202, media_type="application/json", headers={"Location": f"/v1/jobs/{job.id}"}
    )


def _add_page(app: FastAPI) -> None:
    """The page and its parts, which hold no data."""
    for path, name in PAGE.items():
        content = files("pipeline").joinpath(f"data/{name}").read_bytes()
        media = TYPES[name.rsplit(".", 1)[1]]

        def part(content: bytes = content, media: str = media) -> Response:
            return Response(content, media_type=media, headers={"Cache-Control": "no-cache"})

        app.add_api_route(path, part, include_in_schema=False)

    @app.get("/healthz", summary="Whether the service is up")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}


def _one(desk: Desk, asked: Asked, *, is_batch: bool) -> dict[str, Any]:
    """The answer to one question of a body; in a batch a refusal is a row like any other."""
    try:
        question = from_steps(asked.question)
        how = asked.model_dump(include={"partial", "skill", "as_of"})
        return desk.answer(question, level=asked.level / 100, **how).to_json()
    except (QuestionError, ServiceError) as error:
        if not is_batch:
            raise
        return {"problem": error.to_dict()}


async def _restated(desk: Desk, question: Question, *, partial: bool, as_of: datetime | None) -> Response:
    found = await desk.run(lambda: desk.issued(as_of).explain(question, partial=partial))
    wide = map_question(question)
    found["related"] = {"map": None if wide is None else question_text(wide)}
    found["yaml"] = to_yaml(question)
    return Response(dumped(found), media_type="application/json")


def _catalog(desk: Desk) -> dict[str, Any]:
    """Variables, regions, scenarios and times of the issued forecast."""
    issued = desk.issued()
    ensemble = issued.ensemble
    labels = ensemble["valid_time"].isel(init_time=-1).values
    return {
        "title": issued.issue["title"],
        "experiment": issued.issue["experiment"],
        "kind": issued.catalogue.kind,
        "variables": [vars(info) for info in issued.catalogue.variables.values()],
        "regions": {
            "own": {name: area.title for name, area in issued.catalogue.regions.items()},
            "index": {name: area.title for name, area in index_regions().items()},
            "ar6": {name: area.title for name, area in ar6_regions().items()},
            "countries": {name: area.title for name, area in country_names().items() if not name.startswith("iso")},
        },
        "scenarios": [str(name) for name in ensemble["scenario"].values] if "scenario" in ensemble.dims else [],
        "forecasts": [f"fc-{str(start)[:10]}" for start in ensemble["init_time"].values],
        "lead": {
            "units": ensemble["lead_time"].attrs.get("units"),
            "count": ensemble.sizes["lead_time"],
            "labels": [str(label)[:10] for label in labels],
        },
        "members": ensemble.sizes["member"],
        "grid": {name: [float(ensemble[name][0]), float(ensemble[name][-1])] for name in ("latitude", "longitude")},
        "events": issued.issue["events"],
        "reference": issued.catalogue.reference,
        "calibration": dict(issued.catalogue.calibration),
        "attribution": issued.issue["attributions"],
        "snapshot": issued.snapshots["ensembles"],
        "as_of": issued.catalogue.provenance["as_of"],
    }


def _known(desk: Desk, request: Request, tag: str) -> Response | None:
    """What needs no work: that the client has it already, or what the desk has kept."""
    if _matches(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers={"Vary": "Accept", "ETag": tag, "Cache-Control": "no-cache"})
    return desk.kept.get(tag)


def _labelled(desk: Desk, response: Response, is_pending: bool, *, tag: str) -> Response:
    """A response with its tag, and kept, unless the skill in it is still pending."""
    response.headers["Vary"] = "Accept"
    if not is_pending:
        response.headers.update({"ETag": tag, "Cache-Control": "no-cache"})
        desk.keep(tag, response)
    return response


def _is_pending(answer: Answer) -> bool:
    return bool(answer.to_json()["skill"].get("verdict") == "pending")


def _matches(header: str, tag: str) -> bool:
    """Whether an ``If-None-Match`` header names this tag, weakly compared."""
    return header.strip() == "*" or tag.removeprefix("W/") in {
        part.strip().removeprefix("W/") for part in header.split(",")
    }
