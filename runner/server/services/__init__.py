"""The rules of the embedded WMS, one module a service under the original's names; synchronous.

Every rule runs in one transaction, asks `job_policy` before anything else, and raises
`runner.server.errors`. Services know databases and clock, and no HTTP.

| module | what it does |
|---|---|
| context | what every service works with |
| job_policy | the table of rights, and the fence |
| job_manager | submit, reschedule, reset |
| job_endings | its other half: kill, delete, remove |
| optimization_mind | Received to Waiting, step by step |
| optimizers | the steps: JobPath, JobSanity, InputData, JobScheduling, and those of communities |
| task_queues | where a job waits |
| matcher | jobs to free slots |
| shares | whose jobs come next; pure |
| limiter | how many jobs of a type a site gets, and how fast |
| offers | what agents offer |
| explanations | why a job waits |
| job_tokens | job tokens: hand out, renew |
| job_state_update | statuses, heartbeats, parameters |
| state_machine | the fold of updates into a status; pure |
| job_states | writing a status: job, attempt and history together |
| job_commands | orders for wrappers, until acknowledged |
| stalled_job_agent | jobs of which nothing is heard any more |
| job_cleaning_agent | what nobody needs any more |
| estimates | the record of an attempt of which nobody brings one; pure |
| job_monitoring | search, overview, summary, parameters, peek, description |
| live_peeks | what a job writes now, from its agent on this machine |
| job_traces | spans of jobs, where they are written beside this WMS |
| sandbox_store | sandboxes |
| arrivals | which of those that were announced have been brought |
| pilots | pilots |
| pilots_logging | what they say, and whether they are to stop |
| targets | where agents and wrappers serve their metrics, for Prometheus |
| wms_administrator | the site mask |
| wms_utilities | the pilot of a job, the log of a pilot, telling one to stop |
| file_catalog | files and replicas |
| registry | users, groups, passwords; the proof that somebody is one of them |
| passwords | scrypt hashes, one-time codes |
| login_flows | logins by device code or redirection, until they have their tokens |
| sessions | refresh tokens: exchanged once, reuse ends the session; revocation |
| revocations | single tokens that count no more before their time is over |
| console_sessions | sessions of the web console: a secret in a cookie, changed now and then |
| unicode | text that no answer could carry |
| requests | combined requests: put, claimed with a lease, executed in order |
| file_status | what became of the files of productions |
| last_report | what the last reconciliation said, where somebody has left it |
| health | whether this process can do its work now |
| inventory | what there is: jobs by status, queues, sandboxes, for the metrics |
| accounting | accounting records, and the WMS's own witness |
| accounting_report | sums by time and key, export |
"""
