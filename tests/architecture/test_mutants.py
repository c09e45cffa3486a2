"""The table of mutants stays true while the code moves."""

import importlib.util
from types import ModuleType

from tests.support.tree import ROOT


def runner_of_mutants() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants_run", ROOT / "tests" / "mutants" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_mutant_can_be_made() -> None:
    """The text that a mutant replaces stands exactly once in its file, and its test exists."""
    wrong = []
    for mutant in runner_of_mutants().load():
        path, _, test = mutant.test.partition("::")
        if (ROOT / mutant.file).read_text().count(mutant.old) != 1:
            wrong.append(f"{mutant.what}: {mutant.file}")
        if not (ROOT / path).is_file() or f"def {test.partition('[')[0]}(" not in (ROOT / path).read_text():
            wrong.append(f"{mutant.what}: {mutant.test}")
    assert wrong == []


def test_every_promise_has_its_mutant() -> None:
    """The promises that the code keeps today are each held by at least one mutant."""
    assert {each.promise for each in runner_of_mutants().load()} >= {1, 2, 3, 4, 5, 6, 8, 9}
