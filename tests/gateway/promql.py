"""Just so much of PromQL as the rules of deploy/alerts.yml are written in, evaluated in Python.

Shapes  A Scrape is what all targets showed at one moment: a value by name and labels. A vector is
        a value by labels. `firing` is a rule's vector at the last scrape, if it was there at
        every scrape of its `for`.
Left out what would refuse or change none of these rules: extrapolation of increase and rate to the
        edges of the window, the look-back of five minutes for a target that vanishes (its series
        are stale at once here), NaN, subqueries, offset, bool, group_left, regular expressions
        beyond alternatives. Whatever it does not know raises.
Units   seconds.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import add, eq, ge, gt, le, lt, mul, sub, truediv
from typing import Any

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Value = Vector | float
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?![a-z\d]))|(?P<duration>\d+[smhd])|(?P<name>[a-zA-Z_]\w*)"
    r'|(?P<text>"[^"]*")|(?P<sign>=~|==|>=|<=|[-+*/><=(){}\[\],]))'
)
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "==": eq, ">": gt, "<": lt, ">=": ge, "<=": le,
}  # fmt: skip
_REACH: dict[str, Callable[[float, float], float]] = {"+": add, "-": sub, "*": mul, "/": truediv}
_LEVELS = (("or",), ("and", "unless"), tuple(_COMPARE), ("+", "-"), ("*", "/"))


@dataclass(frozen=True, slots=True)
class Scrape:
    at: float
    series: Mapping[tuple[str, Labels], float]


def firing(rule: Mapping[str, Any], scrapes: Sequence[Scrape]) -> Vector:
    """Where it fires at the last scrape, by labels."""
    lasting = seconds(rule["for"]) if "for" in rule else 0
    now = scrapes[-1].at
    found = evaluated(rule["expr"], scrapes)
    for place, scrape in enumerate(scrapes):
        if now - lasting <= scrape.at < now:
            then = evaluated(rule["expr"], scrapes[: place + 1])
            found = {labels: value for labels, value in found.items() if labels in then}
    return found if now - scrapes[0].at >= lasting else {}


def evaluated(expression: str, scrapes: Sequence[Scrape]) -> Vector:
    reader = _Reader(expression, scrapes)
    value = reader.level(0)
    assert not reader.tokens, f"left over: {reader.tokens}"
    assert isinstance(value, dict), "an alert is made of a vector"
    return value


def seconds(duration: str) -> int:
    return int(duration[:-1]) * _SECONDS[duration[-1]]


class _Reader:
    """Reads and evaluates at once, from left to right."""

    def __init__(self, text: str, scrapes: Sequence[Scrape]) -> None:
        self.tokens: list[str] = []
        self._scrapes = scrapes
        place = 0
        while place < len(text.rstrip()):
            found = _TOKEN.match(text, place)
            assert found is not None, f"cannot read {text[place:]!r}"
            self.tokens.append(found[0].strip())
            place = found.end()

    def take(self, *expected: str) -> str:
        token = self.tokens.pop(0)
        assert not expected or token in expected, f"{token!r} instead of {expected}"
        return token

    def next_is(self, *tokens: str) -> bool:
        return bool(self.tokens) and self.tokens[0] in tokens

    def level(self, depth: int) -> Value:
        if depth == len(_LEVELS):
            return self.atom()
        value = self.level(depth + 1)
        while self.next_is(*_LEVELS[depth]):
            sign = self.take()
            on = self.names() if self.next_is("on") and self.take() else None
            value = _joined(sign, value, self.level(depth + 1), on)
        return value

    def names(self) -> tuple[str, ...]:
        self.take("(")
        found = [self.take()]
        while self.take(",", ")") == ",":
            found.append(self.take())
        return tuple(found)

    def atom(self) -> Value:
        token = self.take()
        if re.fullmatch(r"\d+(\.\d+)?", token):
            return float(token)
        if token == "(":
            value = self.level(0)
            self.take(")")
            return value
        if token in {"sum", "max"}:
            return self.aggregated(max if token == "max" else sum)
        if token == "absent":
            self.take("(")
            value = self.level(0)
            self.take(")")
            return {} if value else {frozenset(): 1.0}
        if token in {"increase", "rate", "last_over_time"}:
            return self.over_time(token)
        assert token.startswith("gateway_"), f"{token!r} is not known here"
        return self.selected(token, self._scrapes[-1:]).get(self._scrapes[-1].at, {})

    def aggregated(self, how: Callable[[Sequence[float]], float]) -> Vector:
        self.take("by")
        by = self.names()
        self.take("(")
        value = self.level(0)
        self.take(")")
        assert isinstance(value, dict)
        groups: dict[Labels, list[float]] = {}
        for labels, each in value.items():
            groups.setdefault(_only(labels, by), []).append(each)
        return {labels: float(how(each)) for labels, each in groups.items()}

    def over_time(self, function: str) -> Vector:
        self.take("(")
        name, rest = self.take(), self.tokens
        place = rest.index("[")
        window = seconds(rest[place + 1])
        now = self._scrapes[-1].at
        within = [each for each in self._scrapes if each.at > now - window]
        found = self.selected(name, within)
        for token in ("[", None, "]", ")"):
            self.take(*([token] if token else []))
        series: dict[Labels, list[float]] = {}
        for vector in found.values():
            for labels, value in vector.items():
                series.setdefault(labels, []).append(value)
        if function == "last_over_time":
            return {labels: values[-1] for labels, values in series.items()}
        by = window if function == "rate" else 1
        return {key: _risen(each) / by for key, each in series.items() if len(each) > 1}

    def selected(self, name: str, scrapes: Sequence[Scrape]) -> dict[float, Vector]:
        wanted: list[tuple[str, set[str]]] = []
        if self.next_is("{"):
            while self.take("{", ",", "}") != "}":
                label, _ = self.take(), self.take("=", "=~")
                wanted.append((label, set(self.take().strip('"').split("|"))))
        return {
            scrape.at: {
                labels: value
                for (each, labels), value in scrape.series.items()
                if each == name and all(dict(labels).get(key, "") in ok for key, ok in wanted)
            }
            for scrape in scrapes
        }


def _only(labels: Labels, names: Sequence[str]) -> Labels:
    return frozenset(pair for pair in labels if pair[0] in names)


def _risen(values: Sequence[float]) -> float:
    """A counter that falls has begun again at 0."""
    return sum(b - a if b >= a else b for a, b in pairwise(values))


def _joined(sign: str, left: Value, right: Value, on: Sequence[str] | None) -> Value:
    if isinstance(left, float) and isinstance(right, float):
        return _REACH[sign](left, right)
    if isinstance(right, float):
        assert isinstance(left, dict)
        if sign in _REACH:
            return {labels: _REACH[sign](each, right) for labels, each in left.items()}
        return {labels: each for labels, each in left.items() if _COMPARE[sign](each, right)}
    if isinstance(left, float):
        return {labels: _REACH[sign](left, each) for labels, each in right.items()}
    return _matched(sign, left, right, lambda labels: labels if on is None else _only(labels, on))


def _matched(sign: str, left: Vector, right: Vector, key: Callable[[Labels], Labels]) -> Vector:
    there = {key(labels) for labels in right}
    if sign == "and":
        return {labels: each for labels, each in left.items() if key(labels) in there}
    if sign == "unless":
        return {labels: each for labels, each in left.items() if key(labels) not in there}
    if sign == "or":
        here = {key(labels) for labels in left}
        return {**{ls: each for ls, each in right.items() if key(ls) not in here}, **left}
    others = {key(labels): each for labels, each in right.items()}
    assert len(others) == len(right), "many on the right match one: Prometheus refuses that"
    assert len({key(labels) for labels in left}) == len(left), "many on the left match one"
    pairs = {ls: (each, others[key(ls)]) for ls, each in left.items() if key(ls) in others}
    if sign in _REACH:
        return {key(ls): _REACH[sign](a, b) for ls, (a, b) in pairs.items()}
    return {ls: a for ls, (a, b) in pairs.items() if _COMPARE[sign](a, b)}
