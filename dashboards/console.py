"""The pages of the web console: values in, HTML out. They know no service, and ask nobody.

What a template puts out is escaped and loses its control characters (`dashboards.pages`). The only script keeps a
page up to date; without it pages renew themselves now and then, and everything else is the same. A page is one answer:
style and script stand on it, because a first visit waits for every further one. They are not sent again: the script
asks for the page's own part only (`PART`). Pages are not compressed: they hold the token of the forms beside what
an address asks for, and lengths of compressed answers would tell of it.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dashboards import pages

#: Seconds after which a page renews itself: by the script, and without it.
LIVE_SECONDS, RELOAD_SECONDS = 5, 30
#: As what the script asks for a page (`live=`).
PART = "part"
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
    #: Only what changes is wanted.
    is_part: bool = False
    said: str = ""
    error: str = ""


def page(name: str, frame: Frame, /, **values: Any) -> str:
    """The page *name* of `templates/console`."""
    shown = {"frame": frame, "script": _script(), "live": LIVE_SECONDS, "reload": RELOAD_SECONDS}
    return pages.render(f"console/{name}.html", **shown, **values)


@functools.cache
def headers(*, may_have_opener: bool = True) -> Mapping[str, str]:
    """What a browser is told with each page: nothing from elsewhere, no script but ours, in nobody's frame or hand.

    A page of others that has opened ours is cut off (COOP). That takes a browser another process, so that nobody is
    to wait for it who has typed the address, or comes from a page of ours, which was cut off then.
    """
    policy = (
        f"default-src 'none'; style-src {pages.style_source()}; script-src {pages.source_of(_script())}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    )
    return {
        "Content-Security-Policy": policy,
        **({"Cross-Origin-Opener-Policy": "same-origin"} if may_have_opener else {}),
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


@functools.cache
def _script() -> Markup:
    return Markup(_SCRIPT.read_text(encoding="utf-8"))  # noqa: S704 - our own file; escaped quotes would break it
