"""Random questions that make sense, built step by step from what each kind of value allows."""

import random

from pipeline.events.kinds import kind_of
from pipeline.events.limits import MAX_DEPTH, MAX_STEPS, count_steps, nesting
from pipeline.events.tree import (
    Absolute,
    Anomaly,
    Box,
    Comparison,
    Dates,
    Duration,
    First,
    Leads,
    Named,
    Negation,
    Percentile,
    Point,
    Record,
    Reduction,
    Reference,
    Rolling,
    Season,
    Sigma,
    Then,
    Variable,
    combine,
)

REGIONS = (Named("west"), Point(-9.0, 121.0), Box(-15.0, 20.0, 105.0, 165.0), Box(-3.0, 12.0, 100.0, 130.0))
WINDOWS = (
    Leads(1, 3),
    Leads(4, 9),
    Leads(2, 2),
    Dates("2003-11", "2004-03"),
    Dates("2004-02", "2004-02"),
    Season("DJF", 2004),
    Season("MAM"),
)


class Asker:
    """A source of random conditions that are closed in space and time."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def question(self):
        """One closed condition within the language's limits."""
        node = self.until(lambda kind: kind.quantity == "condition" and not kind.space and not kind.time)
        return node if nesting(node) <= MAX_DEPTH and count_steps(node) <= MAX_STEPS else self.question()

    def until(self, done, depth=0):
        node = self.variable()
        for _ in range(40):
            kind = kind_of(node)
            if done(kind):
                return node
            node = self.step(node, kind, depth)
        return self.until(done, depth)

    def variable(self):
        return Variable(self.random.choice(("tas", "tas", "pr")))

    def step(self, node, kind, depth):
        options = []
        if kind.quantity in ("number", "steps", "share"):
            options += [self.compared] * 2
            options += [self.anomaly, self.rolled] if kind.quantity == "number" else []
            options += [self.over_region] * 2 if kind.space else []
            options += [self.over_window] * 2 if kind.time else []
        elif kind.quantity == "date":
            options += [lambda node, kind, depth: Comparison(node, self.operator(), (Absolute(2004.0),))]
        else:
            options += [self.over_region] * 3 if kind.space else []
            options += [self.over_window] * 3 if kind.time else []
            options += [self.combined, self.negated] if depth < 2 else []
            options += [self.followed] if kind.time and depth < 2 else []
        return self.random.choice(options)(node, kind, depth) if options else self.variable()

    def anomaly(self, node, kind, depth):
        if "Anomaly" in repr(node) or not kind.time:
            return node
        clim = Reference("hist", (1993, 1999)) if self.random.random() < 0.2 else None
        return Anomaly(node, clim)

    def rolled(self, node, kind, depth):
        if not kind.time or "Rolling" in repr(node):
            return node
        return Rolling(node, self.random.choice(("mean", "max", "min")), Duration(self.random.choice((2, 3)), "months"))

    def over_region(self, node, kind, depth):
        verbs = ("any", "all", "frac") if kind.quantity == "condition" else ("mean", "max", "min")
        return Reduction(node, self.random.choice(verbs), self.random.choice(REGIONS))

    def over_window(self, node, kind, depth):
        window = self.random.choice(WINDOWS)
        if kind.quantity == "condition":
            verb = self.random.choice(("any", "all", "count", "run", "first"))
            if verb == "first":
                return First(node, window, self.random.choice((1, 1, 2)))
            return Reduction(node, verb, window)
        return Reduction(node, self.random.choice(("mean", "max", "min", "sum")), window)

    def operator(self):
        return self.random.choice(("above", "at_least", "below", "at_most"))

    def compared(self, node, kind, depth):
        if kind.quantity == "share":
            return Comparison(node, self.operator(), (Absolute(self.random.choice((25.0, 50.0, 80.0)), "%"),))
        if kind.quantity == "steps":
            return Comparison(node, self.operator(), (Absolute(float(self.random.choice((1, 2, 3))), "months"),))
        relative = (
            Percentile(self.random.choice((20.0, 33.3, 50.0, 80.0))),
            Sigma(self.random.choice((-1.0, 0.5, 1.0))),
            Record(),
        )
        text = repr(node)
        if "tas" in text and "sum" not in text and self.random.random() < 0.5:
            value = self.random.choice((0.5, -1.0)) if "Anomaly" in text else self.random.choice((12.0, 15.0, 8.0))
            if self.random.random() < 0.3:
                return Comparison(node, "between", (Absolute(value, "degC"), Absolute(value + 4, "degC")))
            return Comparison(node, self.operator(), (Absolute(value, "degC"),))
        return Comparison(node, self.operator(), (self.random.choice(relative),))

    def combined(self, node, kind, depth):
        other = self.until(
            lambda found: (found.quantity, found.space, found.time) == ("condition", kind.space, kind.time), depth + 1
        )
        parts = [node, other]
        self.random.shuffle(parts)
        return combine(self.random.choice(("and", "or")), tuple(parts))

    def negated(self, node, kind, depth):
        return node if isinstance(node, Negation) else Negation(node)

    def followed(self, node, kind, depth):
        other = self.until(
            lambda found: (found.quantity, found.space, found.time) == ("condition", kind.space, True), depth + 1
        )
        return Then(node, other, Duration(self.random.choice((1, 2)), "months"))
