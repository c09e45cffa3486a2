"""What happened: recorded once, as facts, and used many times.

The rooms, from the ground up; imports point down only:

* `facts`      the frozen facts of a job's life
* `entries`    a fact with its writer, order and time, and its JSON form: the lines of a journal
* `catalogue`  every span, event, attribute and metric: name, unit, help, labels
* `conventions` catalogue and the record's schema -> CONVENTIONS.md, a page for readers of our telemetry
* `clock`      UTC for timestamps, CLOCK_BOOTTIME for durations, the boot id
* `identity`   UID of an attempt, and the trace and span ids that follow from it
* `journal`    the append-only file that every fact reaches first; read, merged and tailed
* `bus`        emit: journal first, then whoever listens; a listener that fails is dropped and counted
* `outbox`     what of a journal each sink has acknowledged
* `measure`    processes, control groups -> snapshot -> totals that never fall
* `live`       facts -> spans, log events, metrics; may drop, and counts what it drops
* `ledger`     facts -> the accounting record, its delivery and its reconciliation; may delay, never drops
* `reconcile`  records of any number of sources held against each other, also more than fit into memory

Only this package knows OpenTelemetry and Prometheus.
"""
