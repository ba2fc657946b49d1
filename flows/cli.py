"""The command line. Heavy packages are imported by the commands that need them, so that ``--help`` answers at once."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

HELP = """
From gridded climate data to ensembles of possible futures, and to how likely an event is in them.

[bold]tercile run north-america[/]   does everything of a ready experiment that is not yet done
[bold]tercile ask 'prob tas.mean(over=point(40, -105)).mean(time=2050..2059) > record scenario E1'[/]

Exit codes: 0 done · 1 failed · 2 a wrong call, experiment or question\n
3 nothing there · 4 input or answer refused · 5 no service · 130 stopped.
"""

app = typer.Typer(
    help=HELP, no_args_is_help=True, rich_markup_mode="rich", add_completion=False, pretty_exceptions_enable=False
)

Name = Annotated[str, typer.Argument(help="A ready experiment's name (see `tercile experiments`) or a YAML file.")]
Folder = Annotated[
    Path | None,
    typer.Option("--workspace", "-w", help="Folder that holds or gets all results. [default: workspaces/NAME]"),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Override a setting: key.key=value; may be given again.")
]
Json = Annotated[bool, typer.Option("--json", help="JSON lines instead of words.")]


@app.command("run")
def run_command(name: Name, workspace: Folder = None, settings: Settings = None, as_json: Json = False) -> None:
    """Do everything of an experiment that is not yet done, from ingest to report."""
    from flows.plan import STAGES

    _run(name, workspace, settings, as_json, tuple(STAGES))


def _stage(stage: str, help_text: str) -> None:
    @app.command(stage, help=help_text)
    def command(name: Name, workspace: Folder = None, settings: Settings = None, as_json: Json = False) -> None:
        _run(name, workspace, settings, as_json, (stage,))


@app.command("ingest")
def ingest_command(
    name: Name,
    workspace: Folder = None,
    settings: Settings = None,
    as_json: Json = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be fetched and written; works without a network.")
    ] = False,
) -> None:
    """Read the sources, put them through the gates, and bring the archive up to date."""
    if not dry_run:
        _run(name, workspace, settings, as_json, ("ingest",))
        return
    with _clear_errors():
        from flows.experiment_file import load_experiment
        from flows.ingest_plan import plan_ingest

        plans = plan_ingest(load_experiment(name, overrides=settings or ()))
        print(
            json.dumps([plan.to_json() for plan in plans], indent=2)
            if as_json
            else "\n".join(line for plan in plans for line in plan.lines())
        )
        if any(plan.refused for plan in plans):
            raise typer.Exit(4)


@app.command("archive")
def archive_command(
    name: Annotated[str | None, typer.Argument(help="Experiment whose workspace is meant, or its YAML file.")] = None,
    workspace: Folder = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every value again; exit code 4 where one has changed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The whole inventory as JSON.")] = False,
) -> None:
    """Show what the archive holds: variables, time, gaps, ingests, snapshots, sizes."""
    with _clear_errors():
        from pipeline.intake.inventory import take_inventory

        if name is not None and Path(name).is_file():
            from flows.experiment_file import load_experiment

            name = load_experiment(name).name
        found = take_inventory(_workspace(workspace, name), verify=verify)
        print(json.dumps(found.to_json(), indent=2) if as_json else "\n".join(found.lines()))
        if not found.is_sound:
            raise typer.Exit(4)


_stage("train", "Fit the background and every model that has no card for today's settings and data.")
_stage("hindcast", "Refit each model without each part of its training years, and forecast what it has not seen.")
_stage("calibrate", "Learn from the hindcasts how members must be changed before they are asked for probabilities.")
_stage("forecast", "Draw the members that are not yet stored, and name the model that issues.")
_stage("report", "Write reports/index.html, one page that needs no network.")


@app.command("verify")
def verify_command(
    name: Annotated[str | None, typer.Argument(help="As for run; not needed with --compare.")] = None,
    workspace: Folder = None,
    settings: Settings = None,
    as_json: Json = False,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--compare", help="Two verified workspaces: paired differences by model, variable and lead."),
    ] = None,
) -> None:
    """Score every ensemble against what happened: reports/scorecard.json. Or compare two runs."""
    if compare is None:
        if name is None:
            raise typer.BadParameter("give the name of an experiment, or --compare A B.")
        _run(name, workspace, settings, as_json, ("verify",))
        return
    with _clear_errors():
        from flows.compare import show
        from pipeline.judging.comparison import compare_runs
        from pipeline.workspace import Workspace

        found = compare_runs(*[Workspace(folder) for folder in compare])
        print(json.dumps(found, indent=2)) if as_json else show(found)


@app.command("ask")
def ask_command(
    question: Annotated[
        str | None,
        typer.Argument(
            help="For example: prob tas.mean(over=point(40, -105)).mean(time=2050..2059) > 300 K scenario E1"
        ),
    ] = None,
    workspace: Folder = None,
    level: Annotated[float, typer.Option(min=50, max=99, help="Level of the interval, %.")] = 90,
    explain: Annotated[
        bool, typer.Option("--explain", help="Restate the question with everything resolved; reads no member.")
    ] = False,
    variables: Annotated[bool, typer.Option("--variables", help="List what can be asked about.")] = False,
    regions: Annotated[bool, typer.Option("--regions", help="List the regions that have a name.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="A region's part on the grid will do.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Do not wait until its skill is measured.")] = False,
    everywhere: Annotated[bool, typer.Option("--everywhere", help="Measure the skill of each cell of a map.")] = False,
    batch: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="A YAML file of questions by name; `ask:` and `against:` compare two."
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="Another 'prob' question, of another region, forecast or threshold: both headlines, "
            "their difference and ratio with intervals. --json, --csv and --plot hold both."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole answer as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Each member, or each place, as CSV.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the answer into this file, PNG or SVG.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings become exit code 4.")] = False,
) -> None:
    """Answer 'how likely is it that …?' from a stored ensemble, with interval, base rate, skill and provenance."""
    with _clear_errors():
        from flows.asking import Asked, ask_all, list_names, read_batch
        from pipeline.answers.issued import explain_question

        folder = _workspace(workspace, None)
        if variables or regions:
            list_names(folder, variables=variables, regions=regions)
            return
        if (question is None) == (batch is None):
            raise typer.BadParameter("give one question, or --batch FILE.")
        if against is not None and (question is None or explain):
            raise typer.BadParameter(
                "--against takes one question to compare, without --batch (whose entries have `against:`) or --explain."
            )
        if plot is not None and plot.suffix.lower() not in (".png", ".svg"):
            raise typer.BadParameter("--plot draws a file that ends in .png or .svg.")
        if explain and question is not None:
            found = explain_question(folder, question, partial=partial)
            print(json.dumps(found, indent=2, default=str) if as_json else found["reads_as"])
            return
        how: dict[str, Any] = {
            "form": "json" if as_json else "csv" if as_csv else "card",
            "plot": plot,
            "strict": strict,
            "level": level / 100,
            "partial": partial,
            "skill": "pending" if quick else "everywhere" if everywhere else "now",
        }
        questions: Mapping[str, Asked] = read_batch(batch) if batch is not None else {}
        if question is not None:
            questions = {"": question if against is None else (question, against)}
        code = ask_all(folder, questions, **how)
        if code:
            raise typer.Exit(code)


@app.command("serve")
def serve_command(
    workspace: Folder = None,
    host: Annotated[str, typer.Option(help="Address to listen at; any but this machine's own needs a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8360,
    token: Annotated[
        str | None, typer.Option(envvar="TERCILE_TOKEN", help="What clients must show as a bearer token.")
    ] = None,
) -> None:
    """Answer questions over HTTP, with a page to ask them on."""
    with _clear_errors():
        import socket

        import uvicorn

        from pipeline.answers.issued import open_issued
        from pipeline.service import LOOPBACK, create_app

        folder = _workspace(workspace, None)
        open_issued(folder)
        if not token and host not in LOOPBACK:
            print(f"error: {host} can be reached from outside: set TERCILE_TOKEN.", file=sys.stderr)
            raise typer.Exit(2)
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.create_server((host, port), family=family)
        except OSError as error:
            print(f"error: {host}:{port} cannot be listened at ({error}); choose another --port.", file=sys.stderr)
            raise typer.Exit(5) from None
        print(f"tercile: http://{host}:{listener.getsockname()[1]}/", flush=True)
        app = create_app(folder, token=token)
        config = uvicorn.Config(app, log_level="warning", server_header=False, limit_concurrency=512)
        uvicorn.Server(config).run(sockets=[listener])


@app.command("export")
def export_command(
    destination: Annotated[Path, typer.Argument(help="The NetCDF file to write.")],
    workspace: Folder = None,
    model: Annotated[str | None, typer.Option(help="Which model; by default the one that issues.")] = None,
    hindcast: Annotated[bool, typer.Option("--hindcast", help="Its hindcasts instead of its forecasts.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Members as drawn, even where they can be calibrated.")] = False,
) -> None:
    """Write members as one CF NetCDF file."""
    with _clear_errors():
        from pipeline.export import export_members

        kind: Literal["hindcast", "forecast"] = "hindcast" if hindcast else "forecast"
        folder = _workspace(workspace, None)
        print(export_members(folder, destination, model=model, kind=kind, calibrated=False if raw else None))


@app.command("deploy")
def deploy_command(
    name: Name,
    workspace: Folder = None,
    settings: Settings = None,
    cron: Annotated[str | None, typer.Option(help="Another schedule than the experiment's.")] = None,
) -> None:
    """Register the experiment's schedule with the Prefect server of PREFECT_API_URL, and stay to run it."""
    with _clear_errors():
        from flows.experiment_file import load_experiment
        from flows.run import quiet_prefect

        if not os.environ.get("PREFECT_API_URL"):
            print("No Prefect server: start one with `prefect server start` and set PREFECT_API_URL.", file=sys.stderr)
            raise typer.Exit(2)
        experiment = load_experiment(name, overrides=settings or ())
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
        quiet_prefect()
        from flows.deploy import serve

        address = str(Path(name).resolve()) if Path(name).is_file() else name
        serve(
            experiment,
            address,
            _workspace(workspace, experiment.name).root.resolve(),
            overrides=settings or [],
            cron=cron,
        )


@app.command("experiments")
def experiments_command() -> None:
    """The experiments that come with the package."""
    from flows.experiment_file import ready_experiments

    for name, title in ready_experiments().items():
        print(f"{name:20} {title}")


@app.command("schema")
def schema_command() -> None:
    """The JSON Schema of an experiment file."""
    from flows.experiment import Experiment

    print(json.dumps(Experiment.model_json_schema(), indent=2))


@app.command("doctor")
def doctor_command(as_json: Json = False) -> None:
    """What is installed, which devices and which Prefect server are seen."""
    from flows.doctor import findings

    found = findings()
    print(json.dumps(found, indent=2) if as_json else "\n".join(f"{name:20} {value}" for name, value in found.items()))


def main() -> None:
    """Entry point of the command ``tercile``."""
    if isinstance(sys.stdout, TextIOWrapper):  # what an older encoding lacks is spelt out, as on standard error
        sys.stdout.reconfigure(errors="backslashreplace")
    app()


def _run(name: str, workspace: Path | None, settings: list[str] | None, as_json: bool, stages: tuple[str, ...]) -> None:
    with _clear_errors():
        from flows.experiment_file import load_experiment
        from flows.interrupts import stop_on_sigterm
        from flows.progress import Reporter
        from flows.run import run

        stop_on_sigterm()
        experiment, reporter = load_experiment(name, overrides=settings or ()), Reporter(as_json=as_json)
        folder = _workspace(workspace, experiment.name)
        done = run(experiment, folder, reporter=reporter, stages=stages)
        reporter.summary()
        if not done:
            one = f"nothing to {stages[0]}"
            reporter.say(f"{experiment.name}: {one if len(stages) == 1 else 'nothing to do, all is up to date'}")
        if "report" in stages:  # what an earlier run answered may not hold any more
            _show_results(experiment, folder, reporter)


def _show_results(experiment: Any, folder: Any, reporter: Any) -> None:
    answers = folder.reports / "answers.json"
    if answers.exists():
        for text in json.loads(answers.read_text())["headlines"]:
            reporter.say(text)
    page = folder.reports / "index.html"
    if page.exists():
        reporter.say(f"report: {page}", report=str(page))


def _workspace(workspace: Path | None, name: str | None) -> Any:
    from pipeline.errors import TercileError
    from pipeline.workspace import Workspace

    if workspace is not None:
        return Workspace(workspace)
    if name is not None:
        return Workspace(Path("workspaces") / name)
    found = sorted(path.parent for path in Path("workspaces").glob("*/workspace.json"))
    if len(found) == 1:
        return Workspace(found[0])
    raise TercileError(
        f"which workspace? Give --workspace; below ./workspaces there is: {', '.join(map(str, found)) or 'none'}."
    )


@contextmanager
def _clear_errors() -> Iterator[None]:
    """One clear message and an exit code for what a user can mend; anything else shows its traceback."""
    from pipeline.errors import InputRefusedError, TercileError

    try:
        yield
    except KeyboardInterrupt:
        _stop()
    except TercileError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 4 if isinstance(error, InputRefusedError) else getattr(error, "exit_code", 2)
        raise typer.Exit(code) from None
    except Exception as error:
        if "KeyboardInterrupt" in str(error):  # pydantic makes an error of its own of one that it meets
            _stop()
        if "No space left on device" in str(error):  # Icechunk has an error of its own for a full disk
            text = "the disk is full. Free some space and run the same command again."
        elif isinstance(error, OSError) and error.filename is not None:
            text = f"{error.filename}: {error.strerror}."
        else:
            raise
        print(f"error: {text}", file=sys.stderr)
        raise typer.Exit(1) from None


def _stop() -> NoReturn:
    print("\nstopped; what was committed stays. Run the same command again to go on.", file=sys.stderr)
    raise typer.Exit(130) from None


if __name__ == "__main__":
    main()
