"""Facts -> spans, log events and metrics, and their shipping. May drop, and counts what it drops.

* `timeline`    UTC of a boottime, from one anchor for each boot
* `moments`     facts -> events of the root span
* `story`       facts -> the parts of an attempt with their times: what the spans say, without the SDK
* `spans`       story (and record) -> the SDK's ReadableSpan and ReadableLogRecord, with ids that follow from the UID
* `sdk`         the one place that imports the SDK's private modules
* `otlp`        spans and log records -> protobuf and OTLP/JSON lines, and back to plain values
* `otlp_files`  traces.jsonl and logs.jsonl of a node: one locked append a line; readers that count damage
* `otlp_http`   the sender: accepted means accepted
* `shipper`     ended attempts -> files and collector, until acknowledged
* `tally`       facts of one attempt -> its share of the counters
* `counters`    the shares of ended attempts on disk, each UID once
* `metrics`     tallies -> a Prometheus collector with exemplars, totals that never fall
* `exposition`  /metrics and /healthz
* `waterfall`   OTLP files -> the attempts of a job as text

Everything here runs in the agent (or in a wrapper that has none); a job runs without it.
"""
