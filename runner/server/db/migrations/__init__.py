"""The steps from one version of the tables to the next, run by `jobspan wms migrate` through Alembic.

`versions` has one module a step, `v<number>_<name>.py`, in order. After a change of the tables,
`python -m tests.support.migration NAME` writes the step from what the modules declare.
"""
