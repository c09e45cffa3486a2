"""Pages for browsers: templates in, HTML out. The style is one, and nothing is loaded from elsewhere.

Whatever a template puts out is escaped, and loses its control characters and direction marks; a name that a
template misses is an error. Templates use `templates/base.html`, and the formats of `dashboards.text` as filters.
No `style=` attributes, and no scripts but those whose digest the policy names: it refuses them. Drawings are SVG.
"""

import base64
import functools
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dashboards import text

_TEMPLATES = Path(__file__).with_name("templates")

#: Class of a badge by status; whatever is not named here is under way.
_BADGES = {
    **dict.fromkeys(("Done", "success", "matched", "ok"), "good"),
    **dict.fromkeys(("Failed", "Killed", "failure", "error", "timeout", "bad"), "bad"),
    **dict.fromkeys(("Completed", "Stalled", "Rescheduled", "cancellation", "late", "note"), "warn"),
    **dict.fromkeys(("Deleted", "skip", "pending", "Received", "Checking", "Staging", "Waiting", ""), "idle"),
}


def render(template: str, **values: Any) -> str:
    """A page that a server sends; the policy goes into its headers (see `style_source`)."""
    return _environment().get_template(template).render(values | {"policy": ""})


def document(template: str, **values: Any) -> str:
    """A page for a file: it holds all that it shows, and says itself that it may load nothing."""
    policy = f"default-src 'none'; style-src {style_source()}; base-uri 'none'; form-action 'none'"
    return _environment().get_template(template).render(values | {"policy": policy})


@functools.cache
def style_source() -> str:
    """What `style-src` of a Content-Security-Policy must hold for the style of `base.html`."""
    return source_of(_style())


def source_of(text: str) -> str:
    """What a Content-Security-Policy must hold for a style or a script that stands on the page, of that very text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def badge(status: object) -> str:
    """Class of the badge in which a status, a result or a class is shown: good, bad, warn, idle or live."""
    return _BADGES.get(str(status or ""), "live")


@functools.cache
def _style() -> str:
    return (_TEMPLATES / "style.css").read_text(encoding="utf-8")


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("dashboards"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "badge": badge,
        "size": text.bytes_text,
        "duration": text.seconds_text,
        "fine_duration": text.fine_seconds_text,
        "figure": text.number_text,
        "percent": text.percent_text,
        "moment": text.moment_text,
        "one_line": text.one_line,
    }
    environment.globals["style"] = Markup(_style())  # noqa: S704 - our own file; escaped quotes would break its hash
    return environment


def _harmless(value: Any) -> Any:
    """What an expression puts out, before it is escaped; also of text that a filter has escaped already."""
    if value is None:
        return ""
    if isinstance(value, Markup):
        return Markup(text.clean(value))  # noqa: S704 - it was markup before, and loses characters only
    return text.clean(value) if isinstance(value, str) else value
