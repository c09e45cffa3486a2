"""A browser as far as a login needs one: it follows a link, fills in the form that it finds, keeps cookies."""

from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import requests

DEADLINE_SECONDS = 30.0


class _Form(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.action = self.method = ""
        self.error = ""
        self._in_error = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._in_error = given.get("role") == "alert"
        if tag == "form":
            self.action, self.method = given["action"], given["method"]
        if tag == "input":
            self.fields[given["name"]] = given.get("value", "")

    def handle_data(self, data: str) -> None:
        if self._in_error:
            self.error += data

    def handle_endtag(self, tag: str) -> None:
        self._in_error = False


class Browser:
    """One person's browser."""

    def __init__(self, verify: str | bool = True) -> None:
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = verify
        self.page: requests.Response = requests.Response()

    def open(self, url: str) -> "Browser":
        """Show a page."""
        self.page = self.session.get(url, timeout=DEADLINE_SECONDS, allow_redirects=False)
        return self

    @property
    def form(self) -> _Form:
        """The form of the page that is shown."""
        form = _Form()
        form.feed(self.page.text)
        return form

    @property
    def error(self) -> str:
        """What the page says is wrong."""
        return self.form.error

    def send(self, *, headers: dict[str, str] | None = None, **typed: str) -> requests.Response:
        """Send the form with what was *typed*, and go where that leads."""
        form = self.form
        values: dict[str, Any] = {**form.fields, **typed}
        url = urljoin(self.page.url, form.action)
        options: Any = {"timeout": DEADLINE_SECONDS, "allow_redirects": False, "headers": headers}
        if form.method == "get":
            self.page = self.session.get(url, params=values, **options)
        else:
            self.page = self.session.post(url, data=values, **options)
        return self.page

    def log_in(self, url: str, name: str, secret: str) -> requests.Response:
        """Open the page of a login, prove who one is, and see how it ends."""
        self.open(url).send(name=name, secret=secret)
        if self.page.status_code == 303 and self.page.headers["location"].startswith("/"):
            self.open(urljoin(self.page.url, self.page.headers["location"]))
        return self.page
