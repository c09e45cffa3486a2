"""`jobspan accounting export`: the records that count, in the form of another system."""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runner.commands.context import Context
from runner.errors import ConfigError

if TYPE_CHECKING:
    from telemetry.identity import UserName
    from telemetry.ledger.formats.apel import Version
    from telemetry.ledger.record import Record

FORMATS = ("apel-individual", "apel-summary", "auditor", "dirac", "ogf")
_LEVELS = {
    "off": 'this site publishes nothing in APEL; set [Site] APELLevel = "payload" if it shall, and if nobody '
    "publishes the batch jobs in which payloads run",
    "batch": "this site publishes its batch system's records in APEL: payloads ran within those, and would be counted "
    "twice",
}


def configure_export(parser: argparse._ActionsContainer) -> None:
    """The options of the export."""
    parser.add_argument("--format", choices=FORMATS, help="whose form")
    parser.add_argument("--month", metavar="YYYY-MM", help="attempts that ended in this month (UTC); none: all")
    parser.add_argument(
        "--output",
        metavar="PATH",
        type=Path,
        help="a file; for APEL the folder from which its sender takes messages; none: standard output",
    )
    parser.add_argument("--apel-version", choices=("v0.3", "v0.4"), default="v0.3", help="of messages for APEL")


def export(context: Context) -> int:
    """Do it."""
    from runner.compose.accounts import Accounts
    from runner.compose.users import user_names
    from runner.wms.client import EVER
    from telemetry.ledger.monthly import Month

    given = context.arguments
    if given.format is None:
        raise ConfigError(f"in which form? --format {'|'.join(FORMATS)}")
    if context.terminal.as_json and given.output is None:
        raise ConfigError("with --json the records need a place of their own: --output")
    is_apel = given.format.startswith("apel")
    if is_apel:
        _refuse_double_publication(context.config.site.apel_level, given.output)
    try:
        ended = Month.of(given.month).bounds if given.month else EVER
    except ValueError as error:
        raise ConfigError(f"--month: {error}") from error
    accounts = Accounts(context.config)
    chosen = _Chosen(_objector(given.format, given.apel_version))
    pieces = _rendered(given.format, given.apel_version, user_names(context.config))(
        chosen.of(record for record, _ in accounts.records(ended))
    )
    messages = _write(pieces, given.output, is_queue=is_apel)
    problems = [*accounts.problems, *chosen.sentences()]
    for problem in problems:
        print(f"jobspan: {problem}", file=sys.stderr)
    if given.output is not None:
        context.terminal.line(f"{chosen.taken} records in {given.output}" + (f", {messages} messages" * is_apel))
    result = {"format": given.format, "records": chosen.taken, "problems": problems, "output": str(given.output or "")}
    context.terminal.json(result | ({"messages": messages} if is_apel else {}))
    return 1 if problems else 0


@dataclass
class _Chosen:
    """Records that the form can carry; the others are counted, by what is wrong with them."""

    objection: "Callable[[Record], str]"
    taken: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def of(self, records: "Iterable[Record]") -> "Iterator[Record]":
        for record in records:
            if reason := self.objection(record):
                self.left_out[reason] += 1
            else:
                self.taken += 1
                yield record

    def sentences(self) -> list[str]:
        return [f"left out {count} records: {reason}" for reason, count in sorted(self.left_out.items())]


def _objector(form: str, version: "Version") -> "Callable[[Record], str]":
    from telemetry.ledger.formats import apel, dirac, usage

    def why(record: "Record") -> str:
        """Of whatever any system refuses, and of what this one does."""
        reason = usage.objection(record)
        if not reason and form == "dirac":
            reason = dirac.objection(record)
        if not reason and form.startswith("apel"):
            reason = apel.objection(record, version)
        return reason

    return why


def _rendered(form: str, version: "Version", users: "UserName") -> "Callable[[Iterable[Record]], Iterator[str]]":
    from functools import partial

    from telemetry.ledger.formats import apel, auditor, dirac, ogf

    renderers: Mapping[str, Callable[..., Iterator[str]]] = {
        "apel-individual": partial(apel.individual, version=version),
        "apel-summary": partial(apel.summary, version=version),
        "auditor": auditor.render,
        "dirac": dirac.render,
        "ogf": ogf.render,
    }
    return partial(renderers[form], users=users)


# --- where it goes --------------------------------------------------------------------------------


def _write(pieces: Iterable[str], output: Path | None, *, is_queue: bool) -> int:
    """How many pieces there were."""
    if output is None:
        return sum(1 for each in pieces if sys.stdout.write(each))
    try:
        return _enqueue(pieces, output) if is_queue else _write_file(pieces, output)
    except OSError as error:
        raise ConfigError(f"--output {output}: {error.strerror}") from error


def _write_file(pieces: Iterable[str], path: Path) -> int:
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        count = sum(1 for each in pieces if file.write(each))
    part.rename(path)
    return count


def _enqueue(messages: Iterable[str], folder: Path) -> int:
    """Each message as an element of a "simple directory queue", which APEL's sender empties: a folder of a minute, with
    files named by the microsecond. Nothing is there before all of it is, so that a failure publishes no part."""
    from telemetry.clock import SystemClock

    start = SystemClock().utc_ns() // 1000
    parts: list[tuple[Path, Path]] = []
    for count, message in enumerate(messages):
        seconds, micros = divmod(start + count, 1_000_000)
        place = folder / f"{seconds - seconds % 60:08x}" / f"{seconds:08x}{micros:05x}0"
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_suffix(".tmp")
        part.write_text(message, encoding="utf-8")
        parts.append((part, place))
    for part, place in parts:
        part.rename(place)
    return len(parts)


def _refuse_double_publication(level: str, output: Path | None) -> None:
    """Raises ConfigError: what runs in batch jobs would be published beside those."""
    if level in _LEVELS:
        raise ConfigError(_LEVELS[level])
    if output is None or not output.is_dir():
        return
    for path in sorted(output.rglob("*")):
        if path.is_file() and _holds_batch_level(path):
            raise ConfigError(
                f"{path} holds records that are not of the payload level: published together, the same hours would be "
                "counted twice"
            )


def _holds_batch_level(path: Path) -> bool:
    from telemetry.ledger.formats import apel
    from telemetry.ledger.formats.usage import PAYLOAD_LEVEL, FormatError

    with path.open(encoding="utf-8", errors="replace") as file:
        if not file.readline().startswith("APEL-"):
            return False
        file.seek(0)
        try:
            return any(each.level != PAYLOAD_LEVEL for each in apel.parse(file))
        except FormatError:
            return True  # whatever it is, it is none of ours
