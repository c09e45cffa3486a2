"""The HTTP side of the embedded WMS, one module a subject: parse, call one service, answer.

| module | what it serves |
|---|---|
| jobs | DiracX's /api/jobs: submit, status, heartbeat, metadata, reschedule, search, summary |
| sandboxes | DiracX's sandbox calls, and the presigned addresses |
| pilots | DiracX's /api/pilots |
| matching | match, commands, job tokens |
| orders | kill, delete, remove, reset many jobs |
| administration | site mask, logs and end of pilots, why a job waits |
| discovery | where metrics are, as Prometheus asks for it (/sd) |
| details | parameters, peek and description of a job |
| accounting | accounting records, their sums, witness |
| catalog | file catalogue |
| requests | combined requests, file statuses |
| repeating | services whose calls survive deadlocks |
| well_known | openid-configuration, keys, metadata, security.txt; DiracX's /api/config |
| auth | DiracX's /api/auth: device flow, tokens, sessions |
| login_pages | the pages on which somebody approves a login |
| console | what the pages of the web console share: sessions, forms, our own names, refusals as pages |
| console_login | into the console and out of it |
| console_jobs | its pages of jobs, and orders for them |
| console_site | its pages of nodes, accounting, reconciliation |
| about | info, userinfo |
| health | /healthz, /readyz |
| dependencies | the caller, the services, long polls |
| failures | refusals to HTTP |
| last_resort | errors that nobody expected |
| limits | largest bodies |
| lines | how many calls of a kind are in threads at once |
"""
