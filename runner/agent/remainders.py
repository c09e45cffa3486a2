"""What a dead wrapper's payload still does, and what it has used: ended, and settled by the best account there is."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from runner.process.remnants import NO_TRACES, Remnants, Traces, end_remnants
from telemetry.bus import Emit
from telemetry.clock import Clock
from telemetry.entries import Entry
from telemetry.facts import Fact, KillFinished, PayloadEnded, PayloadPlanned, PayloadStarted, UsageSampled, UsageSettled
from telemetry.measure.peaks import SAMPLED, with_peaks
from telemetry.measure.snapshot import GroupAccount, Methods, ProcessId

F = TypeVar("F", bound=Fact)
REASON = "left behind by a wrapper that died"
#: A group that tells less than a sample did, beyond rounding, never had the payload in it.
_ROUNDING_SECONDS = 0.05


def end_payload(entries: Sequence[Entry], clock: Clock, emit: Emit, traces: Traces = NO_TRACES) -> int:
    """Kill what is left of the payload that was started in this boot; how many of it the kernel killed for memory.

    Another boot has ended its own: none of its pids is anybody's that we know. The groups are removed when what
    they tell is written.
    """
    here = [entry for entry in entries if entry.boot_id == clock.boot_id]
    facts = [entry.fact for entry in here]
    started = _last(facts, PayloadStarted)
    oom_kills = 0
    for planned, since_ns in ((each.fact, each.boottime_ns) for each in here):
        if not isinstance(planned, PayloadPlanned):
            continue
        remnants = end_remnants(
            planned.cgroup_paths,
            planned.environment_mark,
            ProcessId(started.pid, started.start_ticks) if started else None,
            traces=replace(traces, since_boottime_ns=planned.since_boottime_ns or since_ns),
        )
        if remnants.killed.pids:
            emit(remnants.killed.fact(REASON, clock))
            emit(KillFinished(duration_seconds=remnants.duration_seconds, survivors=remnants.survivors))
        if (settled := _settled(facts, remnants)) is not None:
            emit(settled)
        remnants.remove()
        oom_kills += remnants.oom_kills
    return oom_kills


def _settled(facts: Sequence[Fact], remnants: Remnants) -> UsageSettled | None:
    """By the account of the group, unless the starter has settled it, or the group never had the payload in it."""
    account = remnants.account
    if account is None or not account.cpu_seconds or _all(facts, UsageSettled):
        return None
    samples = [each for each in _all(facts, UsageSampled) if each.cpu_method]
    sampled = max((each.cpu_user_seconds + each.cpu_system_seconds for each in samples), default=0.0)
    if account.cpu_seconds < sampled - _ROUNDING_SECONDS:
        return None
    methods = remnants.methods
    if not samples:  # then nobody has looked at what only looks tell
        methods = methods._replace(switches="", faults="" if account.minor_faults is None else methods.faults)
    return with_peaks(
        _usage(account, methods, samples, _last(facts, PayloadEnded)),
        remnants.peaks,
        methods,
        seen_swap_bytes=max((max(each.swap_bytes, each.peak_swap_bytes) for each in samples), default=0),
        seen_threads=max((max(each.threads, each.peak_threads) for each in samples), default=0),
    )


def _usage(
    account: GroupAccount, methods: Methods, samples: Sequence[UsageSampled], ended: PayloadEnded | None
) -> UsageSettled:
    """CPU is that of the group, which has seen all; the rest by the group where it tells it, else as last seen."""
    user = account.cpu_share.user_seconds
    system = account.cpu_share.system_seconds
    if user + system > 0:  # the total is exact, the share may be in ticks
        user = account.cpu_seconds * user / (user + system)
    last = samples[-1] if samples else None
    rss = [max(each.rss_bytes, each.peak_rss_bytes) for each in samples] + [ended.max_rss_bytes if ended else 0]
    faults = (account.minor_faults, account.major_faults)
    return UsageSettled(
        cpu_user_seconds=min(user, account.cpu_seconds),
        cpu_system_seconds=max(0.0, account.cpu_seconds - user),
        cpu_method=methods.cpu,
        cpu_uncertainty_seconds=0.0,
        orphan_cpu_seconds=0.0,
        peak_rss_bytes=max(rss),
        memory_method=SAMPLED,
        max_processes=max((max(each.processes, each.max_processes) for each in samples), default=1),
        read_bytes=account.read_bytes or (last.read_bytes if last else 0),
        written_bytes=account.written_bytes or (last.written_bytes if last else 0),
        io_method=methods.io if account.read_bytes is not None else last.io_method if last else "",
        minor_faults=faults[0] if faults[0] is not None else (last.minor_faults if last else 0),
        major_faults=faults[1] if faults[1] is not None else (last.major_faults if last else 0),
        voluntary_switches=last.voluntary_switches if last else 0,
        involuntary_switches=last.involuntary_switches if last else 0,
    )


def _all(facts: Sequence[Fact], kind: type[F]) -> list[F]:
    return [fact for fact in facts if isinstance(fact, kind)]


def _last(facts: Sequence[Fact], kind: type[F]) -> F | None:
    return next(iter(_all(facts, kind)[::-1]), None)
