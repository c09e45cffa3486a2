"""One attempt of one job, in a process of its own: six stages, always in order, always all six told of.

* `job_wrapper`                JobWrapper: the stage loop
* `attempt`                    what the stages share: WrapperParts from outside, and the attempt's state
* `initialize` `input_sandbox` `input_data` `execute` `outputs` `finalize`   the stages
* `output_sandbox` `output_data`   the two halves of `outputs`
* `outcome`                    what went wrong first -> the end of the attempt; the design's table, pure
* `job_report`                 statuses and parameters, as facts
* `job_execution_coordinator`  the hook of a community around its payloads
* `command` `environment`      what is executed, and with which variables
* `workspace` `node`           the job's folder; the machine
* `operations` `interruptible` sub-spans; work that a Kill can interrupt
* `payload`                    the payload, through starter and watchdog
* `control` `peeking`          the control socket and the signals: how a Kill arrives; what a Peek shows
* `arguments` `template`       the wrapper's arguments, and the script that the agent submits
* `ports`                      what all this needs from outside

A stage emits facts and moves files through the ports; it knows no WMS. It returns, or raises:
`TransientJobError`, `UnavailableError`: another attempt may do better; `PermanentJobError`,
`RefusedError`: none will; `Cancelled`: the job was told to stop.
"""
