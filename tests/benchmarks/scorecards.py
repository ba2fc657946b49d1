"""Run every ready experiment that needs no network, and write their scorecards to ``docs/scorecards.md``.

    python -m tests.benchmarks.scorecards [--workspaces workspaces] [--into docs/scorecards.md]

An experiment that is up to date in its workspace is not run again.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.experiment_file import load_experiment, ready_experiments
from pipeline.reporting.scoreboard import Interval, Score, read_scores

HEAD = """# Scorecards

`make scorecards` runs the ready experiments that need no network and writes this page. CRPS skill in percent against
the reference model on years that no fit has seen, with its 90 % interval from a paired block bootstrap; **bold** where
the interval leaves out 0. Behind it the spread–skill ratio, with its interval where it lies outside 0.95–1.05 and in
bold where that leaves out 1. The CRPS is the plain one, at equal ensemble size.
"""


def main() -> None:
    """Run, read, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspaces", type=Path, default=Path("workspaces"))
    parser.add_argument("--into", type=Path, default=Path("docs/scorecards.md"))
    options = parser.parse_args()
    parts = [HEAD]
    for name in ready_experiments():
        if any(source.kind != "sample" for source in load_experiment(name).sources.values()):
            continue
        folder = options.workspaces / name
        subprocess.run([sys.executable, "-m", "flows.cli", "run", name, "--workspace", str(folder)], check=True)
        parts.append(page(name, json.loads((folder / "reports" / "scorecard.json").read_text())))
    options.into.write_text("\n".join(parts))


def page(name: str, card: Mapping[str, Any]) -> str:
    """One experiment's tables."""
    parts = [f"## {name}\n"]
    for title, part in (("Members as drawn", card), ("Calibrated members", card.get("calibrated", {"models": {}}))):
        scores = [score for score in read_scores(part) if score.cases]
        for variable, scenario in dict.fromkeys((score.variable, score.scenario) for score in scores):
            mine = [score for score in scores if (score.variable, score.scenario) == (variable, scenario)]
            parts += [f"**{title}: {variable}{f' under {scenario}' if scenario else ''}**\n", table(mine), ""]
    return "\n".join(parts)


def table(scores: Sequence[Score]) -> str:
    """Models by leads."""
    leads = list(dict.fromkeys(score.lead for score in scores))
    cells = {(score.model, score.lead): cell(score) for score in scores}
    models = dict.fromkeys(score.model for score in scores)
    rows = [[model, *(cells.get((model, lead), "") for lead in leads)] for model in models]
    lines = [["model", *(f"lead {lead}" for lead in leads)], ["---"] * (1 + len(leads)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(score: Score) -> str:
    """Skill with its interval, and spread–skill."""
    return f"{'reference' if math.isnan(score.skill[0]) else gain(score.skill)} · {spread(score.spread_skill)}"


def gain(skill: Interval) -> str:
    """A skill in percent with its interval, bold where that leaves out 0."""
    value, low, high = (100 * number for number in skill)
    text = f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
    return f"**{text}**" if low > 0 or high < 0 else text


def spread(ratio: Interval) -> str:
    """A spread–skill ratio, with its interval where it breaks its bound, bold where that leaves out 1."""
    value, low, high = ratio
    if 0.95 <= value <= 1.05:
        return f"{value:.2f}"
    text = f"{value:.3f} ({low:.2f} to {high:.2f})"
    return text if low <= 1 <= high else f"**{text}**"


if __name__ == "__main__":
    main()
