"""Job descriptions as text: JDL, JSON and YAML become one tree in which every value knows its line.

All scalars stay text here, exactly as written (``010`` is not 8, ``1.50`` is not 1.5); what a field
means is decided in `runner.job.fields`. All three readers work on untrusted text: they are
bounded in size and depth, and never build objects.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from runner.job.jdl import read_jdl
from runner.job.located import MAX_DEPTH, DocumentError, Located, Tree

#: Most bytes of one description; ten thousand LFNs fit. YAML's scanner is slow, so it gets less.
MAX_BYTES = 1 << 20
MAX_YAML_BYTES = 256 << 10


def read_document(text: str) -> Tree:
    """Read *text* as what its first significant character says: ``{`` JSON, ``[`` or ``Name =`` JDL, else YAML.

    Raises:
        DocumentError: too large, too deep, or not in that format.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise DocumentError(f"the description has {size} bytes, at most {MAX_BYTES} are read")
    if not text.strip():
        raise DocumentError("the description is empty; it needs at least an Executable")
    kind = language(text)
    if kind == "json":
        return read_json(text)
    if kind == "jdl":
        return read_jdl(text)
    return read_yaml(text)


def from_values(values: Mapping[str, Any]) -> Tree:
    """The tree of plain Python *values* (a JSON body, say); it has no lines.

    Raises:
        DocumentError: a value is neither text, number, truth value, list nor mapping.
    """
    return _fields(values, {})


def read_json(text: str) -> Tree:
    """Read a JSON object.

    Raises:
        DocumentError: not JSON, not an object, a name twice.
    """
    lines = _json_lines(text)
    try:
        document = json.loads(
            text, parse_int=str, parse_float=str, parse_constant=_refuse_constant, object_pairs_hook=_unique
        )
    except json.JSONDecodeError as error:
        raise DocumentError(f"not JSON: {error.msg}", error.lineno) from error
    if not isinstance(document, dict):
        raise DocumentError("must be an object of fields", 1)
    return _fields(document, lines)


def read_yaml(text: str) -> Tree:
    """Read a YAML mapping from its events: no anchors, aliases or tags, and one document only.

    Raises:
        DocumentError: not YAML, or more of YAML than a description needs.
    """
    import yaml  # takes 15 ms to load; JDL and JSON do without

    if len(text) > MAX_YAML_BYTES:
        raise DocumentError(f"at most {MAX_YAML_BYTES} characters of YAML are read; write a long description as JSON")
    try:
        events = _checked_events(yaml.parse(text, Loader=yaml.SafeLoader))
        first = next(events, None)
        if not isinstance(first, yaml.MappingStartEvent):
            raise DocumentError("is neither JDL, JSON nor a YAML mapping of fields", _line(first) if first else 1)
        tree = _yaml_value(first, events, 1)
        beyond = next(events, None)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DocumentError(f"not YAML: {error.problem}", mark.line + 1 if mark else None) from error
    except yaml.YAMLError as error:
        raise DocumentError("not YAML: it has characters that text must not have") from error
    if beyond is not None:
        raise DocumentError("holds a second document; write one description a file", _line(beyond))
    assert isinstance(tree.value, dict)  # noqa: S101 - a MappingStartEvent gives nothing else
    return tree.value


def language(text: str) -> str:
    """Which of "json", "jdl", "yaml" a text is, by its first significant character."""
    without_comments = re.sub(r"\A(?:\s+|#[^\n]*|//[^\n]*|/\*.*?\*/|\ufeff)+", "", text, flags=re.DOTALL)
    if without_comments.startswith("{"):
        return "json"
    if without_comments.startswith("[") or re.match(r"[A-Za-z_][\w.]*\s*=", without_comments):
        return "jdl"
    return "yaml"


def _fields(values: Mapping[str, Any], lines: Mapping[str, int]) -> Tree:
    result: Tree = {}
    for name, value in values.items():
        try:
            result[str(name)] = _located(value, lines.get(name), 1)
        except DocumentError as error:
            raise DocumentError(str(error), error.line, str(name)) from error
    return result


def _located(value: Any, line: int | None, depth: int) -> Located:
    if depth > MAX_DEPTH:
        raise DocumentError(f"is nested deeper than {MAX_DEPTH} levels", line)
    if isinstance(value, str):
        return Located(value, line)
    if isinstance(value, bool | int | float):
        return Located(str(value), line)
    if isinstance(value, list | tuple):
        return Located(tuple(_located(each, line, depth + 1) for each in value), line)
    if isinstance(value, Mapping):
        return Located({str(name): _located(each, line, depth + 1) for name, each in value.items()}, line)
    if value is None:
        raise DocumentError("has no value; leave the field out", line)
    raise DocumentError(f"cannot be of type {type(value).__name__}", line)


_JSON_PART = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|\n', re.DOTALL)


def _json_lines(text: str) -> dict[str, int]:
    """Line of each field of the outermost object; checks the depth before a recursive reader sees the text."""
    lines: dict[str, int] = {}
    line, depth, name = 1, 0, ""
    for part in _JSON_PART.findall(text):
        if part in "{[":
            depth += 1
        elif part in "}]":
            depth -= 1
        elif part == ":" and depth == 1 and name:
            if name in lines:
                raise DocumentError(f"the field is given twice, first on line {lines[name]}", line, name)
            lines[name] = line
        if depth > MAX_DEPTH:
            raise DocumentError(f"is nested deeper than {MAX_DEPTH} levels", line)
        if part != "\n":
            name = part[1:-1] if part.startswith('"') else ""
        line += part.count("\n")
    return lines


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DocumentError(f"the field {twice} is given twice")
    return result


def _refuse_constant(name: str) -> Any:
    raise DocumentError(f"{name} is not a number that a description may have")


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _checked_events(events: Iterator[Any]) -> Iterator[Any]:
    import yaml

    for event in events:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise DocumentError("anchors and aliases (& and *) are not read here; write the value out", _line(event))
        if getattr(event, "tag", None):
            raise DocumentError(f"the tag {event.tag} is not read here; write plain text", _line(event))
        if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
            yield event


def _yaml_value(event: Any, events: Iterator[Any], depth: int) -> Located:
    import yaml

    if depth > MAX_DEPTH:
        raise DocumentError(f"is nested deeper than {MAX_DEPTH} levels", _line(event))
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while not isinstance(item := next(events), yaml.SequenceEndEvent):
            items.append(_yaml_value(item, events, depth + 1))
        return Located(tuple(items), _line(event))
    if isinstance(event, yaml.MappingStartEvent):
        return Located(_yaml_mapping(events, depth), _line(event))
    if event.implicit[0] and event.value in ("", "~", "null", "Null", "NULL"):
        raise DocumentError("has no value; leave the field out", _line(event))
    return Located(event.value, _line(event))


def _yaml_mapping(events: Iterator[Any], depth: int) -> Tree:
    import yaml

    result: Tree = {}
    while not isinstance(key := next(events), yaml.MappingEndEvent):
        if not isinstance(key, yaml.ScalarEvent):
            raise DocumentError("the name of a field must be text", _line(key))
        if key.value in result:
            raise DocumentError(
                f"the field is given twice, first on line {result[key.value].line}", _line(key), key.value
            )
        try:
            value = _yaml_value(next(events), events, depth + 1)
        except DocumentError as error:
            raise DocumentError(str(error), error.line, key.value) from error
        # The line of the name serves a reader better than that of the value, which may follow below.
        result[key.value] = Located(value.value, _line(key))
    return result
