"""The usage of each stage, as differences between samples."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.facts import StageName, UsageSampled, UsageSettled, WrapperSettled
from telemetry.live.stage_usage import StageUsage, usage_by_stage


def sampled(stage: StageName, payload: float, wrapper: float, read: int = 0, written: int = 0) -> UsageSampled:
    """Totals at one moment."""
    return UsageSampled(
        stage=stage,
        cpu_user_seconds=payload,
        cpu_system_seconds=0.0,
        cpu_method="wait4",
        wall_seconds=1.0,
        rss_bytes=0,
        read_bytes=read,
        written_bytes=written,
        wrapper_cpu_seconds=wrapper,
    )


def settled(payload: float, read: int, written: int) -> UsageSettled:
    """The final account of the payload."""
    return UsageSettled(
        cpu_user_seconds=payload,
        cpu_system_seconds=0.0,
        cpu_method="wait4",
        cpu_uncertainty_seconds=0.0,
        orphan_cpu_seconds=0.0,
        peak_rss_bytes=0,
        read_bytes=read,
        written_bytes=written,
    )


def test_each_stage_has_its_share() -> None:
    """What was used before a stage's first sample belongs to the stage before; the settled account to execute."""
    found = usage_by_stage(
        [
            sampled("initialize", 0.0, 0.1),
            sampled("transfer_input_sandbox", 0.0, 0.25),
            sampled("execute", 0.0, 0.5),
            sampled("execute", 2.0, 0.5, read=10),
            settled(3.0, 30, 40),
            sampled("process_job_outputs", 3.0, 0.75, read=30, written=40),
            WrapperSettled(wrapper_cpu_seconds=1.0),
        ]
    )
    assert found == {
        "initialize": StageUsage(wrapper_cpu_seconds=pytest.approx(0.25)),  # type: ignore[arg-type]
        "transfer_input_sandbox": StageUsage(wrapper_cpu_seconds=0.25),
        "execute": StageUsage(payload_cpu_seconds=3.0, wrapper_cpu_seconds=0.25, read_bytes=30, written_bytes=40),
        "process_job_outputs": StageUsage(wrapper_cpu_seconds=0.25),
    }


def test_nothing_is_known_without_a_sample() -> None:
    """No stage gets zeros that nobody measured."""
    assert usage_by_stage([]) == {}


SAMPLES = st.lists(
    st.builds(
        sampled,
        st.sampled_from(get_args(StageName)),
        st.integers(0, 1000).map(float),
        st.integers(0, 1000).map(float),
        st.integers(0, 1000),
        st.integers(0, 1000),
    ),
    min_size=1,
)


@given(SAMPLES)
def test_shares_add_up_and_are_never_negative(samples: list[UsageSampled]) -> None:
    """Whatever the order of the totals, which never fall in truth, all shares together are the highest of them."""
    shares = usage_by_stage(samples).values()
    assert sum(each.read_bytes for each in shares) == max(each.read_bytes for each in samples)
    assert sum(each.payload_cpu_seconds for each in shares) == max(each.cpu_user_seconds for each in samples)
    assert sum(each.wrapper_cpu_seconds for each in shares) == max(each.wrapper_cpu_seconds for each in samples)
    assert min(each.wrapper_cpu_seconds for each in shares) >= 0
