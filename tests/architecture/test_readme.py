"""The README and the documents beside it are true: options, picture of the layout, names, links."""

import re
import tomllib
from pathlib import Path
from pkgutil import resolve_name

import pytest

from runner.config import Config, describe, load
from tests.support.readme import BLOCK, CONFIGURATION, DOCUMENTS, README, block, options_file
from tests.support.tree import ROOT

TEXT = README.read_text()


def test_all_options_are_documented() -> None:
    """The documented configuration file has every option with default and meaning (python -m tests.support.readme)."""
    found = BLOCK.search(CONFIGURATION.read_text())
    assert found is not None
    assert found.group() == block()


def test_documented_file_changes_nothing(tmp_path: Path) -> None:
    """The documented file can be used as it stands, and means what no file means."""
    (tmp_path / "jobspan.toml").write_text(options_file())
    plain = load(folder=tmp_path / "empty", environment={})
    read = load(folder=tmp_path, environment={})
    for table in ("site", "wms", "job_agent", "job_wrapper", "telemetry", "reconcile"):
        assert getattr(read, table) == getattr(plain, table)
    assert len(tomllib.loads(options_file())) == 6


def test_defaults_other_than_diracs_have_a_reason() -> None:
    """An option whose help names DIRAC's default stands in the README's table with the reason for ours."""
    section = TEXT.partition("### Where our defaults differ from DIRAC's")[2].partition("\n## ")[0]
    rows = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    differing = {name for _, name, _, _, help in describe(Config(folder=Path("unused"))) if "(DIRAC: " in help}
    assert rows >= differing
    assert rows <= {name for _, name, _, _, _ in describe(Config(folder=Path("unused")))}


def test_layout_is_the_real_one() -> None:
    """The picture of the layout names every package and module directly below `runner` and `telemetry`."""
    picture = TEXT.partition("## Layout")[2].partition("\n## ")[0]
    real = {
        f"{path.name}/" if path.is_dir() else path.name
        for top in ("runner", "telemetry")
        for path in (ROOT / top).iterdir()
        if (path.suffix == ".py" and path.name != "__init__.py") or (path / "__init__.py").is_file()
    }
    assert {each for each in real if each not in picture} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: str(each.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link exists, with the heading that it names, and so does every path in backticks below tests/."""
    text = document.read_text()
    missing = [each for each in re.findall(r"`(tests/[\w./-]+)`", text) if not (ROOT / each).exists()]
    for path, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        target = document.parent / path if path else document
        if not target.exists() or (heading and heading not in headings(target)):
            missing.append(f"{path}#{heading}")
    assert missing == []


def headings(document: Path) -> set[str]:
    """The headings of a Markdown file, as links name them."""
    found = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in found}


def test_names_of_the_table_exist() -> None:
    """Each dotted name of ours in the table of names can be imported."""
    section = TEXT.partition("## From the original names to ours")[2].partition("\n## ")[0]
    names = re.findall(r"`((?:runner|telemetry)(?:\.\w+)+)`", section)
    missing = []
    for each in names:
        try:
            resolve_name(each)
        except (ImportError, AttributeError):
            missing.append(each)
    assert len(names) > 10
    assert missing == []
