"""The pages of the web console: values in, HTML out. They know no service, and ask nobody.

What a template puts out is escaped and loses its control characters (`dashboards.pages`). The only script keeps a
page up to date; without it pages renew themselves now and then, and everything else is the same.
"""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboards import pages

#: Seconds after which a page renews itself: by the script, and without it.
LIVE_SECONDS, RELOAD_SECONDS = 5, 30
_SCRIPT = Path(__file__).with_name("templates") / "console" / "console.js"


@dataclass(frozen=True)
class Link:
    """Where one can go."""

    title: str
    address: str
    is_here: bool = False


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What is around a page: who looks at it, where he may go, what he has just done."""

    visitor: str = ""
    group: str = ""
    form_token: str = ""
    links: tuple[Link, ...] = ()
    #: The page's own address, if it is to be renewed; empty: what it shows does not change.
    again: str = ""
    said: str = ""
    error: str = ""


def page(name: str, frame: Frame, /, **values: Any) -> str:
    """The page *name* of `templates/console`."""
    shown = {"frame": frame, "script": script_address(), "live": LIVE_SECONDS, "reload": RELOAD_SECONDS}
    return pages.render(f"console/{name}.html", **shown, **values)


def headers() -> Mapping[str, str]:
    """What a browser is told with each page: nothing from elsewhere, no script but ours, in nobody's frame."""
    policy = (
        f"default-src 'none'; style-src {pages.style_source()}; script-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    )
    return {
        "Content-Security-Policy": policy,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


@functools.cache
def script() -> str:
    """The script that keeps pages up to date."""
    return _SCRIPT.read_text(encoding="utf-8")


@functools.cache
def script_address() -> str:
    """Where the script is; another address for each other content, so that browsers may keep it."""
    return f"/console/console.js?{hashlib.sha256(script().encode()).hexdigest()[:16]}"
