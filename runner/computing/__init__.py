"""Where wrappers run.

* `inprocess`       the computing element of an agent: one wrapper process for each slot of this machine
* `spawners`        a wrapper in a fresh interpreter; what a spawner is
* `zygote`          a wrapper forked from a warm process, with the fresh interpreter to fall back to
* `zygote_process`  that warm process itself
* `batch_time_left` until when the batch system lets us live, by its variables and files
* `spare`           a wrapper's process that waits for its job
* `birth`           when and by whom the present process was started, for the wrapper's first fact
"""
