"""Budgets: sizes that keep each piece readable in one go."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tree import modules, name, packages, parse

FUNCTION_LINES = 50
MODULE_LINES = 400
#: Tables of names, an entry a name: as long as what they list.
TABLES = frozenset({"telemetry/catalogue.py", "runner/tables.py"})
ATTRIBUTES = 12


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in modules():
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name(path)}:{node.lineno} {node.name}", node


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    total = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        total -= (first.end_lineno or first.lineno) - first.lineno + 1
    return total


def attributes(node: ast.ClassDef) -> set[str]:
    """Names assigned on `self` anywhere in the class."""
    return {
        target.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Assign | ast.AnnAssign)
        for target in (each.targets if isinstance(each, ast.Assign) else [each.target])
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self"
    }


def test_functions_are_short() -> None:
    """No function is longer than 50 lines, its docstring not counted."""
    assert [(where, lines) for where, node in functions() if (lines := body_lines(node)) > FUNCTION_LINES] == []


def test_modules_are_short() -> None:
    """No module has more than 400 lines, blank ones not counted, but for tables."""
    sizes = {name(path): sum(1 for line in path.read_text().splitlines() if line.strip()) for path in modules()}
    sizes = {path: lines for path, lines in sizes.items() if path not in TABLES}
    assert {path: lines for path, lines in sizes.items() if lines > MODULE_LINES} == {}


def test_classes_are_small() -> None:
    """No class sets more than 12 attributes on itself."""
    found = {
        f"{name(path)} {node.name}": len(attributes(node))
        for path in modules()
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ClassDef)
    }
    assert {where: count for where, count in found.items() if count > ATTRIBUTES} == {}


def test_everything_public_is_explained() -> None:
    """Every module and every public class, function and method has a docstring."""
    missing = [name(path) for path in modules() if not ast.get_docstring(parse(path))]
    for path in modules():
        missing.extend(f"{name(path)}: {each}" for each in undocumented(parse(path)))
    assert missing == []


def undocumented(node: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[str]:
    for each in node.body:
        if not isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or each.name.startswith("_"):
            continue
        if not ast.get_docstring(each):
            yield prefix + each.name
        if isinstance(each, ast.ClassDef):
            yield from undocumented(each, f"{each.name}.")


@pytest.mark.parametrize("folder", packages(), ids=name)
def test_package_has_its_map(folder: Path) -> None:
    """The docstring of a package's __init__ is a map: it names every module and package in it."""
    text = ast.get_docstring(parse(folder / "__init__.py")) or ""
    inside = [path.stem for path in folder.glob("*.py")] + [path.parent.name for path in folder.glob("*/__init__.py")]
    assert [each for each in sorted(inside) if not each.startswith("__") and each not in text] == []
