"""What is done for a job when its wrapper has gone, and the modules that ask for it from inside a payload.

* `executor`           claims combined requests and executes their operations, in order, one executor at a time
* `operations`         what each operation does; doing it once more does no harm
* `ports`              what both need from outside
* `module_base`        ModuleBase: five steps, their order and their contract; GracefulTermination
* `reports`            what a module has to say: job report and file report
* `failover_request`   FailoverRequest, the last module of a workflow
* `modules`            a module by its name, and its step from a file
"""
