"""A real Chromium, Debian's, for the tests of pages."""

import contextlib
from collections.abc import Iterator

from playwright.sync_api import Browser, sync_playwright

PROGRAM = "/usr/bin/chromium"
#: As root there is no sandbox; nothing but our own pages on loopback is shown.
ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")
DEADLINE_MS = 30_000


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window; its contexts are people who know nothing of each other."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()
