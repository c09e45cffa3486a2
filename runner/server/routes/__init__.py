"""The HTTP side of the embedded WMS, one module a subject: parse, call one service, answer.

| module | what it serves |
|---|---|
| jobs | DiracX's /api/jobs: submit, status, heartbeat, metadata, reschedule, search, summary |
| sandboxes | DiracX's sandbox calls, and the presigned addresses |
| pilots | DiracX's /api/pilots |
| matching | match, commands, job tokens |
| details | parameters, peek and description of a job |
| accounting | accounting records, witness |
| catalog | file catalogue |
| requests | combined requests, file statuses |
| about | info, userinfo |
| health | /healthz, /readyz |
| dependencies | the caller, the services, long polls |
| failures | refusals to HTTP |
| last_resort | errors that nobody expected |
| limits | largest bodies |
"""
