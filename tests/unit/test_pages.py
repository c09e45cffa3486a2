"""The frame of all pages: what others wrote is harmless on them, and they may load nothing."""

import base64
import hashlib
import re
import unicodedata

import pytest
from jinja2 import UndefinedError

from dashboards import pages
from dashboards.text import ago_text, bytes_text, clean, moment_text, number_text

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e\x00&\"'"


def drawn(source: str, **values: object) -> str:
    return pages._environment().from_string(source).render(values | {"policy": ""})


@pytest.mark.parametrize("expression", ["x", "x|e", "x|upper", '"a" ~ x', "[x]|join", "x|one_line"])
def test_what_others_wrote_is_harmless(expression: str) -> None:
    """Whatever a template does with a text, markup in it is escaped and no control character is left."""
    text = drawn("{{ " + expression + " }}", x=HOSTILE)
    assert "<" not in text
    assert '"' not in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    assert "lert(1)" in text.lower()


def test_what_steers_vanishes_and_all_else_stays() -> None:
    """Control characters, marks that turn writing around and halves of characters; newlines, tabs and letters stay."""
    marks = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    for character in map(chr, [*range(0x3000), 0xD800, 0xDFFF, 0x1F600]):
        steers = character in marks or (unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t")
        alone = "" if steers else character
        assert clean(f"a{character}0") == f"a{alone}0"
        assert clean(character) == alone


def test_a_name_that_is_missing_is_an_error() -> None:
    """A template that asks for what nobody gave does not silently show nothing."""
    with pytest.raises(UndefinedError):
        drawn("{{ nobody }}")


def test_the_style_is_the_one_that_the_policy_allows() -> None:
    """The style stands on the page byte for byte as its hash says; a file says itself what it may load."""
    text = pages.document("base.html")
    found = re.search(r"<style>(.*)</style>", text, re.DOTALL)
    assert found is not None
    assert pages.style_source() == f"'sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}'"
    assert "default-src &#39;none&#39;" in text
    assert "Content-Security-Policy" not in pages.render("base.html")
    assert "http" not in re.sub(r"http-equiv", "", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (bytes_text(0), "0 B"),
        (bytes_text(1023), "1023 B"),
        (bytes_text(1536), "1.5 KiB"),
        (bytes_text(1023.9 * 1024), "1.0 MiB"),
        (bytes_text(None), ""),
        (number_text(1234567.891, 2), "1,234,567.89"),
        (number_text(0.0073531, 2), "0.0074"),
        (number_text(-0.0999, 2), "-0.100"),
        (number_text(1e-12, 2), "0.000000000"),
        (number_text(0.0, 2), "0.00"),
        (moment_text(1_700_000_000_000_000_000), "2023-11-14 22:13:20 UTC"),
        (moment_text(0), ""),
        (ago_text(-1), "less than a minute ago"),
        (ago_text(59.9), "less than a minute ago"),
        (ago_text(185), "3 min ago"),
        (ago_text(7500), "2 h 05 min ago"),
        (ago_text(200_000), "2 days ago"),
    ],
)
def test_figures_are_for_people(text: str, expected: str) -> None:
    """Sizes, numbers and moments have the form that people read."""
    assert text == expected
