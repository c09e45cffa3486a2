"""jobspan: how a job is taken, run and ended.

The rooms, from the top; imports point down only:

* `cli`        arguments -> the modules of `commands`, each imported when it is called
* `compose`    the only place that chooses adapters; the entry of every process
* `agent`      JobAgent: slots -> match -> submit -> reap -> recover
* `server`     the embedded WMS: routes -> services -> databases
* `computing`  where wrappers run: the in-process computing element, and the zygote that forks them warm
* `wrapper`    JobWrapper: the stage loop, one module a stage
* `wms`        the client of the WMS and the reporter of statuses, parameters and heartbeats
* `failover`   combined requests: executed later; the modules that ask for them inside a payload
* `process`    one process tree: starter, limits, output, watchdog, cancel
* `data`       storage elements, input data, archives
* `job`        the vocabulary, pure: description, status, matching
* `config`     frozen values; the only reader of the environment
* `collector`  where telemetry is sent: the standard OTEL_* variables over the file (pure)
* `tables`     every option of the configuration file, with its default and its meaning (pure)
* `options`    what an option is: name, default, meaning, and what it takes (pure)
* `errors`     the exception tree
* `trace_views` spans and journals of a job -> the values of its page (pure)
* `backoff`, `locks`, `redaction`   small tools of the above

What happened to a job is not kept here: every room emits facts, and `telemetry` does the rest.
"""

__version__ = "0.1.0"
