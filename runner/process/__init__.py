"""One operating-system process tree: started, watched, limited, ended, accounted.

* `payload`        a payload's run, from plan to last process; what the `execute` stage calls
* `starter`        the wrapper's handle on the starter, the process that is parent of the payload
* `keeper`         that process: subreaper, the only one that waits for the payload's processes
* `command`        what is to be executed, as values
* `candidate`      the process that will be the payload: forked ahead, it waits for the word what to execute
* `launch`         its last moments before the exec: what a payload inherits, and what it does not
* `start_failure`  why an exec failed, in words
* `tree`           the processes as their subreaper has them: looked at, reaped, counted, signalled
* `signals`        TERM, grace, KILL, as a timeline of facts
* `graceful`       the graceful stop: a signal for those processes that can end well (StopSig*)
* `settling`       what a payload has used in all, as a fact (pure)
* `remnants`       what is left of a payload whose starter has died
* `noted`          its processes, noted beside the journal for whoever has to find those
* `output`, `peek`, `followed` ExecutionThread: exact totals of the output, its last lines, its files within bounds
* `questions`      what the watchdog asks about the payload's use, and when it need not ask
* `limits`         what a job may use, and whether a reading is beyond it (pure)
* `watchdog`       measures, decides by `limits`, asks for the end through `cancel`; heartbeats
* `punctuality`    whether samples come when they should, and the wall clock goes on evenly (pure)
* `cancel`         the one way in which a job is told to stop; `persist`: trying again until then
* `wire`, `linux`  frames between wrapper and starter; the kernel calls that Python lacks
"""
