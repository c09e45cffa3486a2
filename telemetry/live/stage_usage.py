"""What each lifecycle stage has used: differences of totals between samples. Pure.

A sample is taken when a stage begins, and carries that stage's name: what was used since the sample before belongs to
the stage of that one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from telemetry.facts import Fact, StageName, UsageSampled, UsageSettled, WrapperSettled


@dataclass(frozen=True, kw_only=True)
class StageUsage:
    """Use of resources in one stage: of the payload with its descendants, and of the wrapper beside it."""

    payload_cpu_seconds: float = 0.0
    wrapper_cpu_seconds: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0


def usage_by_stage(facts: Iterable[Fact]) -> dict[StageName, StageUsage]:
    """The usage of each stage in which there was any sample, from *facts* in the order of their writing.

    The shares of all stages add up to the totals of the last fact that tells them.
    """
    found: dict[StageName, StageUsage] = {}
    before = StageUsage()
    stage: StageName = "initialize"
    for fact in facts:
        if isinstance(fact, UsageSampled | UsageSettled | WrapperSettled):
            total = _at_least(before, _totals(fact))
            found[stage] = _plus(found.get(stage, StageUsage()), total, before)
            before = total
        if isinstance(fact, UsageSampled):
            stage = fact.stage
            found.setdefault(stage, StageUsage())
    return found


def _totals(fact: UsageSampled | UsageSettled | WrapperSettled) -> StageUsage:
    if isinstance(fact, WrapperSettled):
        return StageUsage(wrapper_cpu_seconds=fact.wrapper_cpu_seconds)
    return StageUsage(
        payload_cpu_seconds=fact.cpu_user_seconds + fact.cpu_system_seconds,
        wrapper_cpu_seconds=fact.wrapper_cpu_seconds if isinstance(fact, UsageSampled) else 0.0,
        read_bytes=fact.read_bytes,
        written_bytes=fact.written_bytes,
    )


def _at_least(one: StageUsage, other: StageUsage) -> StageUsage:
    return StageUsage(**{each.name: max(getattr(one, each.name), getattr(other, each.name)) for each in fields(one)})


def _plus(share: StageUsage, total: StageUsage, before: StageUsage) -> StageUsage:
    return StageUsage(
        **{
            each.name: getattr(share, each.name) + getattr(total, each.name) - getattr(before, each.name)
            for each in fields(share)
        }
    )
