"""Parametric descriptions: which jobs one stands for."""

import pytest

from runner.errors import DescriptionError
from runner.job.description import parse
from runner.job.parametric import expand, is_parametric


def arguments(jdl: str) -> list[str]:
    return [each.arguments for each in expand(parse(f'Executable = "/bin/echo"; {jdl}'), 20)]


@pytest.mark.parametrize(
    ("jdl", "expected"),
    [
        ('Arguments = "%s"; Parameters = {"a", "b"};', ["a", "b"]),
        ('Arguments = "%s"; Parameters = 3;', ["1", "1", "1"]),
        ('Arguments = "%s"; Parameters = 3; ParameterStart = 5; ParameterStep = 2;', ["5", "7", "9"]),
        ('Arguments = "%s"; Parameters = 3; ParameterStart = 2; ParameterFactor = 3;', ["2", "6", "18"]),
        ('Arguments = "%s"; Parameters = 2; ParameterStart = 0.5; ParameterStep = 0.25;', ["0.5", "0.75"]),
        ('Arguments = "%n"; Parameters = 12;', [f"{number:02}" for number in range(12)]),
        ('Arguments = "%(A)s-%s"; Parameters = {"x", "y"}; Parameters.A = {"1", "2"};', ["1-x", "2-y"]),
        ('Arguments = "%s %j"; Parameters.A = {"1"};', ["%s %j"]),
        ('Arguments = "plain";', ["plain"]),
    ],
)
def test_values_take_their_places(jdl: str, expected: list[str]) -> None:
    """Lists, counted numbers, named rows and the job's own number; what no row fills is left as it is."""
    assert arguments(jdl) == expected


def test_values_reach_every_text() -> None:
    """Names, lists and the environment have them too, and each job says which it is."""
    jdl = """Executable = "/bin/run-%s"; JobName = "job_%n"; OutputSandbox = {"out-%s", "std.out"};
        ExecutionEnvironment = {"A=%s"}; Site = "S%(B)s.org"; Parameters = {"a b", "c"}; Parameters.B = {"1", "2"};"""
    first, second = expand(parse(jdl), 20)
    assert (first.executable, second.job_name) == ("/bin/run-a b", "job_1")
    assert first.output_sandbox == ("out-a b", "std.out")
    assert (first.environment, second.sites) == ({"A": "a b"}, ("S2.org",))
    assert second.extra == {"Parameter": "c", "Parameter.B": "2", "ParameterNumber": "1"}
    assert not is_parametric(first)


@pytest.mark.parametrize(
    ("jdl", "words"),
    [
        ("Parameters = 21;", "1 to 20"),
        ("Parameters = 0;", "1 to 20"),
        (f"Parameters = {'9' * 5000};", "1 to 20"),
        ("Parameters = \u0662;", "1 to 20"),
        ('Parameters = "many";', "1 to 20"),
        ('Parameters = {"a"}; Parameters.B = {"1", "2"};', "different lengths"),
        ("Parameters = 2; ParameterStart = north;", "must be a number"),
        ("Parameters = 20; ParameterFactor = 1e99; ParameterStart = 2;", "beyond all bounds"),
        ("Parameters = 2; ParameterStart.B = 1;", "is missing"),
    ],
)
def test_impossible_parameters_are_refused_in_words(jdl: str, words: str) -> None:
    """Too many, none, rows that do not fit together, and what is no number."""
    with pytest.raises(DescriptionError, match=words):
        arguments(jdl)
