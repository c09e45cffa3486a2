"""Job descriptions in all three languages: what is read, what is refused, and where the error points."""

import json

import pytest

from runner.errors import DescriptionError
from runner.job.description import JobDescription, from_mapping, parse
from runner.job.document import MAX_BYTES

JDL = """
# a comment
[
    Executable = "analysis.py";            // another
    Arguments = "--bins 40 \\"a b\\"; [a]";  /* and
                                             a third */
    CPUTime = "600";
    InputSandbox = {"analysis.py", "LFN:/local/cuts.json"};
    InputData = "LFN:/local/data.csv";
    OutputSandbox = "std.out";
    ExecutionEnvironment = {"A=1", "B=x%20y"};
    DisableCPUCheck = "True";
]
"""
JSON = """
{
  "Executable": "analysis.py",
  "Arguments": "--bins 40 \\"a b\\"; [a]",
  "CPUTime": 600,
  "InputSandbox": ["analysis.py", "LFN:/local/cuts.json"],
  "InputData": "/local/data.csv",
  "OutputSandbox": ["std.out"],
  "ExecutionEnvironment": {"A": "1", "B": "x y"},
  "DisableCPUCheck": true
}
"""
YAML = """
Executable: analysis.py
Arguments: '--bins 40 "a b"; [a]'
CPUTime: 600
InputSandbox: [analysis.py, "LFN:/local/cuts.json"]
InputData:
  - /local/data.csv
OutputSandbox: std.out
ExecutionEnvironment: {A: 1, B: x y}
DisableCPUCheck: yes
"""
EXPECTED = JobDescription(
    executable="analysis.py",
    arguments='--bins 40 "a b"; [a]',
    cpu_time_seconds=600.0,
    input_sandbox=("analysis.py", "LFN:/local/cuts.json"),
    input_data=("/local/data.csv",),
    output_sandbox=("std.out",),
    environment={"A": "1", "B": "x y"},
    disable_cpu_check=True,
)


@pytest.mark.parametrize("text", [JDL, JSON, YAML], ids=["jdl", "json", "yaml"])
def test_the_three_languages_say_the_same(text: str) -> None:
    """One description in JDL, JSON and YAML is one value."""
    assert parse(text) == EXPECTED


def test_brackets_and_last_semicolon_are_optional_in_jdl() -> None:
    """JDL without outer brackets, without the last semicolon and with bare words is read."""
    assert parse("Executable = /bin/echo;\nArguments = a b // no;\n;CPUTime = 1.5e3") == JobDescription(
        executable="/bin/echo", arguments="a b", cpu_time_seconds=1500.0
    )


def test_scalars_keep_their_spelling() -> None:
    """What looks like a number stays as it is written where text is meant, in every language."""
    for text in (
        'Executable="a";Arguments=01.50;',
        '{"Executable":"a","Arguments":1.50}',
        "Executable: a\nArguments: 01.50",
    ):
        assert parse(text).arguments in ("01.50", "1.50")


def test_what_diracx_normalises_is_taken() -> None:
    """A list of one as a scalar, an empty list as "", a number as text: all as DiracX hands them out."""
    description = parse(
        'Executable="a"; OutputSandbox="x"; InputData=""; JobName=100; NumberOfProcessors="4"; Tag="GPU";'
    )
    assert (description.output_sandbox, description.input_data) == (("x",), ())
    assert (description.job_name, description.number_of_processors, description.tags) == ("100", 4, ("GPU",))


def test_diracs_other_keys_are_handed_on() -> None:
    """Keys of DIRAC that mean nothing here survive reading and writing, nested sections included."""
    description = parse(
        'Executable="a"; LogLevel="DEBUG"; Parameter.A="x"; JobRequirements=[ CPUTime=5; Names={"u","v"}; ];'
    )
    assert description.extra == {
        "LogLevel": "DEBUG", "Parameter.A": "x", "JobRequirements": {"CPUTime": "5", "Names": ("u", "v")},
    }  # fmt: skip
    assert parse(description.to_jdl()) == description


def test_memory_is_gigabytes_outside_and_megabytes_inside() -> None:
    """DIRAC's Memory of 2 is 2048 MB, and is written as 2 again."""
    description = from_mapping({"Executable": "a", "Memory": 2})
    assert description.memory_mb == 2048
    assert description.to_mapping()["Memory"] == 2


def test_the_job_number_replaces_its_mark() -> None:
    """%j becomes the number of the job in every text of the description."""
    description = parse('Executable="a"; StdOutput="%j.out"; OutputSandbox={"%j.out","x"};').with_job_id(42)
    assert (description.std_output, description.output_sandbox) == ("42.out", ("42.out", "x"))


def test_the_mapping_is_json() -> None:
    """What goes over the wire at match is plain JSON and gives the same description."""
    assert from_mapping(json.loads(json.dumps(EXPECTED.to_mapping()))) == EXPECTED


@pytest.mark.parametrize(
    ("text", "line", "field", "words"),
    [
        ('[\nExecutable = "a";\nArgumnts = "b";\n]', 3, "Argumnts", "did you mean Arguments"),
        ('{"Executable": "a",\n\n"stdoutput": "b"}', 3, "stdoutput", "did you mean StdOutput"),
        ("Executable: a\nNonsense: 1", 2, "Nonsense", "is no field"),
        ('CPUTime = 5;', None, "Executable", "is required"),
        ('Executable = "";', None, "Executable", "is required"),
        ('Executable = "a";\nCPUTime = -1;', 2, "CPUTime", "must be from 1"),
        ('Executable = "a";\nCPUTime = nan;', 2, "CPUTime", "must be from 1"),
        ("Executable: a\nCPUTime: soon", 2, "CPUTime", "must be a number"),
        ("Executable: a\nNumberOfProcessors: 1.5", 2, "NumberOfProcessors", "whole number"),
        ("Executable: a\nShell: perhaps", 2, "Shell", "True or False"),
        ("Executable: a\nStopSigRegex: '('", 2, "StopSigRegex", "no regular expression"),
        ("Executable: a\nStopSigRegex: " + "x" * 1025, 2, "StopSigRegex", "at most 1024"),
        ("Executable: a\nStopSigNumber: 65", 2, "StopSigNumber", "from 1 to 64"),
        ("Executable: a\nStdOutput: /etc/passwd", 2, "StdOutput", "must be relative"),
        ("Executable: a\nOutputSandbox:\n - x/../../y", 2, "OutputSandbox", "with .."),
        ("Executable: a\nInputSandbox: ../x", 2, "InputSandbox", "with .."),
        ("Executable: a\nInputData: data.csv", 2, "InputData", "write it as /vo/path"),
        ("Executable: a\nInputData: LFN:/a/../b", 2, "InputData", "in full"),
        ("Executable: a\nExecutionEnvironment: [A]", 2, "ExecutionEnvironment", "NAME=value"),
        ("Executable: a\nExecutionEnvironment: ['A B=1']", 2, "ExecutionEnvironment", "not the name"),
        ("Executable: a\nExecutionEnvironment: ['A=%ff']", 2, "ExecutionEnvironment", "UTF-8"),
        ("Executable: [a, b]", 1, "Executable", "must be text"),
        ("Executable: a\nNumberOfProcessors: 5\nMaxNumberOfProcessors: 4", None, "MaxNumberOfProcessors", "less than"),
        ("Executable: a\nTag: x\nTags: y", 3, "Tags", "two spellings"),
        ("Executable: a\nJobName: " + "x" * 129, 2, "JobName", "at most 128"),
        ('{"Executable": "a",\n"Arguments": "\\u0000"}', 2, "Arguments", "NUL"),
        ('{"Executable": "a",\n"Arguments": "\\ud800"}', 2, "Arguments", "Unicode"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_its_line(text: str, line: int | None, field: str, words: str) -> None:
    """Every refused value is reported with source, line, field and what is wrong with it."""
    with pytest.raises(DescriptionError) as caught:
        parse(text, source="job.jdl")
    assert (caught.value.line, caught.value.field) == (line, field)
    assert words in str(caught.value)
    assert str(caught.value).startswith("job.jdl:")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", None),
        ('[\nExecutable = "a";\n', 1),
        ('Executable = "a;\nX = 1;\n', 1),
        ('Executable = "a"\nCPUTime = 1;', 1),
        ('Executable = ;', 1),
        ('Executable = "a";\nInputData = {"/a" "/b"};', 2),
        ('Executable = "a";\nInputData = {"/a",', 2),
        ('Executable = "a";\nExecutable = "b";', 2),
        ('[Executable = "a";]\n[Executable = "b";]', 2),
        ('[\n= 5;]', 2),
        ('{"Executable": "a",\n "CPUTime": }', 2),
        ('{"Executable": "a",\n "CPUTime": NaN}', None),
        ('{"Executable": "a",\n "CPUTime": null}', 2),
        ('{"Executable": "a",\n "Executable": "b"}', 2),
        ("Executable: a\n- b", 2),
        ("- a", 1),
        ("Executable: a\nCPUTime:", 2),
        ("Executable: a\nExecutable: b", 2),
        ("Executable: &x a\nArguments: *x", 1),
        ("Executable: !!python/name:os.system a", 1),
        ("Executable: a\n---\nExecutable: b", 3),
        ("Executable: a\n[a, b]: c", 2),
        ("Executable: \x07", None),
        ("[A=" * 20, 1),
        ("{\"a\":" * 20, 1),
        ("a: " + "[" * 20, 1),
    ],
)  # fmt: skip
def test_broken_text_is_reported_with_its_line(text: str, line: int | None) -> None:
    """Text that is none of the three languages gives an error that points at the line, never another exception."""
    with pytest.raises(DescriptionError) as caught:
        parse(text)
    assert caught.value.line == line


def test_a_description_without_end_is_not_read() -> None:
    """Size is bounded before anything is parsed."""
    with pytest.raises(DescriptionError, match="at most"):
        parse('Executable = "' + "a" * MAX_BYTES + '";')
    with pytest.raises(DescriptionError, match="as JSON"):
        parse("Executable: " + "a" * (MAX_BYTES // 2))


def test_values_that_no_description_has_are_refused() -> None:
    """A mapping from code with an object in it is refused by field, not stored."""
    with pytest.raises(DescriptionError, match="Arguments"):
        from_mapping({"Executable": "a", "Arguments": object()})
