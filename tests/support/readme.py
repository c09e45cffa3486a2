"""The documents, and the part of them that a machine writes: the configuration file with all options and defaults.

`python -m tests.support.readme` renews it; a test holds it against the code.
"""

import re
from pathlib import Path
from typing import Any

from runner.config import Config, describe
from tests.support.tree import ROOT

README = ROOT / "README.md"
CONFIGURATION = ROOT / "runner/CONFIGURATION.md"
#: All that is written for users by hand.
DOCUMENTS = (README, CONFIGURATION, ROOT / "runner/server/README.md", ROOT / "runner/wms/README.md")
BLOCK = re.compile(r"(?<=<!-- options: begin -->\n).*?(?=<!-- options: end -->)", re.DOTALL)


def options_file() -> str:
    """A configuration file that says nothing new: every option with its default and its meaning."""
    lines: list[str] = []
    present = ""
    for table, name, _, default, help in describe(Config(folder=Path("unused"))):
        if table != present:
            lines += ["", f"[{table}]"] if present else [f"[{table}]"]
            present = table
        lines.append(f"{f'{name} = {toml(default)}':32}  # {help}")
    return "\n".join(lines) + "\n"


def block() -> str:
    """What stands between the markers."""
    return f"```toml\n{options_file()}```\n"


def toml(value: Any) -> str:
    """A default as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(toml(item) for item in value)}]"
    if isinstance(value, str):
        return f'"{value}"'
    return f"{value:g}" if isinstance(value, float) and not value.is_integer() else str(int(value))


if __name__ == "__main__":
    text = CONFIGURATION.read_text()
    CONFIGURATION.write_text(BLOCK.sub(lambda _: block(), text))
