"""The commands of `jobspan`, a module each, loaded only when asked for (`runner.cli` has their list).

Commands: `run`, `demo`, `wms`, `agent`, `submit`, `status`, `log`, `parameters`, `peek`, `kill`, `reschedule`,
`output`, `trace`, `slow`, `metrics`, `accounting`, `reconcile`, `report`, `requests`, `module`, `why`, `delete`,
`sites`, `pilots`, `outbox`, `login`, `logout`, `whoami`, `config`, `doctor`.

What they share:

* `context`        what a command is and what it is given
* `terminal`       lines, tables, JSON; text of others without control characters
* `jobs`           jobs as the WMS shows them, the live table, waiting for their end
* `registry`       users, keys and audit log of the embedded WMS, for `wms`
* `packing`        descriptions from files, input sandboxes, submission
* `fetching`       output sandboxes into a new folder
* `killing`        the order to end a job
* `extras`         says which extra to install where one is missing
* `exporting`      accounting records in the form of other systems
* `reporting`      a report on the terminal and in files; `views`: what is shown of a month or a reconciliation;
  `reconciliation_files`: the latter's files
* `overrides`      configurations with something changed by the command line
* `interrupts`     an end in order, whichever signal asks for it
* `announcing`     how a service says that it is ready
* `checkup`        the checks of `doctor`
* `demonstration`  the parts of `demo`
"""
