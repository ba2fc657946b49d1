"""Skill after calibration on real outlooks, by the whole road: the tables of calibrated members in ``docs/models.md``.

    python -m tests.benchmarks.calibrated DATA [--workspaces workspaces] [--into docs/models.md]

with the folder of the development data. The families that fit in seconds, and a pool with networks that learns its
weights, are trained, hindcast, calibrated and verified as ``tercile run`` does it for anybody; what is up to date in a
workspace is not done again. A second table gives the CRPS as drawn and what calibrated members gain over the linear
inverse model.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from pipeline.reporting.scoreboard import Score, read_scores
from tests.benchmarks.scorecards import gain, table
from tests.benchmarks.skill import OUTLOOKS, Outlook, replace_table

COMMON = {
    "climatology": {"kind": "climatology"},
    "persistence": {"kind": "damped_persistence"},
    "lim": {"kind": "linear_inverse"},
}
OWN = {
    "daily": {
        "models": {
            "var": {"kind": "vector_autoregressive"},
            "ridge": {"kind": "direct_ridge"},
            "pool": {
                "kind": "pool",
                "models": [{"kind": "diffusion"}, {"kind": "autoregressive"}, {"kind": "direct_ridge"}],
            },
        },
        "init_times": {"first": "2007-01-01", "last": "2008-12-20", "every": 6},
    },
    "monthly": {
        "models": {
            "ridge": {"kind": "direct_ridge", "leads": 12},
            "pool": {
                "kind": "pool",
                "models": [
                    {"kind": "autoregressive"},
                    {"kind": "direct_ridge", "leads": 12},
                    {"kind": "linear_inverse"},
                ],
            },
        },
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


def gains(outlook: Outlook, drawn: Sequence[Score], calibrated: Sequence[Score]) -> str:
    """Fair CRPS as drawn, and the gain in the plain CRPS over the linear inverse model, both calibrated.

    Calibration couples members, which lowers the fair CRPS with no skill behind it.
    """
    unit, factor = outlook.unit
    fair, paired = ({(score.model, score.leads): score for score in scores} for scores in (drawn, calibrated))
    shown = [(lead, lead) for lead in outlook.shown]
    lines = [[f"fair CRPS in {unit}", *(f"lead {lead}" for lead in outlook.shown)], ["---"] * (1 + len(shown))]
    for model in dict.fromkeys(score.model for score in calibrated):
        over = ["" if model == "lim" else f"<br>{gain(paired[model, lead].versus['lim'])}" for lead in shown]
        scores = (fair[model, lead].crps_fair for lead in shown)
        lines.append([model, *(f"{factor * score:.4g}{text}" for score, text in zip(scores, over, strict=True))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


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
        drawn, calibrated = (
            [score for score in read_scores(part) if score.cases] for part in (card, card["calibrated"])
        )
        tables = {f"calibrated {name}": table(calibrated), f"drawn {name}": gains(OUTLOOKS[name], drawn, calibrated)}
        for title, text in tables.items():
            print(text)
            if options.into:
                replace_table(options.into, title, text)


if __name__ == "__main__":
    main()
