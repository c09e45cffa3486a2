"""The embedded WMS: DiracX's REST dialect for what that has, calls of our own for the rest.

Routes are thin, rules stand in services, databases hold and find. Nothing here knows agents or
wrappers: they meet over HTTP only.

| module | what it is |
|---|---|
| serve | the process: folder, tokens, socket, signals |
| watch | the thread that looks for stalled jobs |
| app | databases, services and routes put together |
| routes | HTTP: parse, call one service, answer |
| services | the rules, one module a service, under the original's names |
| db | the databases, one module each |
| models | bodies of requests |
| tokens | tokens and presigned addresses |
| bells | waking long polls |
| observer | who is told of calls and transactions |
| observing | every call seen from outside: time, code, trace, request id |
| settings | what all of it needs to know |
| errors | what services refuse |
"""
