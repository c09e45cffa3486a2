"""Log lines: for people or machines, named by their call, without secrets."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from runner.compose.logs import Form, log_to_stderr
from telemetry.clock import parse_utc

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[Form], list[str]]]:
    """Log something in that form; the lines that came of it."""
    before = logging.root.handlers[:], logging.root.level

    def log(form: Form) -> list[str]:
        log_to_stderr(lambda text: text.replace("hunter22", "***"), form, marks=lambda: {"request_id": "r1"})
        logger = logging.getLogger("jobspan.test")
        logger.info("the password is %s,\nnot %s", "hunter22", TOKEN)
        logger.debug("nobody asked")
        try:
            raise ValueError("hunter22")
        except ValueError:
            logger.exception("it failed")
        return capsys.readouterr().err.splitlines()

    yield log
    logging.root.handlers[:], logging.root.level = before


def test_json_lines_are_objects_whatever_is_logged(lines: Callable[[Form], list[str]]) -> None:
    """One object a line, newlines and tracebacks inside it; time in UTC, level, logger, message, the call's id."""
    first, second = map(json.loads, lines("json"))
    assert parse_utc(first.pop("time")) > 0
    assert first == {
        "level": "info", "logger": "jobspan.test", "message": "the password is ***,\nnot ***", "request_id": "r1",
    }  # fmt: skip
    assert (second["level"], second["message"]) == ("error", "it failed")
    assert second["exception"].endswith("ValueError: ***")


def test_text_lines_end_with_what_they_belong_to(lines: Callable[[Form], list[str]]) -> None:
    """People read the message first; the id of the call is at its end, and secrets are masked here too."""
    found = lines("text")
    assert found[0].endswith("INFO    jobspan.test: the password is ***,")
    assert found[1] == "not *** [request_id=r1]"
    assert found[2].endswith("ERROR   jobspan.test: it failed [request_id=r1]")
    assert found[-1] == "ValueError: ***"
    assert "hunter22" not in "".join(found)


@pytest.mark.parametrize("command", ["wms", "agent"])
def test_services_take_no_other_format(command: str) -> None:
    """--log-format is text or json."""
    line = [sys.executable, "-m", "runner.cli", command, "--log-format", "xml"]
    result = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "xml" in result.stderr
