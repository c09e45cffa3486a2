"""The only place that chooses adapters, and the entry of every process.

* `wms`      the embedded WMS's process; `wms_telemetry`: what watches it; `notify`: a word to systemd
* `agent`    the agent's process: its spawner, telemetry and metrics
* `wrapper`  the wrapper's process: what `Wrapper_<JobID>` calls; `ahead`: what it does before its job comes
* `lone`     what a wrapper does itself where no agent lives: metrics of its own, shipping
* `requests` the executor of combined requests
* `registry` users and keys of the embedded WMS, for its operator
* `kinds`    the kind of WMS that a folder works with: ours, or `diracx`, a DiracX server; `clients`: tokens, addresses
* `site`     WMS and agent as child processes on one folder, for `run`, `demo` and tests
* `payload_telemetry` where a payload's own spans and logs arrive: the agent's door, or a lone wrapper's
* `records`  delivery of accounting records; `shipping`: of spans and events; `logs`: masked lines on stderr
* `outbox`   the outbox for its operator: listing, documents, another try
* `peeks`    output of jobs, from the agent of the folder
* `accounts` the whole accounting, for reports and exports; `users`: how users are named outside
* `traces`   the traces of a job, and their page
* `reconciliation` sources held against each other, as somebody asks for them; `sources`: what these are fetched from
* `reports`  what the folder of a node knows: attempts, metrics
* `database_records` the accounting records in a WMS's database, as a source

Each module is imported when it is needed: a wrapper loads no server, `--help` nothing at all.
"""
