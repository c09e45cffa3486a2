"""After the fire: what must hold for every job, whatever was done to it."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from itertools import pairwise
from typing import Any

from runner.compose.reconciliation import of_node
from runner.job.status import FINAL_STATUSES, JobStatus, is_allowed
from telemetry.facts import AttemptEnded, Fact, JobMatched, KillRequested, WrapperReaped
from telemetry.journal import read_journal
from telemetry.live.otlp_files import OtlpFiles, read_accounting
from telemetry.outbox import Acknowledgements
from telemetry.reconcile.statement import to_json
from tests.faults.field import Field
from tests.faults.plan import Death, Shot, Trial, Verdict
from tests.support.processes import look

#: Begins the problem of a fault that was not carried out.
NEVER = "never reached"
_SIGNALS = {"SIGKILL": 9, "SIGTERM": 15, "SIGINT": 2}


def judge(
    field: Field, jobs: Mapping[int, Trial], open_: list[int], in_order: Set[int] = frozenset({0})
) -> list[Verdict]:
    """One verdict a job; the agent has stopped, the WMS still answers. *in_order*: exit codes after SIGTERM, SIGINT."""
    survivors = field.survivors()
    records = Counter(str(row["UID"]) for row in field.client.all_accounting().records)
    events = Counter(event.uid for event in read_accounting(OtlpFiles(field.config.telemetry_folder).logs).events)
    report = to_json(of_node(field.direct, field.client))
    histories = _histories(field, jobs)
    verdicts: list[Verdict] = []
    for job_id, trial in jobs.items():
        verdict = Verdict(str(trial), trial.group, job_id)
        if job_id in open_:
            verdict.problem(f"not settled in time: {_status(field, job_id)}")
        _injections(field, trial, verdict)
        _attempts(field, verdict, records, events)
        _history(histories.get(job_id, []), verdict)
        _reconciliation(report, verdict)
        verdict.duplicates += field.client.accounting(job_id).duplicates
        verdict.survivors = sum(f"jobs/{job_id}." in each for each in survivors)
        verdicts.append(verdict)
    if survivors and verdicts:
        verdicts[0].survivors = max(verdicts[0].survivors, len(survivors) - sum(v.survivors for v in verdicts[1:]))
        verdicts[0].problem(f"processes left: {survivors}")
    for problem in unasked(field.deaths, [shot for job_id in jobs for shot in field.shots(job_id)], in_order):
        verdicts[0].problem(problem)
    return verdicts


def unasked(deaths: Sequence[Death], shots: Sequence[Shot], in_order: Set[int] = frozenset({0})) -> list[str]:
    """Ends of a WMS or an agent that nobody has asked for, or that were out of order."""
    told = {death.pid: set(death.told) for death in deaths}
    for shot in shots:
        for pid in shot.pids.values():
            if pid in told and shot.strike.what in _SIGNALS:
                told[pid].add(shot.strike.what)
    return [
        f"{each.name} ended with exit code {each.code} after {sorted(told[each.pid]) or 'no signal'}"
        for each in deaths
        if not (
            "SIGKILL" in told[each.pid] if each.code == -9 else told[each.pid] - {"SIGKILL"} and each.code in in_order
        )
    ]


def _injections(field: Field, trial: Trial, verdict: Verdict) -> None:
    """Each strike must have been carried out, and must have had an effect."""
    shots = field.shots(verdict.job_id)
    done = [shot.strike for shot in shots]
    for strike in trial.strikes:
        if strike not in done:
            verdict.problem(f"{NEVER}: {strike}")
    _misfortunes(field, trial, verdict)
    for shot in shots:
        effect = _effect(field, verdict.job_id, shot)
        verdict.faults.append({"fault": str(shot.strike), "last_fact": shot.last_fact, "effect": effect})
        if not effect:
            verdict.problem(f"without effect: {shot.strike}")


def _misfortunes(field: Field, trial: Trial, verdict: Verdict) -> None:
    """Likewise what was to happen to calls."""
    hit = [done for done in field.relay.done if done.job_id == verdict.job_id]
    for fault in trial.network:
        if fault not in [done.fault for done in hit]:
            verdict.problem(f"{NEVER}: {fault}")
    for done in hit:
        verdict.faults.append({"fault": str(done.fault), "last_fact": done.last_fact, "effect": done.effect})
        if not done.effect:
            verdict.problem(f"without effect: {done.fault}")


def _effect(field: Field, job_id: int, shot: Shot) -> str:
    """What was seen of a strike; empty: nothing."""
    if shot.strike.what not in _SIGNALS:
        return field.effect(job_id, shot.strike)
    number = _SIGNALS[shot.strike.what]
    if len(set(shot.pids.values())) != len(shot.strike.targets):  # one of a pair was not there
        return ""
    if number == 9:
        return "" if _living(shot) else f"{len(shot.pids)} killed"
    stopped = [who for who in shot.strike.targets if who != "self" or not shot.strike.point.startswith("wrapper")]
    if stopped and _living(shot):
        return ""
    said = f"{len(stopped)} stopped in order" if stopped else ""
    if len(stopped) == len(shot.pids):
        return said
    facts = [each.fact for folder in field.folders(job_id)[:1] for each in read_journal(folder.control)]
    heard = _heard(facts, shot)
    return ", ".join(filter(None, (heard, said))) if heard else ""


def _living(shot: Shot) -> bool:
    """Whether one of those that were hit still runs."""
    looks = {target: look(pid) for target, pid in shot.pids.items()}
    return any(seen and seen.state not in "ZX" and seen.start_ticks == shot.starts[who] for who, seen in looks.items())


def _heard(facts: list[Fact], shot: Shot) -> str:
    """What a wrapper did about SIGTERM or SIGINT."""
    for fact in facts:
        if isinstance(fact, KillRequested):
            return "preempted" if fact.origin == "signal" else f"heard after {fact.origin} had asked for the end"
        if isinstance(fact, WrapperReaped) and fact.signal == _SIGNALS[shot.strike.what]:
            return "ended by the signal"
    ended = any(isinstance(fact, AttemptEnded) for fact in facts)
    return "the end stood" if ended and shot.last_fact in _LATE else ""


#: Steps of the WMS itself: of the request executor, and of a reschedule, which DIRAC forces when outputs that cannot be
#: stored now are a reason to try again.
_BY_WMS = frozenset({(JobStatus.COMPLETED, JobStatus.DONE), (JobStatus.COMPLETING, JobStatus.RESCHEDULED)})
#: With these as the last fact nothing of the attempt can be preempted any more.
_LATE = frozenset(
    f"{writer}:{kind}"
    for writer in ("wrapper", "agent")
    for kind in (
        "AttemptEnded",
        "WrapperSettled",
        "StatusChanged",
        "StageFinished",
        "OperationFinished",
        "StageStarted",
    )
)


#: Sinks whose copies are counted where they arrive; the others' by the sender.
_COUNTED_THERE = frozenset({"wms-accounting", "otlp-file", "otlp-http"})


def _attempts(field: Field, verdict: Verdict, records: Counter[str], events: Counter[str]) -> None:
    """One end, one current record, one event for each attempt."""
    seen = set()
    for folder in field.folders(verdict.job_id):
        entries = read_journal(folder.control)
        uids = {each.fact.uid for each in entries if isinstance(each.fact, JobMatched)}
        ends = [each.fact for each in entries if isinstance(each.fact, AttemptEnded)]
        name = folder.root.name
        if len(uids) > 1:
            verdict.problem(f"{name}: {len(uids)} identities")
        verdict.attempts += 1
        verdict.ends += len(ends)
        if len(ends) != 1:
            verdict.problem(f"{name}: {len(ends)} ends")
        for uid in uids - seen:
            verdict.records += records[uid]
            verdict.events += min(events[uid], 1)
            verdict.duplicates += max(0, events[uid] - 1)
            if records[uid] != 1:
                verdict.problem(f"{name}: {records[uid]} current records at the WMS")
            if not events[uid]:
                verdict.problem(f"{name}: no event in the OTLP file")
        seen |= uids
        sinks = {path.name.removesuffix(".acks.jsonl") for path in folder.control.glob("*.acks.jsonl")}
        verdict.duplicates += sum(Acknowledgements(folder.control, sink).copies for sink in sinks - _COUNTED_THERE)


def _histories(field: Field, jobs: Mapping[int, Trial]) -> dict[int, list[dict[str, Any]]]:
    rows = field.client.search(
        ["JobID", "LoggingInfo"],
        [{"parameter": "JobID", "operator": "in", "values": list(jobs)}],
        per_page=1000,
    )
    return {int(str(row["JobID"])): list(row["LoggingInfo"]) for row in rows}  # type: ignore[call-overload]


def _history(history: list[dict[str, Any]], verdict: Verdict) -> None:
    """No step that the state machine does not know, and no way back from an end."""
    statuses = [str(row["Status"]) for row in history]
    for before, after in pairwise(statuses):
        if (before, after) in _BY_WMS:
            continue
        if before in FINAL_STATUSES and after != before:
            verdict.problem(f"status came back from {before}: {statuses}")
        elif not is_allowed(JobStatus(before), JobStatus(after)) and after != JobStatus.RECEIVED:  # a new attempt
            verdict.problem(f"status went from {before} to {after}: {statuses}")


def _reconciliation(report: Mapping[str, Any], verdict: Verdict) -> None:
    for each in report["differences"]:
        # A clock that was off is seen as what it is.
        if each["job_id"] == verdict.job_id and not (each["kind"] == "skew" and verdict.group.startswith("clock")):
            verdict.problem(f"reconciliation: {each['kind']} {each['message']}")
    for each in report.get("pending", []):
        if each.get("job_id") == verdict.job_id:
            verdict.problem(f"reconciliation: pending, {each}")


def _status(field: Field, job_id: int) -> str:
    unsettled = [folder.root.name for folder in field.folders(job_id) if not (folder.control / "settled").exists()]
    return f"{field.statuses([job_id])[job_id]}, not settled: {unsettled or 'nothing'}"
