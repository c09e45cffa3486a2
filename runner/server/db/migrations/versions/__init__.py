"""The steps, oldest first.

| module | what it brings |
|---|---|
| v0001_first_release | the tables of the first release, which wrote no version |
| v0002_sites_users_queues | task queues, site mask, pilots' logs and orders, users and logins, sums over accounting |
| v0003_revoked_tokens | single tokens that were revoked |
| v0004_guards | rows that are held while something is counted |
| v0005_metrics_targets | where agents and wrappers serve their metrics |
| v0006_console | sessions of the web console, usage of jobs over time |
| v0007_fingerprints | fingerprints of accounting records, for digests by hour |
| v0008_foreign_records | sums that tell the records of other WMS from our own |
"""
