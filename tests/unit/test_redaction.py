"""Secrets are masked in texts and in logs."""

import io
import logging
from pathlib import Path

from runner.config import load
from runner.redaction import RedactingFilter, Redactor


def test_secrets_and_userinfo_are_masked() -> None:
    """Values of secrets are masked wherever they stand, the longer one first, and the userinfo of URLs."""
    redact = Redactor(["hunter2hunter2", "hunter2hunter2-and-more", "short"])
    assert redact("a hunter2hunter2-and-more b hunter2hunter2 c short") == "a *** b *** c short"
    assert redact("https://alice:pw@example.org/x?u=a@b") == "https://***@example.org/x?u=a@b"
    redact.add("another-secret\n")
    assert redact("x another-secret y") == "x *** y"


def test_each_line_of_a_key_is_masked() -> None:
    """Of a secret with several lines each is masked by itself: output is shown line by line."""
    redact = Redactor(["-----BEGIN KEY-----\nMIIEvQIBADANBg\nend\n-----END KEY-----\n"])
    assert redact("-----BEGIN KEY-----\nMIIEvQIBADANBg\nend\n-----END KEY-----") == "***"
    assert redact("x MIIEvQIBADANBg y end") == "x *** y end"


def test_all_that_the_configuration_knows_is_masked(tmp_path: Path) -> None:
    """Token files, values of environment names that say so, and collector headers."""
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "pilot.token").write_text("pilot-token-content\n")
    environment = {"HOME": "/", "MY_PASSWORD": "correct horse", "OTEL_EXPORTER_OTLP_HEADERS": "x-api=abcdefghij"}
    redact = Redactor.of(load(folder=tmp_path, environment=environment))
    assert redact("pilot-token-content|correct horse|abcdefghij|else") == "***|***|***|else"


def test_logs_are_masked_with_their_tracebacks() -> None:
    """A record's message, its arguments and the exception's text lose the secret."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter(Redactor(["hunter2hunter2"])))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    try:
        raise ValueError("it was hunter2hunter2")
    except ValueError:
        logger.exception("failed with %s", "hunter2hunter2")
    text = stream.getvalue()
    assert "hunter2" not in text
    assert "failed with ***" in text
    assert "ValueError: it was ***" in text
