"""A real DiracX server (0.7) as the WMS: what it lacks and where it stumbles is settled here, and nowhere else.

* `client`        what a user and a tool can ask of it; refuses in words what DiracX has not
* `attempt`       the calls of one attempt: fenced by the job's RescheduleCounter, spaced as DiracX bears it
* `matching`      the agent's calls: jobs that were named to it are taken in turn, since DiracX has no matcher
* `descriptions`  what was submitted from here, since DiracX gives no description back
* `credentials`   the owner's token, in a file shared with DiracX's own command line
"""
