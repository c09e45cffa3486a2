"""What somebody asks for as a source: `NAME=KIND:WHERE,option=value`. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_OPTION = re.compile(r"[a-z_]+=.*", re.DOTALL)


class SourceError(ValueError):
    """A source cannot be read; the message names it and says why."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One source: how it is called in the result, its kind, where it is, and what else is to be known of it."""

    name: str
    kind: str
    where: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


def parse(text: str) -> Wanted:
    """Read `NAME=KIND:WHERE,option=value,...`, where a kind that needs none has no WHERE, such as `wms=wms,grace=60`.

    A comma in WHERE is fine, unless an option seems to follow.

    Raises:
        SourceError: it is not of that form.
    """
    name, has_name, rest = text.partition("=")
    kind = re.split("[:,]", rest, maxsplit=1)[0]
    place = rest[len(kind) :].removeprefix(":")
    if not has_name or not _NAME.fullmatch(name) or not kind:
        raise SourceError(
            f"{text!r}: write --source NAME=KIND:WHERE, such as wms=wms or batch=sacct:jobs.txt"
            " (the name: small letters, digits, _)"
        )
    where, *others = place.split(",")
    options = {}
    for each in others:
        if _OPTION.fullmatch(each):
            option, _, value = each.partition("=")
            options[option] = value
        elif options:
            last = list(options)[-1]
            options[last] += f",{each}"
        else:
            where += f",{each}"
    return Wanted(name=name, kind=kind, where=where, options=options)
