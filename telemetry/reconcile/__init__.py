"""Records of any number of sources held against each other, also more than fit into memory: the extra `[reports]`.

* `result`       what was found: frozen values
* `settings`     tolerances, the window of time, what the engine may use
* `sources`      where records come from: WMS, databases, files, OTLP, batch systems, counters
* `columns`      the columns in which every source is read
* `workbench`    DuckDB, within its limits
* `sides`        a side with each attempt once, and what it holds in all
* `judge`        what is wrong with a pair
* `pairs`        two sides joined, by key or by what both know
* `digests`      what need not be joined, because its digests are the same
* `kept`         tables worked out of files, kept until these change
* `faults`       odd pairs as differences, each with its likely cause
* `findings`     differences with one cause, told apart from single ones
* `pilots`       attempts against the jobs of a batch system
* `sums`         attempts against counters and summaries
* `ledgers`      whole records: field by field, and against what others saw
* `attempts`     one attempt of these: what is wrong with it; `objections`: what others hold against its record
* `witnesses`    what others saw: the WMS's statuses, clock and heartbeats, the agent's counters
* `engine`       sides in, an outcome out
* `statement`    an outcome of a node's two ledgers as text and JSON
* `textfile`     an outcome as metrics, for a node exporter
"""
