"""Logs of our processes: lines on stderr, with every secret masked; for people, or as JSON for machines."""

import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from runner.redaction import MASK, RedactingFilter
from telemetry.clock import utc_text

Form: TypeAlias = Literal["text", "json"]
Marks: TypeAlias = Callable[[], Mapping[str, str]]
#: Tokens of others, which nobody has told us: three parts of base64 with a JSON object in front.
_TOKEN = re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+")


def log_to_stderr(redact: Callable[[str], str], form: Form = "text", *, marks: Marks = dict) -> None:
    """Send all logging to stderr, through *redact*; *marks* say what a line belongs to (request_id ...)."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(marks) if form == "json" else TextFormatter(marks))
    handler.addFilter(RedactingFilter(lambda text: _TOKEN.sub(MASK, redact(text))))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class TextFormatter(logging.Formatter):
    """For people: time, level, who, what; at the end what it belongs to."""

    def __init__(self, marks: Marks) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s%(marks)s")
        self._marks = marks

    def format(self, record: logging.LogRecord) -> str:
        """One line, or several with a traceback."""
        found = " ".join(f"{name}={value}" for name, value in self._marks().items())
        record.marks = f" [{found}]" if found else ""
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """For machines: one object a line, times in UTC."""

    def __init__(self, marks: Marks) -> None:
        super().__init__()
        self._marks = marks

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        line = {
            "time": utc_text(int(record.created * 1e9)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._marks(),
        }
        trace = record.exc_text or (self.formatException(record.exc_info) if record.exc_info else "")
        return json.dumps({**line, "exception": trace} if trace else line)
