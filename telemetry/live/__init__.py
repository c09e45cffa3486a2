"""Facts -> spans, log events and metrics, and their shipping. May drop, and counts what it drops.

* `timeline`    UTC of a boottime, from one anchor for each boot
* `moments`     facts -> events of the root span
* `stage_usage` facts -> what each stage has used
* `story`       facts -> the parts of an attempt with their times: what the spans say, without the SDK
* `spans`       story (and record) -> the SDK's ReadableSpan and ReadableLogRecord, with ids that follow from the UID
* `sdk`         the one place that imports the SDK's private modules
* `otlp`        spans and log records -> protobuf and OTLP/JSON lines, and back to plain values
* `lines`       files of lines, appended whole or not at all
* `otlp_files`  traces.jsonl and logs.jsonl of a node, and their readers, which count damage
* `otlp_http`   the sender: accepted means accepted
* `parcels`     an attempt packed for the collector, and kept while that cannot take it
* `shipping`    ended attempts -> files and collector, acknowledged by UID
* `shipper`     the thread that does so until every sink has settled
* `tally`       facts of one attempt -> its share of the counters
* `kills`       the same of limits, kills and signals
* `counters`    the shares of ended attempts on disk, each UID once
* `following`   attempts read bit by bit, and the sum of their tallies
* `reading`     the thread that reads them on
* `job_gauges`  the gauges of living jobs, of a node or of a wrapper without an agent
* `metrics`     tallies -> a Prometheus collector with exemplars, totals that never fall
* `wms_state`   what the WMS's metrics are made of, as values
* `wms_metrics` calls and transactions of the WMS, and what it holds -> a Prometheus collector
* `exposition`  /metrics and /healthz
* `call_spans`  calls to the WMS -> spans of its own, within its callers' traces
* `call_shipper` the thread that ships those; it drops and counts, and never makes a call wait
* `payload_spool` what a payload sends itself, until it is shipped, and the key that lets it in
* `otlp_received` OTLP of a payload -> lines of its spool: judged, brought into the trace of its attempt, masked
* `payload_counts` what has become of it, as counters
* `payload_door` the socket for it; `payload_http`: one call; `payload_desk`: who may send, and how much
* `payload_shipping` the spools -> files and collector, by a thread of its own
* `traces`      OTLP files -> the submission and all attempts of a job, each span once
* `traces_in_words` events of the root span as sentences; which of them tell of a kill
* `traces_open` the trace of an attempt that still runs, from its journal
* `traces_course` journal -> use over time, and the output as heartbeats told it
* `waterfall`   the same as text
* `perfetto`    the same as trace events for ui.perfetto.dev
* `slow`        which stages were slow, against their usual time by site and type

Everything here runs in the agent (or in a wrapper that has none), or in the WMS (`wms_*`,
`call_*`), or for people who look; a job runs without it.
"""
