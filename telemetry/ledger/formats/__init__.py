"""Accounting in the words of others: each module writes records of ours and reads them back. Pure.

Everything that is written says that it is of the payload level: what a batch system accounts is a
pilot, in which payloads ran, and whoever adds the two up counts the same hours twice.

* `usage`    what every format tells of a job, in one form; what all of them need to write it
* `apel`     APEL's messages: individual jobs (v0.3, v0.4) and summaries (v0.2, v0.4)
* `auditor`  records of AUDITOR, a line of JSON each
* `dirac`    DIRAC's accounting type "Job", a line of JSON each
* `ogf`      the blocks of OGF's usage record 2.0, a line of JSON each
"""
