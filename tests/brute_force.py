"""The meaning of a question by plain loops: one member, one step and one cell at a time.

Nothing here is shared with ``pipeline.answers.evaluate`` but the tree and the weights of regions. Values are pairs,
what they are at least and at most. ``None`` stands for a cell that is never known.
"""

import math

from pipeline.events.tree import (
    Absolute,
    Anomaly,
    Combination,
    Comparison,
    First,
    Negation,
    Percentile,
    Record,
    Reduction,
    Region,
    Rolling,
    Sigma,
    Then,
    Variable,
)

INF = math.inf
VERBS = {"any": any, "all": all, "max": max, "min": min}


class Brute:
    """A forecast and a record, evaluated by loops.

    Args:
        members: ``members[k][name][t][y][x]``, floats, NaN where missing.
        record: ``record[name][t][y][x]``.
        lead_months: Calendar month of each lead.
        record_months: Calendar month of each step of the record.
        lengths: Seconds of each lead.
        record_lengths: Seconds of each step of the record.
        weights: ``weights(region)`` gives a dict of cells to areas.
        window: ``window(text)`` gives groups of lead indices.
        to_units: ``to_units(threshold, node)`` gives a number in the unit of the data.
        shape: Rows and columns.
    """

    def __init__(self, **parts):
        self.__dict__.update(parts)
        self.memo = {}
        self.kept = []

    def outcome(self, node):
        """Bounds of a closed condition for each member (one sample)."""
        size = len(self.lead_months)
        world = [Piece(self, member, self.lead_months, self.lengths) for member in self.members]
        return [self.value(node, world, k, (0, size), None, None) for k in range(len(world))]

    def value(self, node, world, k, steps, t, cell):
        """One value of one member; ``steps`` is the range that is looked at around ``t``."""
        key = (id(node), id(world), k, steps, t, cell)
        if key not in self.memo:
            self.kept.append((node, world))
            self.memo[key] = self.fresh(node, world, k, steps, t, cell)
        return self.memo[key]

    def fresh(self, node, world, k, steps, t, cell):
        match node:
            case Variable():
                number = world[k].read(node.name, t, cell)
                return (-INF, INF) if math.isnan(number) else (number, number)
            case Anomaly():
                low, high = self.value(node.source, world, k, steps, t, cell)
                sample = self.sample(node.source, world, t, cell, node.clim)
                mean = sum(sample) / len(sample)
                return (-INF, INF) if math.isnan(mean) else (low - mean, high - mean)
            case Rolling():
                return self.rolled(node, world, k, steps, t, cell)
            case Reduction() if isinstance(node.axis, Region):
                return self.over_region(node, world, k, steps, t)
            case Reduction():
                return self.over_window(node, world, k, cell)
            case First():
                (group,) = self.window(node.window)
                held = [self.value(node.source, world, k, (group[0], group[-1] + 1), s, cell) for s in group]
                starts = [first(side, node.run, group[0]) for side in zip(*held, strict=True)]
                return starts[1], starts[0]
            case Then():
                return self.followed(node, world, k, steps, t, cell)
            case Comparison():
                return self.compared(node, world, k, steps, t, cell)
            case Combination():
                sides = zip(*(self.value(part, world, k, steps, t, cell) for part in node.parts), strict=True)
                return tuple((all if node.word == "and" else any)(side) for side in sides)
            case Negation():
                low, high = self.value(node.source, world, k, steps, t, cell)
                return not high, not low

    def rolled(self, node, world, k, steps, t, cell):
        length = node.length.count
        wide = (max(0, steps[0] - length + 1), steps[1])
        values = [self.value(node.source, world, k, wide, s, cell) for s in range(max(0, t - length + 1), t + 1)]
        if len(values) < length:
            return -INF, INF
        seconds = [world[k].lengths[s] for s in range(t - length + 1, t + 1)]
        return tuple(reduced(node.verb, side, seconds) for side in zip(*values, strict=True))

    def over_region(self, node, world, k, steps, t):
        weights = {}
        for cell, weight in self.weights(node.axis).items():
            span = range(*steps) if self.is_open(node.source) else (t,)
            if any(known(self.value(node.source, world, m, steps, s, cell)) for m in range(len(world)) for s in span):
                weights[cell] = weight
        values = [self.value(node.source, world, k, steps, t, cell) for cell in weights]
        return tuple(reduced(node.verb, side, list(weights.values())) for side in zip(*values, strict=True))

    def over_window(self, node, world, k, cell):
        (group,) = self.window(node.axis)
        span = (group[0], group[-1] + 1)
        values = [self.value(node.source, world, k, span, s, cell) for s in group]
        seconds = [world[k].lengths[s] for s in group]
        if node.verb == "sum" and self.is_rate(node.source):
            values = [(low * s, high * s) for (low, high), s in zip(values, seconds, strict=True)]
        if node.verb in ("count", "run"):
            count = sum if node.verb == "count" else longest
            return tuple(float(count(side)) for side in zip(*values, strict=True))
        return tuple(reduced(node.verb, side, seconds) for side in zip(*values, strict=True))

    def followed(self, node, world, k, steps, t, cell):
        size, within = world[k].size, node.within.count
        wide = (steps[0], min(size, steps[1] + within))
        now = self.value(node.source, world, k, wide, t, cell)
        later = [
            self.value(node.event, world, k, wide, s, cell) if s < wide[1] else (False, True)
            for s in range(t + 1, t + within + 1)
        ]
        soon = tuple(any(side) for side in zip(*later, strict=True))
        return now[0] and soon[0], now[1] and soon[1]

    def compared(self, node, world, k, steps, t, cell):
        low, high = self.value(node.source, world, k, steps, t, cell)
        limits = [self.limit(node, threshold, world, t, cell) for threshold in node.thresholds]
        if node.operator in ("between", "outside"):
            inside = (
                low >= limits[0] and high < limits[1],
                high >= limits[0] and low < limits[1],
            )
            if any(math.isnan(limit) for limit in limits):
                inside = (False, True)
            return inside if node.operator == "between" else (not inside[1], not inside[0])
        (limit,) = limits
        if math.isnan(limit):
            return False, True
        tests = {
            "above": (low > limit, high > limit),
            "at_least": (low >= limit, high >= limit),
            "below": (high < limit, low < limit),
            "at_most": (high <= limit, low <= limit),
        }
        return tests[node.operator]

    def limit(self, node, threshold, world, t, cell):
        if isinstance(threshold, Absolute):
            return self.to_units(threshold, node.source)
        sample = self.sample(node.source, world, t, cell, None)
        if any(math.isnan(value) for value in sample):
            return math.nan
        mean = sum(sample) / len(sample)
        match threshold:
            case Percentile():
                return weibull(sorted(sample), threshold.rank / 100)
            case Sigma():
                deviation = math.sqrt(sum((value - mean) ** 2 for value in sample) / (len(sample) - 1))
                return mean + threshold.factor * deviation
            case Record():
                return max(sample) if node.operator in ("above", "at_least") else min(sample)

    def sample(self, node, world, t, cell, period):
        """The reference values: of this calendar month where time is open, of the same window where it is closed."""
        key = ("sample", id(node), world[0].months[t] if t is not None else None, cell, period)
        if key not in self.memo:
            self.kept.append(node)
            build = self.open_sample if t is not None and self.is_open(node) else self.closed_sample
            self.memo[key] = build(node, world[0].months[t] if t is not None else None, cell, period)
        return self.memo[key]

    def open_sample(self, node, month, cell, period):
        size = len(self.record_months)
        if not hasattr(self, "whole"):
            self.whole = [Piece(self, self.record, self.record_months, self.record_lengths)]
        back, ahead = self.reach(node)
        places = [p for p in range(size) if self.record_months[p] == month and back <= p < size - ahead]
        places = [p for p in places if period is None or period.years[0] <= self.record_years[p] <= period.years[1]]
        return [exact(self.value(node, self.whole, 0, (0, size), p, cell)) for p in places]

    def closed_sample(self, node, _month, cell, period):
        world = self.pieces(node, period)
        size = len(self.lead_months)
        return [exact(self.value(node, world, k, (0, size), None, cell)) for k in range(len(world))]

    def pieces(self, node, period=None):
        """The record cut to the steps that an expression touches, which a probe finds out."""
        probe = Piece(self, self.members[0], self.lead_months, self.lengths)
        mask_free = Brute(**{**self.__dict__, "sample": lambda *_: [0.0, 1.0, 2.0], "memo": {}, "kept": []})
        mask_free.value(node, [probe], 0, (0, len(self.lead_months)), None, None if not self.space(node) else (0, 1))
        first_step, last_step = min(probe.touched), max(probe.touched)
        months = self.record_months
        starts = [p for p in range(len(months)) if months[p] == self.lead_months[first_step]]
        starts = [p for p in starts if p + last_step - first_step < len(months)]
        if period is not None:
            years, (first, last) = self.record_years, period.years
            starts = [p for p in starts if first <= years[p] and years[p + last_step - first_step] <= last]
        return [Piece(self, self.record, self.lead_months, self.lengths, p - first_step) for p in starts]

    def reach(self, node):
        """Steps before and after its own that an expression open in time looks at."""
        match node:
            case Variable():
                return 0, 0
            case Combination():
                sides = [self.reach(part) for part in node.parts]
                return max(side[0] for side in sides), max(side[1] for side in sides)
            case Then():
                one, two = self.reach(node.source), self.reach(node.event)
                return max(one[0], two[0]), max(one[1], two[1]) + node.within.count
            case Rolling():
                back, ahead = self.reach(node.source)
                return back + node.length.count - 1, ahead
            case _:
                return self.reach(node.source)

    def is_open(self, node):
        """Whether time is open."""
        match node:
            case Variable():
                return True
            case Reduction():
                return isinstance(node.axis, Region) and self.is_open(node.source)
            case First():
                return False
            case Combination():
                return self.is_open(node.parts[0])
            case _:
                return self.is_open(node.source)

    def space(self, node):
        """Whether space is open."""
        match node:
            case Variable():
                return True
            case Reduction():
                return not isinstance(node.axis, Region) and self.space(node.source)
            case Combination():
                return self.space(node.parts[0])
            case _:
                return self.space(node.source)

    def is_rate(self, node):
        """Whether the number is a rate: rain is, until it is summed."""
        match node:
            case Variable():
                return node.name == "pr"
            case Reduction() if node.verb in ("sum", "count", "run", "frac"):
                return False
            case Combination():
                return False
            case _:
                return self.is_rate(node.source)


class Piece:
    """One trajectory: a member, the record, or a part of it that stands in for one."""

    def __init__(self, brute, data, months, lengths, offset=0):
        self.data, self.months, self.lengths, self.offset = data, months, lengths, offset
        self.size = len(months)
        self.touched = set()

    def read(self, name, t, cell):
        self.touched.add(t)
        return self.data[name][t + self.offset][cell[0]][cell[1]]


def known(bounds):
    low, high = bounds
    return not (low == -INF and high == INF) and not (low is False and high is True)


def exact(bounds):
    low, high = bounds
    return float(low) if low == high else math.nan


def reduced(verb, values, weights):
    if verb in VERBS:
        return VERBS[verb](values)
    if verb == "sum":
        return sum(values)
    mean = sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
    return round(100 * mean, 9) if verb == "frac" else mean


def longest(values):
    best = now = 0
    for value in values:
        now = now + 1 if value else 0
        best = max(best, now)
    return best


def first(values, run, offset):
    for start in range(len(values) - run + 1):
        if all(values[start : start + run]):
            return float(start + offset)
    return INF


def weibull(ordered, chance):
    place = (len(ordered) + 1) * chance - 1
    below = min(max(math.floor(place), 0), len(ordered) - 2)
    return ordered[below] + (place - below) * (ordered[below + 1] - ordered[below])
