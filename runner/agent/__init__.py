"""The agent: takes jobs, hands them to the computing element, and sees them to their end.

* `job_agent`  JobAgent: the process's main loop; signals, slots, the order of a stop
* `pilot_log`  its log lines at the WMS
* `taker`      the thread that asks the matcher and starts a wrapper for each job
* `folders`    what is written for a wrapper: folders, arguments, the first facts
* `jobs`       the jobs that have a wrapper: from the match to the reaping
* `commands`   the thread that fetches commands for all jobs and passes them to the wrappers
* `aftercare`  the thread that sees ended attempts through: recovery, delivery, removal
* `outbox`     what the attempts of the node owe to their sinks, dead letters, and what was removed undelivered
* `room`       whether there is room for another job, on the disk and in the outbox
* `recovery`   the end of an attempt whose wrapper died without one
* `death`      why that wrapper died, as far as anybody has seen it (pure)
* `remainders` what its payload still does, and what it has used
* `starters`   the starter of a dead wrapper: waited for, woken, killed when it hangs
* `outputs`    what outputs it has left: uploaded in its place
* `last_word`  how the WMS keeps such an end, asked before it is written
* `peek`       output of jobs over HTTP, for those who may see it
* `signals`    handlers that only count
* `ports`      what an agent needs from outside
"""
