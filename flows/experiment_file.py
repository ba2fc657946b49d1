"""The experiment file: YAML with settings on top of it, and faults told by their place, with a remedy.

Importing this module loads neither torch nor Prefect.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from flows.experiment import Experiment
from pipeline.errors import TercileError
from pipeline.names import nearest


def load_experiment(name: str, *, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment by the name of a ready one, or by the path of a file.

    Args:
        name: A ready experiment's name, or a path.
        overrides: ``key.key=value`` settings, the value read as YAML.

    Raises:
        TercileError: No such experiment, or one that does not hold together; each fault has its place and a remedy.
    """
    text = _text(name)
    try:
        data = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise TercileError(f"{name}: not valid YAML ({error}).") from error
    if not isinstance(data, dict):
        raise TercileError(f"{name}: an experiment is a mapping of keys, see `tercile schema`.")
    for override in overrides:
        _override(data, override)
    try:
        return Experiment.model_validate(data)
    except ValidationError as error:
        raise TercileError(f"{name}: " + "\n".join(_fault(fault) for fault in error.errors())) from error


def ready_experiments() -> dict[str, str]:
    """Names and titles of the experiments that come with the package."""
    folder = files("flows").joinpath("experiments")
    found = {}
    for item in folder.iterdir():
        if item.name.endswith(".yaml"):
            found[item.name.removesuffix(".yaml")] = str(yaml.safe_load(item.read_text()).get("title", ""))
    return dict(sorted(found.items()))


class _Loader(yaml.SafeLoader):
    """Reads as YAML 1.2 does: a date stays text, and the region NO stays Norway."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [rule for rule in rules if not rule[0].endswith((":timestamp", ":bool"))]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), ["t", "f"])


def _text(name: str) -> str:
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") or path.exists():
        if not path.is_file():
            raise TercileError(f"no experiment file {path} (looked from {Path.cwd()}).")
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise TercileError(f"{path} is no experiment: not text in UTF-8.") from error
    ready = ready_experiments()
    if name not in ready:
        raise TercileError(f"no ready experiment '{name}'.{nearest(name, ready)} Or give the path of a YAML file.")
    return files("flows").joinpath("experiments", f"{name}.yaml").read_text()


def _override(data: dict[str, Any], override: str) -> None:
    key, sign, value = override.partition("=")
    if not sign:
        raise TercileError(f"--set {override}: write key=value, as in forecast.members=20.")
    *path, last = key.split(".")
    node = data
    for step in path:
        node = node.setdefault(step, {})
        if not isinstance(node, dict):
            raise TercileError(f"--set {override}: '{step}' has no keys below it.")
    node[last] = yaml.load(value, _Loader)


def _fault(fault: Mapping[str, Any]) -> str:
    place = ".".join(str(step) for step in fault["loc"])
    if fault["type"] == "extra_forbidden":
        key = str(fault["loc"][-1])
        close = difflib.get_close_matches(key, _all_keys(), n=1)
        return (
            f"  {place}: no such key.{f' Did you mean {close[0]!r}?' if close else ''} `tercile schema` lists all keys."
        )
    return f"  {place or 'experiment'}: {fault['msg'].removeprefix('Value error, ')}" + (
        f" (got {fault['input']!r})" if place and not isinstance(fault["input"], dict) else ""
    )


def _all_keys() -> set[str]:
    schema = Experiment.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return {key for part in parts for key in part.get("properties", {})}
