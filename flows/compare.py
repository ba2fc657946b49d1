"""Compare: two verified runs as a table."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

_LOG_WIDTH = 120  # where there is no terminal that says its own


def show(comparison: dict[str, Any]) -> None:
    """Print the differences, one row for each model, variable and lead that both runs were judged at."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=_LOG_WIDTH)
    judged = [row for row in comparison["rows"] if row["cases"]]
    units = judged[0]["lead_units"] if judged else ""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for name in ("model", "variable", f"lead ({units})" if units else "lead"):
        table.add_column(name, overflow="fold")
    for name in ("CRPS 1", "CRPS 2", "2 saves", f"{100 * comparison['confidence']:.0f} % interval", "p", "cases"):
        table.add_column(name, justify="right")
    for row in judged:
        table.add_row(*_cells(row))
    console.print(f"1: {comparison['first']}\n2: {comparison['second']}")
    console.print(table)
    console.print("▲ 2 is better, ▼ 1 is better, ≈ no difference shown; p: of no difference (Diebold–Mariano)")
    if len(judged) < len(comparison["rows"]):
        console.print(f"{len(comparison['rows']) - len(judged)} more rows have no truth to be judged by.")


def _cells(row: dict[str, Any]) -> list[str]:
    where = [str(row[name]) for name in ("scenario", "level", "region") if row.get(name) not in (None, "all")]
    gain, low, high = (row[name] for name in ("gain", "gain_low", "gain_high"))
    sign = "" if low is None else "▲ " if low > 0 else "▼ " if high < 0 else "≈ "
    return [
        row["model"],
        ", ".join([row["variable"], *where]),
        str(row["lead"]),
        *["–" if row[name] is None else f"{row[name]:.4g}" for name in ("crps_first", "crps_second")],
        "–" if gain is None else f"{sign}{100 * gain:+.1f} %",
        "–" if low is None else f"{100 * low:+.1f} to {100 * high:+.1f} %",
        "–" if row["p_value"] is None else f"{row['p_value']:.2g}",
        str(row["cases"]),
    ]
