"""Descriptions under generated input: round trips, and no text that breaks the parser."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import DescriptionError
from runner.job.description import JobDescription, from_mapping, parse

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
lines = texts.map(lambda text: text.replace("\n", " "))
names = st.from_regex(r"[a-zA-Z0-9_*%.\[\]{};\"\\ -]{1,12}", fullmatch=True).filter(lambda name: name not in ("..",))
lfns = st.lists(st.from_regex(r"[a-z0-9;\"\\]{1,8}", fullmatch=True), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)
nested = st.recursive(texts, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)


def several(values: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    """Lists of up to three; not the list of one empty text, which is DiracX's empty list."""
    return st.lists(values.filter(bool), max_size=3).map(tuple)


descriptions = st.builds(
    JobDescription,
    executable=lines.filter(bool),
    arguments=texts,
    shell=st.booleans(),
    std_output=names,
    input_sandbox=several(st.one_of(names, names.map("SB:".__add__), lfns.map("LFN:".__add__))),
    output_sandbox=several(names),
    input_data=several(lfns),
    output_data=several(st.one_of(names, lfns.map("LFN:".__add__))),
    output_se=several(texts),
    cpu_time_seconds=st.none() | st.floats(1, 1e9),
    number_of_processors=st.integers(1, 4096),
    memory_mb=st.none() | st.integers(2, 1 << 20).map(float),
    disable_cpu_check=st.booleans(),
    environment=st.dictionaries(
        st.from_regex(r"[A-Za-z_]\w{0,5}", fullmatch=True).filter(str.isascii), texts, max_size=3
    ),
    job_name=lines,
    sites=several(texts),
    priority=st.none() | st.integers(0, 1000),
    extra=st.dictionaries(st.sampled_from(["LogLevel", "ExtraOptions", "Parameter.A"]), nested, max_size=2),
)


@settings(deadline=None, max_examples=150)
@given(descriptions)
def test_jdl_gives_back_what_was_written(description: JobDescription) -> None:
    """Whatever a description holds, quotes, brackets and semicolons included, survives JDL."""
    assert parse(description.to_jdl()) == description


@settings(deadline=None, max_examples=100)
@given(descriptions)
def test_json_gives_back_what_was_written(description: JobDescription) -> None:
    """The mapping survives JSON, read as a body and as a file."""
    text = json.dumps(description.to_mapping())
    assert from_mapping(json.loads(text)) == description
    assert parse(text) == description


pieces = r"""[ ] { } " \ \" ; , = // # /* */ Executable a 1.5 : - &x *x !t | > '""".split(" ")  # noqa: SIM905
jumbles = st.lists(st.sampled_from([*pieces, "\n", " ", "\t", "\r", "\u2028"]), max_size=25).map("".join)


@settings(deadline=None, max_examples=300)
@given(jumbles | st.text(max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    """Any text gives a description or a DescriptionError, and soon."""
    try:
        description = parse(text)
    except DescriptionError:
        return
    assert parse(description.to_jdl()) == description
