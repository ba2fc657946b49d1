"""Skill after calibration on real outlooks, by the whole road: the tables of calibrated members in ``docs/models.md``.

    python -m tests.benchmarks.calibrated DATA [--workspaces workspaces] [--into docs/models.md]

with the folder of the development data. The families that fit in seconds, and for daily data a pool with both networks
that learns its weights, are trained, hindcast, calibrated and verified as ``tercile run`` does it for anybody; what is
up to date in a workspace is not done again.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import yaml

from pipeline.reporting.scoreboard import read_scores
from tests.benchmarks.scorecards import table
from tests.benchmarks.skill import OUTLOOKS, replace_table

COMMON = {
    "climatology": {"kind": "climatology"},
    "persistence": {"kind": "damped_persistence"},
    "lim": {"kind": "linear_inverse"},
}
POOLED = ("diffusion", "autoregressive", "direct_ridge")
OWN = {
    "daily": {
        "models": {
            "var": {"kind": "vector_autoregressive"},
            "ridge": {"kind": "direct_ridge"},
            "pool": {"kind": "pool", "models": [{"kind": kind} for kind in POOLED]},
        },
        "init_times": {"first": "2007-01-01", "last": "2008-12-20", "every": 6},
    },
    "monthly": {
        "models": {"ridge": {"kind": "direct_ridge", "leads": 12}},
        "init_times": {"first": "2000-01-01", "last": "2005-01-01", "every": 1},
    },
}


def experiment(name: str, data: Path) -> str:
    """An outlook of ``tests.benchmarks.skill`` as an experiment, YAML."""
    outlook, own = OUTLOOKS[name], OWN[name]
    (first, last), (begin, end) = outlook.train, outlook.test
    content = {
        "name": name,
        "title": outlook.title,
        "sources": {"record": {"kind": "files", "paths": [str((data / outlook.file).resolve())]}},
        "variables": [outlook.variable],
        "split": {"train": [first, last], "validate": [last + 1, begin - 1], "test": [begin, end]},
        "reference": [first, last],
        "models": {**COMMON, **own["models"]},
        "forecast": {
            "model": "best",
            "init_times": own["init_times"],
            "leads": outlook.leads,
            "members": 50,
            "seed": 1,
        },
        "verify": {"reference": "climatology"},
        "cluster": {"kind": "threads", "workers": 1, "torch_threads": 1},
    }
    return yaml.safe_dump(content, sort_keys=False)


def main() -> None:
    """Run, read, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tables", nargs="+", choices=OUTLOOKS, default=list(OUTLOOKS))
    parser.add_argument("--workspaces", type=Path, default=Path("workspaces"))
    parser.add_argument("--into", type=Path)
    options = parser.parse_args()
    options.workspaces.mkdir(parents=True, exist_ok=True)
    for name in options.tables:
        file, folder = options.workspaces / f"{name}.yaml", options.workspaces / name
        file.write_text(experiment(name, options.data))
        subprocess.run([sys.executable, "-m", "flows.cli", "run", str(file), "--workspace", str(folder)], check=True)
        card = json.loads((folder / "reports" / "scorecard.json").read_text())
        text = table([score for score in read_scores(card["calibrated"]) if score.cases])
        print(text)
        if options.into:
            replace_table(options.into, f"calibrated {name}", text)


if __name__ == "__main__":
    main()
