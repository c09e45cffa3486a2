"""The databases of the embedded WMS, one module each, through SQLAlchemy; no rule lives here.

| module | what it holds |
|---|---|
| engine | `Databases`: connections, transactions, SQLite's settings |
| observed | `ObservedDatabases`: the same, with a look at the time |
| inventory_db | counts over all of them, for the metrics |
| schema | the catalogue of tables; the form of times |
| system_db | WMSID, version of the tables |
| job_db | attributes and descriptions of jobs |
| job_attempts_db | attempts, and what this WMS saw of each by its own clock |
| job_commands_db | commands for attempts |
| job_logging_db | every status with its time and its arrival |
| elastic_job_parameters_db | job parameters |
| pilot_agents_db | pilots, job to pilot mapping |
| sandbox_metadata_db | sandboxes, owners, assignment |
| accounting_db | accounting records |
| file_catalog_db | files and replicas |
| leases_db | which of several processes does a periodic task |
| requests_db | combined requests, their operations, who executes them |
| file_status_db | what became of the files of productions |
| query | search specifications as SQL, for jobs and pilots alike |
"""
