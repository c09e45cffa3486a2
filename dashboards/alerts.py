"""What somebody should be told of: the rules for Prometheus. Names come from the catalogue.

Sums are `without` the labels that do not matter, so that labels which a site puts on its targets (site, cluster) stay
and each of them has alerts of its own. Counters of agents exist from their start where the first event matters.
"""

from dashboards.queries import across, increase, rate, series
from dashboards.rules import Alert, Group, Recording
from telemetry import catalogue

_DAY = 86400
#: Attempts that ended without their wrapper.
_LOST = series(catalogue.JOBS_FINISHED, 'error_type=~"wrapper_died|reboot|starter_died|submission_failed"')
_SILENT = series(catalogue.WMS_JOBS, 'status="Stalled"')
_RUNNING = series(catalogue.WMS_JOBS, 'status=~"Running|Completing"')
_FAILED_REQUESTS = series(catalogue.WMS_REQUESTS, 'status="Failed"')
_OURS = series(catalogue.STAGE_LONGEST, 'stage!="execute"')


def _recording(name: str, expression: str) -> Recording:
    return Recording(name=name, expression=expression)


_ENDED = _recording(
    "instance:jobspan_jobs_finished:increase1h",
    across(increase(series(catalogue.JOBS_FINISHED), "1h"), "status", "error_type"),
)
_UNSUCCESSFUL = _recording(
    "instance:jobspan_jobs_unsuccessful:increase1h",
    across(increase(series(catalogue.JOBS_FINISHED, 'status=~"Failed|Rescheduled"'), "1h"), "status", "error_type"),
)
_KILLS = _recording(
    "job:jobspan_kills:increase15m",
    across(increase(series(catalogue.KILLS, 'origin!~"user|signal"'), "15m"), "instance", "origin", "limit"),
)
_ENDED_NOW = _recording(
    "job:jobspan_jobs_finished:increase15m",
    across(increase(series(catalogue.JOBS_FINISHED), "15m"), "instance", "status", "error_type"),
)
_CPU = _recording(
    "job:jobspan_payload_cpu_seconds:rate6h",
    across(rate(series(catalogue.PAYLOAD_CPU), "6h"), "instance", "mode"),
)
_WALL_CORE = _recording(
    "job:jobspan_wall_core_seconds:rate6h", across(rate(series(catalogue.WALL_CORE), "6h"), "instance")
)
_EFFICIENCY = _recording("job:jobspan_cpu_efficiency:ratio_rate6h", f"{_CPU.name} / {_WALL_CORE.name}")
_CALLS = _recording(
    "instance:jobspan_wms_requests:rate5m",
    across(rate(series(catalogue.WMS_REQUEST_DURATION, part="count"), "5m"), "method", "route", "code"),
)
_CALL_ERRORS = _recording(
    "instance:jobspan_wms_request_errors:rate5m",
    across(rate(series(catalogue.WMS_REQUEST_DURATION, 'code=~"5.."', part="count"), "5m"), "method", "route", "code"),
)
_TURN_WAIT = _recording(
    "instance:jobspan_wms_lock_wait_seconds:p99_rate5m",
    f"histogram_quantile(0.99, {across(rate(series(catalogue.WMS_LOCK_WAIT, part='bucket'), '5m'), 'kind')})",
)

_jobs = Group(
    name="jobspan-jobs",
    rules=(
        *(_ENDED, _UNSUCCESSFUL, _KILLS, _ENDED_NOW, _CPU, _WALL_CORE, _EFFICIENCY),
        Alert(
            name="JobspanJobsLost",
            expression=across(increase(_LOST, "1h"), "status") + " > 0",
            hold="",
            urgency="ticket",
            summary="{{ $labels.instance }} lost jobs: {{ $labels.error_type }}",
            action=(
                "Attempts have ended there without their wrapper. `jobspan trace JOB` and the agent's log say of what "
                "it died; look at the node's memory and kernel log."
            ),
        ),
        Alert(
            name="JobspanJobsSilent",
            expression=f"max without (instance) ({_SILENT}) > 0",
            hold="15m",
            urgency="ticket",
            summary="Nothing is heard of running jobs",
            action=(
                "The WMS has no heartbeat of them: their agent is down, or cannot reach it. It fails them after a "
                "while. `jobspan status` lists them, `jobspan pilots list --job JOB` says where they ran."
            ),
        ),
        Alert(
            name="JobspanJobsUnattended",
            expression=(f"sum(max by (status) ({_RUNNING})) - sum({catalogue.JOBS_LIVING.name}) > 0"),
            hold="30m",
            urgency="ticket",
            summary="The WMS counts running jobs that no agent has",
            action=(
                "More jobs are Running or Completing in the WMS than there are wrappers on all scraped nodes: a node "
                "is gone or not scraped, or its reports wait (JobspanOutboxGrows)."
            ),
        ),
        Alert(
            name="JobspanStageStalled",
            expression=f"{_OURS} > 3600",
            hold="5m",
            urgency="ticket",
            summary="A job on {{ $labels.instance }} does not get through {{ $labels.stage }}",
            action="It has been in that stage for more than an hour. `jobspan trace JOB` shows in which operation.",
        ),
        Alert(
            name="JobspanPayloadsIdle",
            expression=(
                f"count without (job_id) (deriv({catalogue.JOB_CPU.name}[30m]) < 0.01"
                f" and {catalogue.JOB_WALL.name} > 3600) > 0"
            ),
            hold="30m",
            urgency="ticket",
            summary="Jobs on {{ $labels.instance }} hold their slots and use no CPU",
            action=(
                "For half an hour at least they used less than a hundredth of a processor. `jobspan peek JOB` shows "
                "what they wait for; `CheckCPUConsumed` ends such jobs."
            ),
        ),
        Alert(
            name="JobspanKillStorm",
            expression=f"{_KILLS.name} > 10 and {_KILLS.name} > 0.2 * {_ENDED_NOW.name}",
            hold="5m",
            urgency="page",
            summary="Many jobs are being ended that nobody asked to end",
            action=(
                "More than ten in a quarter of an hour, and more than a fifth of all that ended. The dashboard "
                "Watchdog and kills says by which limit and where: a limit that is too low, a node without memory, a "
                "broken release."
            ),
        ),
        Alert(
            name="JobspanKillSurvived",
            expression=f"{increase(series(catalogue.KILL_SURVIVED), '1h')} > 0",
            hold="",
            urgency="page",
            summary="Processes on {{ $labels.instance }} outlive KILL",
            action="They hang in the kernel, mostly on storage that is gone, and hold memory. Restart the node.",
        ),
        Alert(
            name="JobspanLowEfficiency",
            expression=f"{_EFFICIENCY.name} < 0.5 and {_WALL_CORE.name} > 1",
            hold="1h",
            urgency="ticket",
            summary="Less than half of the processor time that jobs hold is used",
            action=(
                "Over six hours. Job stages says whether it goes to staging or to payloads that wait for something."
            ),
        ),
        Alert(
            name="JobspanNodeSwallowsJobs",
            expression=f"{_UNSUCCESSFUL.name} > 20 and {_UNSUCCESSFUL.name} > 0.8 * {_ENDED.name}",
            hold="10m",
            urgency="page",
            summary="Nearly all jobs fail on {{ $labels.instance }}",
            action=(
                "More than twenty in an hour, and more than four fifths of all that ended there. Such a node takes "
                "job after job: stop its agent, then look at the causes in Site overview."
            ),
        ),
    ),
)

_pending = series(catalogue.SPOOL_PENDING)
_delivery = Group(
    name="jobspan-delivery",
    rules=(
        Alert(
            name="JobspanTargetDown",
            expression='up{job=~"jobspan.*", role!="wrapper"} == 0',
            hold="5m",
            urgency="page",
            summary="{{ $labels.job }} does not answer at {{ $labels.instance }}",
            action="The process or its node is down, or its endpoint is not reachable. Jobs go on without an agent.",
        ),
        Alert(
            name="JobspanOutboxGrows",
            expression=f"min_over_time({_pending}[30m]) > 0 and delta({_pending}[30m]) > 0",
            hold="15m",
            urgency="ticket",
            summary="What {{ $labels.instance }} has for {{ $labels.sink }} piles up",
            action="Ended attempts wait and become more. `jobspan outbox list` on the node says why; nothing is lost.",
        ),
        Alert(
            name="JobspanOutboxStuck",
            # A series that has just begun has no smallest value of six hours, only one of all it has.
            expression=f"min_over_time({_pending}[6h]) > 0 and {_pending} offset 6h > 0",
            hold="",
            urgency="page",
            summary="{{ $labels.sink }} has not taken all from {{ $labels.instance }} for six hours",
            action=(
                "`jobspan outbox list` on the node says why. When the outbox is full (MaxOutboxJobs) the node takes no "
                "job; when journals expire before delivery (JobRetention) records are gone."
            ),
        ),
        Alert(
            name="JobspanDeadLetters",
            expression=f"{series(catalogue.OUTBOX_DEAD)} > 0",
            hold="15m",
            urgency="ticket",
            summary="{{ $labels.sink }} refuses documents of {{ $labels.instance }} for good",
            action=(
                "`jobspan outbox list` shows each with the reason; `jobspan outbox retry` tries again when that is "
                "mended, `jobspan outbox export` hands them to somebody else."
            ),
        ),
        Alert(
            name="JobspanOutboxExpired",
            expression=f"{increase(series(catalogue.OUTBOX_EXPIRED), '1h')} > 0",
            hold="",
            urgency="page",
            summary="{{ $labels.instance }} removed what {{ $labels.sink }} had not taken",
            action="JobRetention or the disk was too small for so long an absence. `jobspan reconcile` names the jobs.",
        ),
        Alert(
            name="JobspanNoRoom",
            expression=f"{series(catalogue.SHORTAGE)} > 0",
            hold="15m",
            urgency="ticket",
            summary="{{ $labels.instance }} takes no job: short of {{ $labels.of }}",
            action="`jobspan doctor` on the node says how much is missing.",
        ),
        Alert(
            name="JobspanJournalDamaged",
            expression=f"{increase(series(catalogue.FACTS_DAMAGED), '1h')} > 0",
            hold="",
            urgency="ticket",
            summary="Journals on {{ $labels.instance }} have lines that cannot be read",
            action="A disk that fails, or somebody else who writes there. They are skipped; the rest is accounted.",
        ),
    ),
)

_wms = Group(
    name="jobspan-wms",
    rules=(
        *(_CALLS, _CALL_ERRORS, _TURN_WAIT),
        Alert(
            name="JobspanWmsErrors",
            expression=f"{_CALL_ERRORS.name} > 0.05 * {_CALLS.name}",
            hold="10m",
            urgency="page",
            summary="The WMS at {{ $labels.instance }} fails calls",
            action="More than a twentieth of its answers are errors of its own. Its log has each with its request_id.",
        ),
        Alert(
            name="JobspanWmsBlind",
            expression=f"{series(catalogue.WMS_INVENTORY_OK)} == 0",
            hold="10m",
            urgency="page",
            summary="The WMS at {{ $labels.instance }} cannot read its databases",
            action="`GET /readyz` says in words what is missing.",
        ),
        Alert(
            name="JobspanWmsQueues",
            expression=f"{_TURN_WAIT.name} > 1",
            hold="15m",
            urgency="ticket",
            summary="Calls to the WMS at {{ $labels.instance }} wait for the database",
            action=(
                "One of a hundred transactions waits more than a second for its turn. Transactions on the dashboard "
                "WMS says whether they are many or long; MariaDB and PostgreSQL have more writers than SQLite."
            ),
        ),
        Alert(
            name="JobspanJobsWait",
            expression=f"max without (instance) ({series(catalogue.WMS_LONGEST_WAIT)}) > {_DAY}",
            hold="1h",
            urgency="ticket",
            summary="A job has waited for more than a day",
            action="`jobspan why JOB` says which slots there are and why none of them fits.",
        ),
        Alert(
            name="JobspanRequestsFailed",
            expression=f"max without (instance) ({_FAILED_REQUESTS}) > 0",
            hold="1h",
            urgency="ticket",
            summary="What was left to be done for ended jobs has failed",
            action="`jobspan requests list --status Failed` shows what nobody will try again.",
        ),
    ),
)

#: What a pilot used beside its payloads is shown, and no disagreement.
_DISAGREE = 'class!~"matched|pending|overhead|idle"'
_at_stake = f"sum without (class) ({series(catalogue.RECONCILIATION_CORE_HOURS, _DISAGREE)})"
_reconciliation = Group(
    name="jobspan-reconciliation",
    rules=(
        Alert(
            name="JobspanReconciliationDiffers",
            expression=f"{series(catalogue.RECONCILIATION_DIFFERENCES, _DISAGREE)} > 0",
            hold="",
            urgency="ticket",
            summary="The ledgers do not agree: {{ $labels.class }}",
            action="The report of `jobspan reconcile` has each difference with its likely cause.",
        ),
        Alert(
            name="JobspanReconciliationAtStake",
            expression=f"{_at_stake} > 100",
            hold="",
            urgency="page",
            summary="More than a hundred core-hours are at stake between the ledgers",
            action="The report of `jobspan reconcile` names sites, groups and hosts that differ as a whole.",
        ),
        Alert(
            name="JobspanReconciliationStale",
            expression=f"time() - {series(catalogue.RECONCILIATION_TIMESTAMP)} > {2 * _DAY}",
            hold="",
            urgency="ticket",
            summary="Nobody has reconciled for two days",
            action="Does the timer still run `jobspan reconcile`, and does its metrics file reach Prometheus?",
        ),
    ),
)

GROUPS = (_jobs, _delivery, _wms, _reconciliation)
