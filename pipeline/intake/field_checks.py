"""What the gates learn of one variable's values, block by block, in one pass over them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.names import Variable

UNDECLARED_FILLS = (9.96921e36, 1e20, -999.0, -9999.0, -99.9, 32767.0, -32768.0)
"""Values that files use for missing data without saying so."""


NAMED = 3
"""Files that a message names."""
Place = Callable[[object], str]
"""How a label of time is told: its date, and the file that holds it where that is known."""


def label_text(label: object) -> str:
    """A label of time as people write it: the date alone where it is midnight."""
    return str(label).split(".")[0].replace(" ", "T").removesuffix("T00:00:00")


def place_text(label: object, spans: Mapping[str, Mapping[str, str | None]]) -> str:
    """A label of time, with the files that hold it where the range of each is known."""
    at = str(label).replace(" ", "T")[:19]
    names = [name for name, span in spans.items() if (span["first"] or "~") <= at <= (span["last"] or "")]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return label_text(label) + (f" (in {', '.join(names[:NAMED])}{more})" if names else "")


@dataclass
class FieldCheck:
    """Everything that has been seen of one variable so far.

    Attributes:
        name: Short name.
        variable: Its description.
        place: How a label of time is told.
    """

    name: str
    variable: Variable
    place: Place = label_text
    _labels: list[NDArray] = field(default_factory=list)
    _shares: list[NDArray] = field(default_factory=list)
    _empty: list[NDArray] = field(default_factory=list)
    _outside: dict[float, int] = field(default_factory=dict)
    _outside_cells: int = 0
    _first_outside: object = None
    _least: float = np.inf
    _most: float = -np.inf
    _fill_cells: dict[float, int] = field(default_factory=dict)
    _missing: NDArray | None = None
    _steps: int = 0
    _repeats: int = 0
    _first_repeat: object = None
    _last: NDArray | None = None

    def look(self, block: xr.DataArray) -> None:
        """Take in a block in memory, ``(time, …)`` in the order of time."""
        values = np.ascontiguousarray(block.transpose("time", "realization", ..., missing_dims="ignore").values)
        labels = block["time"].values
        runs = block.sizes.get("realization", 1)
        self._see_missing(values.reshape(labels.size, runs, -1), labels)
        self._see_range(values, labels)
        self._see_repeats(values.view("uint32").reshape(labels.size, runs, -1), labels)
        self._steps += labels.size

    @property
    def missing_share(self) -> float:
        """Share of missing cells over all steps."""
        return float(np.concatenate(self._shares).mean()) if self._shares else 0.0

    def empty_fields(self, limit: float) -> Iterator[str]:
        """Steps that miss everything."""
        empty = np.concatenate(self._empty)
        if empty.sum() > limit:
            first = np.concatenate(self._labels)[int(np.argmax(empty))]
            yield (
                f"variable '{self.name}': {int(empty.sum())} step(s) without any data, the first at "
                f"{self.place(first)}. Remove or mend them in the source."
            )

    def fills(self, limit: float) -> Iterator[str]:
        """Values that stand for nothing."""
        suspects = {value: count for value, count in self._fill_cells.items() if count}
        alike = len(self._outside) == 1 and self._outside_cells > 1
        for value, count in self._outside.items():
            if alike or any(np.isclose(value, fill, rtol=1e-3) for fill in UNDECLARED_FILLS):
                suspects[value] = count
        for value, count in suspects.items():
            if count > limit:
                where = f", first at {self.place(self._first_outside)}" if value in self._outside else ""
                yield (
                    f"variable '{self.name}': {value:g} {self.variable.units} in {count} cell(s){where} looks like an "
                    "undeclared fill value. Declare `_FillValue` in the file."
                )

    def impossible(self, limit: float) -> Iterator[str]:
        """Values beyond what is physically possible."""
        if self._outside_cells > limit:
            low, high = self.variable.valid_range
            units = self.variable.units
            yield (
                f"variable '{self.name}': values from {self._least:g} to {self._most:g} {units} lie outside {low:g} to "
                f"{high:g}, first at {self.place(self._first_outside)}; check the units of the source: {units} are "
                "expected after conversion."
            )

    def missing_more(self, before: float | None, limit: float) -> Iterator[str]:
        """Steps that miss more than was missing before."""
        if before is None:
            return
        shares = np.concatenate(self._shares)
        if shares.max() > before + limit:
            at = np.concatenate(self._labels)[int(np.argmax(shares > before + limit))]
            yield (
                f"variable '{self.name}': {100 * shares.max():.1f} % of the cells missing, first at {self.place(at)}, "
                f"where the archive misses {100 * before:.1f} %. Wait for the whole file, or raise the gate's limit."
            )

    def holes(self, limit: float) -> Iterator[str]:
        """Cells that are missing at some steps only."""
        holes = 0 if self._missing is None else int(((self._missing > 0) & (self._missing < self._steps)).sum())
        if holes > limit:
            yield (
                f"variable '{self.name}': {holes} cell(s) have data at some steps only; they are left out of "
                "background and models. Fill them in the source if they should be kept."
            )

    def repeats(self, limit: float) -> Iterator[str]:
        """Fields equal to the one before them."""
        if self._repeats > limit:
            yield (
                f"variable '{self.name}': {self._repeats} step(s) repeat the field before them to the last bit, "
                f"the first at {self.place(self._first_repeat)}. See whether the source was stuck there."
            )

    def _see_missing(self, values: NDArray, labels: NDArray) -> None:
        self._labels.append(labels)
        if self._missing is None:
            self._missing = np.zeros(values.shape[1:], dtype="int64")
        if not np.isnan(values.min()):  # the quickest way to see that nothing is missing
            self._shares.append(np.zeros(labels.size))
            self._empty.append(np.zeros(labels.size, dtype=bool))
            return
        missing = np.isnan(values)
        shares = missing.mean(-1)
        self._shares.append(shares.max(1))
        self._empty.append((shares == 1).any(1))
        self._missing += missing.sum(0, dtype="int32")

    def _see_range(self, values: NDArray, labels: NDArray) -> None:
        low, high = self.variable.valid_range
        least, most = float(np.fmin.reduce(values, axis=None)), float(np.fmax.reduce(values, axis=None))
        self._least, self._most = np.fmin(self._least, least), np.fmax(self._most, most)
        for fill in UNDECLARED_FILLS:
            if low <= fill <= high:
                self._fill_cells[fill] = self._fill_cells.get(fill, 0) + int((values == np.float32(fill)).sum())
        if not (least < low or most > high):
            return
        outside = (values < low) | (values > high)
        if self._first_outside is None:
            self._first_outside = labels[int(np.argmax(outside.reshape(labels.size, -1).any(1)))]
        self._outside_cells += int(outside.sum())
        for value, count in zip(*np.unique(values[outside], return_counts=True), strict=True):
            if len(self._outside) < 16:
                self._outside[float(value)] = self._outside.get(float(value), 0) + int(count)

    def _see_repeats(self, bits: NDArray, labels: NDArray) -> None:
        if self._last is not None and (self._last == bits[0]).all(-1).any():
            self._see_repeat(labels[0])
        few = bits[..., :: max(1, bits.shape[-1] // 64)]  # only fields that agree there are compared as a whole
        for step in np.flatnonzero((few[1:] == few[:-1]).all(-1).any(-1)):
            if (bits[step + 1] == bits[step]).all(-1).any():
                self._see_repeat(labels[step + 1])
        self._last = bits[-1].copy()

    def _see_repeat(self, label: object) -> None:
        self._repeats += 1
        self._first_repeat = label if self._first_repeat is None else self._first_repeat
