"""Logs of agent and wrapper: lines on stderr, with every secret masked."""

import logging
from collections.abc import Callable

from runner.redaction import RedactingFilter


def log_to_stderr(redact: Callable[[str], str]) -> None:
    """Send all logging to stderr, through *redact*."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    handler.addFilter(RedactingFilter(redact))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
