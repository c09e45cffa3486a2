"""The pages on which somebody lets a program act for him. No script, and nothing is loaded from elsewhere."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:30rem;margin:3rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
h1{font-size:1.4rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem;margin:1rem 0;padding:.8rem;background:#f3f5f7}
dt{color:#57606a}
dd{margin:0;overflow-wrap:anywhere}
label{display:block;margin:.8rem 0}
input{display:block;width:100%;box-sizing:border-box;font:inherit;padding:.4rem;
border:1px solid #8c959f;border-radius:4px}
button{font:inherit;padding:.5rem 1.2rem;border:0;border-radius:4px;background:#0b5cad;color:#fff;margin-top:.5rem}
.error{color:#a40e26;font-weight:600}
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}dl{background:#161b22}dt{color:#9da7b3}
input{background:#0d1117;color:inherit}.error{color:#ff7b72}}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


@dataclass(frozen=True)
class Asked:
    """What a program asks for: shown before anybody types a password."""

    user_code: str
    vo: str
    group: str
    client: str
    address: str


def headers(form_target: str = "") -> dict[str, str]:
    """What a browser is told with each page. *form_target*: where the answer to the form may lead, if elsewhere."""
    targets = " ".join(filter(None, ("'self'", form_target)))
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action {targets}"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def code_page(error: str = "") -> str:
    """Where the code is entered that the program shows."""
    return _page(
        "Log in",
        _error(error)
        + "<p>Enter the code that the program shows in which you have asked for a login.</p>"
        + '<form method="get" action="/api/auth/device">'
        + _field("Code", "user_code", {"autocomplete": "off", "autofocus": "autofocus", "maxlength": "40"})
        + "<button>Continue</button></form>",
    )


def proof_page(asked: Asked, token: str, error: str = "") -> str:
    """Where somebody sees what is asked, and proves who he is."""
    rows = {
        "Code": asked.user_code,
        "Program": asked.client,
        "From": asked.address,
        "Acts in group": f"{asked.group} ({asked.vo})",
    }
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows.items())
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">'
        for name, value in (("user_code", asked.user_code), ("token", token))
    )
    return _page(
        "Let this program act for you?",
        _error(error)
        + f"<dl>{listed}</dl>"
        + "<p>Go on only if you have started this login yourself, just now, and the code is the one that you see "
        + "there. If somebody has sent you here, close this page.</p>"
        + f'<form method="post" action="/api/auth/verify">{hidden}'
        + _field("Name", "name", {"autocomplete": "username", "autofocus": "autofocus", "maxlength": "64"})
        + _field(
            "Password, or one-time code",
            "secret",
            {"type": "password", "autocomplete": "current-password", "maxlength": "256"},
        )
        + "<button>Log in</button></form>",
    )


def finished_page() -> str:
    """What is shown when all is done."""
    return _page("You are logged in", "<p>The program goes on by itself. You can close this page.</p>")


def failed_page(error: str) -> str:
    """What is shown when there is nothing to go on with."""
    return _page("This login cannot go on", _error(error) + "<p>Begin again in your program.</p>")


def _page(title: str, body: str) -> str:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    style = f"<style>{_STYLE}</style>"
    main = f"<main><h1>{escape(title)}</h1>{body}</main>"
    return f'<!doctype html><html lang="en"><head>{head}{style}</head><body>{main}</body></html>\n'


def _field(label: str, name: str, attributes: Mapping[str, str]) -> str:
    given = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items())
    return f'<label>{escape(label)}<input name="{name}" required{given}></label>'


def _error(text: str) -> str:
    return f'<p class="error" role="alert">{escape(text)}</p>' if text else ""
