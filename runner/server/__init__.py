"""The embedded WMS: DiracX's REST dialect for what that has, calls of our own for the rest.

Routes are thin, rules stand in services, databases hold and find. Nothing here knows agents or
wrappers: they meet over HTTP only.

| module | what it is |
|---|---|
| serve | the process: folder, tokens, socket, signals |
| http | connections: a parser in C, and a limit to heads |
| watch | the threads of periodic tasks: stalled jobs, cleaning |
| optimizing | the threads that take received jobs to Waiting |
| app | databases, services and routes put together |
| routes | HTTP: parse, call one service, answer |
| services | the rules, one module a service, under the original's names |
| db | the databases, one module each |
| sandboxes | the contents of sandboxes: a folder, or a bucket of an S3 server |
| openapi | the OpenAPI document: DiracX's names, answers, who must show a token |
| models | bodies of requests |
| answers | bodies of answers, for the OpenAPI document |
| tokens | tokens and presigned addresses |
| keys | the keys that sign tokens, and their rotation |
| bells | waking long polls |
| inbox | handing work over to a thread |
| observer | who is told of calls and transactions |
| observing | every call seen from outside: time, code, trace, request id |
| settings | what all of it needs to know |
| errors | what services refuse |
"""
