"""What a check needs to know of a PromQL query: which metrics, with which labels. Pure.

Not a parser of the language: an expression is cut into tokens, and whatever is a name, is no
function, keyword or label and stands in no bracket is a metric. That is exact for queries as we
write them; promtool parses the whole language in a test of its own, where it is at hand.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<range>\[[^\]]*\])|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"""
    r"""|(?P<operator>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){},@])|(?P<number>[0-9.][0-9a-zA-Z.]*)|(?P<space>\s+)"""
)
_GROUPING = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan"}) | _GROUPING
_RATES = frozenset({"rate", "increase", "irate"})


class UnreadableQuery(ValueError):
    """A query has characters that PromQL does not have."""


@dataclass(frozen=True)
class Matcher:
    """`label operator "value"`."""

    label: str
    operator: str
    value: str

    def accepts(self, labels: Mapping[str, str]) -> bool:
        """Whether a sample with *labels* passes; a label that is absent is empty."""
        present = labels.get(self.label, "")
        if self.operator in ("=", "!="):
            return (present == self.value) == (self.operator == "=")
        return bool(re.fullmatch(self.value, present)) == (self.operator == "=~")


@dataclass(frozen=True)
class Selector:
    """A metric as a query names it. `in_rate`: inside rate, increase or irate."""

    metric: str
    matchers: tuple[Matcher, ...]
    in_rate: bool


@dataclass(frozen=True)
class Reading:
    """The selectors of a query, and the labels by which it groups."""

    selectors: tuple[Selector, ...]
    grouping: frozenset[str]


def read(expression: str) -> Reading:
    """Take *expression* apart.

    Raises:
        UnreadableQuery: it is not PromQL.
    """
    return _Reader(_tokens(expression)).reading()


def _tokens(expression: str) -> list[tuple[str, str]]:
    tokens, position = [], 0
    while position < len(expression):
        found = _TOKEN.match(expression, position)
        if not found:
            raise UnreadableQuery(f"cannot read {expression[position:]!r}")
        if found.lastgroup != "space":
            tokens.append((str(found.lastgroup), found[0]))
        position = found.end()
    return [*tokens, ("end", "")]


class _Reader:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._position = 0
        self._functions: list[str] = []
        self._selectors: list[Selector] = []
        self._grouping: set[str] = set()

    def reading(self) -> Reading:
        while self._tokens[self._position][0] != "end":
            self._step()
        return Reading(tuple(self._selectors), frozenset(self._grouping))

    def _take(self) -> tuple[str, str]:
        token = self._tokens[self._position]
        if token[0] != "end":  # which is never taken, so that nobody reads past it
            self._position += 1
        return token

    def _step(self) -> None:
        kind, text = self._take()
        following = self._tokens[self._position][1]
        if text == "(":
            self._functions.append("")
        elif text == ")":
            self._functions = self._functions[:-1]
        elif kind == "name":
            self._name(text, following)

    def _name(self, text: str, following: str) -> None:
        if text.lower() in _GROUPING:
            if following == "(":
                self._grouping.update(self._until(")"))
        elif text.lower() in _WORDS:
            return
        elif following == "(":
            self._take()
            self._functions.append(text)
        elif following not in _GROUPING:  # "sum by (...)": the name is an operator
            matchers = tuple(self._matchers()) if following == "{" else ()
            self._selectors.append(Selector(text, matchers, bool(_RATES.intersection(self._functions))))

    def _until(self, end: str) -> list[str]:
        names = []
        while (token := self._take())[1] != end:
            if token[0] == "end":
                raise UnreadableQuery(f"a {end} is missing")
            if token[0] == "name":
                names.append(token[1])
        return names

    def _matchers(self) -> list[Matcher]:
        matchers = []
        self._take()
        while (token := self._take())[1] != "}":
            if token[0] == "end":
                raise UnreadableQuery("a } is missing")
            if token[0] == "name":
                operator, (kind, value) = self._take()[1], self._take()
                if kind != "text":
                    raise UnreadableQuery(f"the label {token[1]} is compared with no text")
                matchers.append(Matcher(token[1], operator, value[1:-1]))
        return matchers
