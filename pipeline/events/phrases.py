"""The small phrases of a question: regions, windows, thresholds, durations, references."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from pipeline.events.errors import QuestionError, nearest
from pipeline.events.geojson import MAX_VERTICES
from pipeline.events.months import MONTHS, is_months
from pipeline.events.scan import Token, parse_error, scan
from pipeline.events.tree import (
    Absolute,
    All,
    Box,
    Dates,
    Day,
    Duration,
    Each,
    Leads,
    Named,
    Outline,
    Percentile,
    Point,
    Polygon,
    Record,
    Reference,
    Region,
    Ring,
    Season,
    Sigma,
    Threshold,
    Window,
)

_RANK = re.compile(r"p(\d+(?:\.\d+)?)\Z")
_LABEL = re.compile(r"[\w.:+-]+")
_PATH = re.compile(r"[^\s(),]+\.(?:geo)?json")
_STOPS = {"and", "or", "given", "scenario", "forecast", "exceeded", "not", "return"}


class Phrases:
    """A cursor over the tokens of one text, and the rules for everything smaller than a step."""

    def __init__(self, text: str) -> None:
        """Cut the text into tokens."""
        self.text = text
        self.tokens = scan(text)
        self.position = 0
        self.vertices = 0

    @property
    def now(self) -> Token:
        """The token under the cursor."""
        return self.tokens[self.position]

    def ahead(self, count: int) -> Token:
        """A token further on, or the end."""
        return self.tokens[min(self.position + count, len(self.tokens) - 1)]

    def take(self) -> Token:
        """The token under the cursor, and move on."""
        token = self.now
        self.position = min(self.position + 1, len(self.tokens) - 1)
        return token

    def skip(self, text: str) -> bool:
        """Move past ``text`` if it is here."""
        found = self.now.kind != "end" and self.now.text == text
        if found:
            self.take()
        return found

    def expect(self, text: str) -> None:
        """Move past ``text``, which must be here."""
        if not self.skip(text):
            raise self.error(repr(text))

    def choice(self, words: Iterable[str], wanted: str) -> str:
        """One of a few words."""
        options = tuple(words)
        if self.now.text in options:
            return self.take().text
        close = nearest(self.now.text, options) if self.now.text else None
        hint = f" Did you mean {close}?" if close else ""
        error = self.error(f"{wanted} (one of {', '.join(options)})", hint=hint)
        error.did_you_mean = close
        raise error

    def error(self, wanted: str, at: Token | None = None, *, hint: str = "") -> QuestionError:
        """A syntax error at a token, by default under the cursor, that says what could have stood there."""
        found = at or self.now
        got = repr(found.text) if found.kind != "end" else "the end"
        return parse_error(self.text, found.column, f"Expected {wanted}, found {got}.{hint}")

    def label(self, wanted: str) -> str:
        """A name that may hold signs, as scenarios and forecasts do: ``ssp2-4.5``, ``fc-2027-06-01``."""
        found = self.spelt(_LABEL)
        if found is None:
            raise self.error(wanted)
        return found

    def spelt(self, pattern: re.Pattern[str]) -> str | None:
        """What the text itself has at the cursor, and move past the tokens that it was cut into."""
        found = pattern.match(self.text, self.now.column - 1)
        while found and self.now.kind != "end" and self.now.column <= found.end():
            self.take()
        return found.group() if found else None

    def number(self) -> float:
        """A number."""
        if self.now.kind != "number":
            raise self.error("a number")
        value = float(self.take().text)
        if abs(value) == float("inf"):
            raise self.error("a finite number")
        return value

    def whole_number(self) -> int:
        """A whole number from 1."""
        if self.now.kind != "number" or not self.now.text.isdigit() or not 0 < int(self.now.text[:12]) < 10**9:
            raise self.error("a whole number from 1")
        return int(self.take().text)

    def year(self) -> int:
        """A year of up to four digits."""
        if self.now.kind != "number" or not self.now.text.isdigit() or len(self.now.text) > 4:
            raise self.error("a year")
        return int(self.take().text)

    def percent(self) -> float:
        """A chance in percent, more than 0 and less than 100."""
        self.refuse_bare_rank()
        begin = self.now
        value = self.number()
        self.expect("%")
        if not 0 < value < 100:
            raise self.error("a chance between 0 % and 100 %", begin)
        return value

    def refuse_bare_rank(self) -> None:
        """Refuse ``P90`` where a value is asked for, since it is exceeded with 10 % to some and with 90 % to others."""
        rank = _RANK.match(self.now.text.lower())
        if rank:
            raise ambiguous_rank(rank.group(1))

    def duration(self) -> Duration:
        """``3 months``."""
        count = self.whole_number()
        if self.now.kind != "word":
            raise self.error("a unit of time")
        return Duration(count, self.take().text)

    def reference(self) -> Reference:
        """``hist:1961-1990``, or ``model`` with or without years."""
        source = self.choice(("obs", "model", "hist"), "a reference")
        if source == "model" and self.now.text != ":":
            return Reference(source)
        self.expect(":")
        begin = self.now
        first = self.year()
        if self.now.kind != "number" or not re.fullmatch(r"-\d{4}", self.now.text):
            raise self.error("-YEAR")
        last = int(self.take().text[1:])
        if last < first:
            raise self.error("the earlier year first", begin)
        return Reference(source, (first, last))

    def threshold(self) -> Threshold:
        """``27 degC``, ``p90``, ``2 sigma``, ``30 %``, ``record`` or a date."""
        rank = _RANK.match(self.now.text)
        if rank:
            if not 0 < float(rank.group(1)) < 100:
                raise self.error("a percentile between p0 and p100")
            self.take()
            return Percentile(float(rank.group(1)))
        if self.skip("record"):
            return Record()
        if self.now.kind == "date":
            return Day(self.date())
        value = self.number()
        if self.skip("sigma"):
            return Sigma(value)
        return Absolute(value, "%" if self.skip("%") else self.unit())

    def unit(self) -> str:
        """A unit in words: ``kg m-2 s-1``, ``mm/day``; empty when none is written."""
        words = ""
        while (self.now.kind == "word" and self.now.text not in _STOPS) or self.now.text in ("/", "*", "^"):
            if self.now.kind == "sign":
                words += self.take().text
                if self.now.kind == "number":
                    words += self.take().text
                continue
            words += ("" if not words or words[-1] in "/*^" else " ") + self.take().text
        return words

    def region(self) -> Region:
        """A name, ``point(…)``, ``box(…)`` or ``polygon(…)``."""
        begin = self.now
        name = self.region_name()
        if not self.skip("("):
            return Named(name)
        shapes: dict[str, Callable[[], Region]] = {"point": self.point, "box": self.box, "polygon": self.polygon}
        if name not in shapes:
            raise self.error("point(lat, lon), box(lat=…, lon=…) or polygon(…)", begin)
        shape = shapes[name]()
        self.expect(")")
        return shape

    def region_name(self) -> str:
        """A name, dots within numbers included: ``nino3.4``."""
        if self.now.kind != "word":
            raise self.error("a region")
        name = self.take().text
        while self.now.kind == "sign" and self.now.text == "." and self.ahead(1).kind == "number":
            name += self.take().text + self.take().text
        return name

    def point(self) -> Point:
        """The inside of ``point(…)``."""
        latitude = self.latitude()
        self.expect(",")
        return Point(latitude, self.longitude())

    def box(self) -> Box:
        """The inside of ``box(…)``."""
        self.expect("lat")
        self.expect("=")
        begin = self.now
        south, north = self.range_of(self.latitude)
        if south >= north:
            raise self.error("the southern edge first, and then another", begin)
        self.expect(",")
        self.expect("lon")
        self.expect("=")
        begin = self.now
        west, east = self.range_of(self.longitude)
        if not (0 < east - west <= 360 or 0 < west - east < 360):
            raise self.error("two edges, no more than the whole circle apart", begin)
        return Box(south, north, west, east)

    def polygon(self) -> Region:
        """The inside of ``polygon(…)``: vertices with holes and further parts, a GeoJSON file, or a region's name."""
        path = self.spelt(_PATH)
        if path is not None:
            return Outline(path)
        if self.now.kind == "word":
            return Named(self.region_name())
        parts = [self.rings()]
        while self.skip("part"):
            parts.append(self.rings())
        return Polygon(tuple(parts))

    def rings(self) -> tuple[Ring, ...]:
        """The outer ring of one polygon, and its holes."""
        rings = [self.ring()]
        while self.skip("hole"):
            rings.append(self.ring())
        return tuple(rings)

    def ring(self) -> Ring:
        """Vertices ``lat lon``, at least three."""
        vertices = [self.vertex()]
        while self.skip(","):
            vertices.append(self.vertex())
        if len(vertices) < 3:
            raise self.error("at least three vertices, each 'lat lon'")
        return tuple(vertices)

    def vertex(self) -> tuple[float, float]:
        """One vertex, of which a polygon may have so many."""
        self.vertices += 1
        if self.vertices > MAX_VERTICES:
            raise self.error(f"at most {MAX_VERTICES:,} vertices")
        return self.latitude(), self.longitude()

    def range_of(self, rule: Callable[[], float]) -> tuple[float, float]:
        """``a..b`` of one kind of number."""
        first = rule()
        self.expect("..")
        return first, rule()

    def latitude(self) -> float:
        """Degrees north."""
        begin = self.now
        value = self.number()
        if abs(value) > 90:
            raise self.error("a latitude from -90 to 90", begin)
        return value

    def longitude(self) -> float:
        """Degrees east."""
        begin = self.now
        value = self.number()
        if abs(value) > 540:
            raise self.error("a longitude from -180 to 360", begin)
        return value

    def window(self) -> Window:
        """``lead i..j``, dates, a season, ``each … a..b`` or ``all``."""
        if self.skip("all"):
            return All()
        if self.skip("lead"):
            return self.leads()
        if self.skip("each"):
            return self.each()
        if self.now.kind == "word" and is_months(self.now.text):
            months = self.take().text
            return Season(months, self.year() if self.now.kind == "number" else None)
        if self.now.kind in ("date", "number"):
            start = self.date()
            return Dates(start, self.date() if self.skip("..") else start)
        raise self.error("a window (lead 1..3, 2027-07, 2050..2059, DJF 2028, each JJA 2070..2099, all)")

    def leads(self) -> Leads:
        """``i..j``, or one lead alone."""
        begin = self.now
        first = self.whole_number()
        last = self.whole_number() if self.skip("..") else first
        if last < first:
            raise self.error("the earlier lead first", begin)
        return Leads(first, last)

    def each(self) -> Each:
        """``JJA 2070..2099`` after ``each``."""
        part = self.now.text
        if part != "year" and not (self.now.kind == "word" and is_months(part)):
            raise self.error(f"year, a season such as JJA, or a month such as {MONTHS[6]}")
        self.take()
        begin = self.now
        first = self.year()
        last = self.year() if self.skip("..") else first
        if last < first:
            raise self.error("the earlier year first", begin)
        return Each(part, first, last)

    def date(self) -> str:
        """``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD``; whether the calendar has it is the store's to say."""
        if self.now.kind == "number":
            return f"{self.year():04d}"
        if self.now.kind != "date":
            raise self.error("a date")
        month = int(self.now.text[5:7])
        day = int(self.now.text[8:10] or 1)
        if not (1 <= month <= 12 and 1 <= day <= 31):
            raise self.error("a date YYYY-MM-DD")
        return self.take().text


def ambiguous_rank(rank: str) -> QuestionError:
    """The refusal of a bare ``P90`` where it has two opposite meanings."""
    chance = float(rank)
    return QuestionError(
        "ambiguous_P90",
        f"'value P{rank}' means opposite things in statistics and energy. Write 'exceeded with {100 - chance:g} %' or "
        f"'not exceeded with {chance:g} %'.",
        try_=(f"exceeded with {100 - chance:g} %", f"not exceeded with {chance:g} %"),
    )
