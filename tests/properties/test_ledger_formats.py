"""Formats of others under any text: one record stays one record, and its figures stay what they are."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.ledger.formats import apel, auditor, dirac, ogf
from telemetry.ledger.formats.usage import Usage
from tests.support.ledger import matched, whole_life

BASE = whole_life(matched(1)).record()
#: What people and jobs call themselves: anything, often with what means something to a format.
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.lists(
        st.sampled_from(["%%", "\n", "\r\n", ": ", "Site: x", "{", "}", '"', "\\", "/", "null", "\u2028"]), max_size=6
    ).map("".join),
)
SECONDS = st.floats(0, 1e9).map(lambda value: round(value, 6))
FORMATS: dict[str, tuple[Callable[..., Iterator[str]], Callable[..., Iterator[Any]]]] = {
    "apel": (apel.individual, apel.parse),
    "auditor": (auditor.render, auditor.parse),
    "dirac": (dirac.render, dirac.parse),
    "ogf": (ogf.render, ogf.parse),
}


@pytest.mark.parametrize("name", FORMATS)
@given(user=TEXTS, queue=TEXTS, group=TEXTS, cpu=SECONDS, cores=st.integers(1, 4096))
def test_a_record_stays_one_record(name: str, user: str, queue: str, group: str, cpu: float, cores: int) -> None:
    """No text ends a record, begins another or touches a figure; CPU is right to the second at least."""
    render, parse = FORMATS[name]
    record = BASE.replace(User=user, Queue=queue, UserGroup=group, CPUTime=cpu, Processors=cores)
    text = "".join(render([record]))
    (usage,) = parse(text.splitlines())
    assert isinstance(usage, Usage)
    assert (usage.site, usage.level) == ("LCG.Example.org", "payload")
    assert abs(usage.cpu_seconds - cpu) <= 0.5
    assert usage.processors in (cores, None)
    if name == "apel":
        assert text.count("%%") == 1  # its own reader looks for no line ends
