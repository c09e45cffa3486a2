"""The checkout itself: which files are ours."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("runner", "telemetry", "dashboards")
LEFT_OUT = {".git", ".venv", "__pycache__", "build", "dist", ".cache", ".hypothesis"}
#: What `make demo` leaves at the top.
DEMO_FOLDER = "demo"


def modules(*tops: str) -> list[Path]:
    """The Python modules below *tops*, or of the whole product."""
    return sorted(path for top in tops or PACKAGES for path in (ROOT / top).rglob("*.py"))


def packages() -> list[Path]:
    """The folders of the product's packages."""
    return [path.parent for path in modules() if path.name == "__init__.py"]


def files() -> Iterator[Path]:
    """All files of the checkout, without what tools and builds leave."""
    for path in sorted(ROOT.rglob("*")):
        inside = path.relative_to(ROOT).parts
        if path.is_file() and not LEFT_OUT.intersection(inside) and not inside[0].endswith(("_cache", DEMO_FOLDER)):
            yield path


def parse(path: Path) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(path.read_text(), str(path))


def name(path: Path) -> str:
    """A path as it is called inside the checkout."""
    return str(path.relative_to(ROOT))
