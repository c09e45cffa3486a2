"""The databases of the embedded WMS, one module each, through SQLAlchemy; no rule lives here.

| module | what it holds |
|---|---|
| engine | `Databases`: transactions, and what is done again when one was in vain |
| address | which database; its driver; what of it may be shown |
| connections | how each kind is set up; which errors pass |
| dialects | what they spell differently |
| turn | the queue of SQLite's writers |
| shared_sync | forcing commits of SQLite to the disk, once for several |
| versions | the version of the tables: made, refused or upgraded |
| migrations | the steps between versions |
| schema | the catalogue of tables; the form of times; row locks |
| system_db | WMSID |
| observed | `ObservedDatabases`: the same, with a look at the time |
| inventory_db | counts over all of them, for the metrics |
| job_db | attributes and descriptions of jobs |
| task_queue_db | queues of waiting jobs that ask for the same |
| site_mask_db | which sites get jobs, with history |
| job_attempts_db | attempts, and what this WMS saw of each by its own clock |
| job_commands_db | commands for attempts |
| job_logging_db | every status with its time and its arrival |
| elastic_job_parameters_db | job parameters |
| opensearch_job_parameters | the same, on an OpenSearch server |
| pilot_agents_db | pilots, job to pilot mapping, what they offer |
| targets_db | where agents and wrappers serve their metrics |
| pilots_logging_db | what pilots say, and orders to stop |
| sandbox_metadata_db | sandboxes, owners, assignment |
| accounting_db | accounting records |
| accounting_type_db | their values as columns, to be summed up |
| removal | a job out of every table |
| file_catalog_db | files and replicas |
| leases_db | which of several processes does a periodic task |
| guards_db | what is held while something is counted |
| requests_db | combined requests, their operations, who executes them |
| file_status_db | what became of the files of productions |
| registry_db | users, groups, one-time codes |
| auth_db | logins under way, refresh tokens, audit log |
| query | search specifications as SQL, for jobs and pilots alike |
"""
