"""The ledger: what each attempt has cost, told once. Held against everybody who saw it in `telemetry.reconcile`.

May delay, never drops, and never counts twice.

* `schema`       every field of the accounting record: type, unit, meaning
* `record`       the record, its canonical form and digest; which of several counts
* `fingerprint`  what two holders of records compare before these: digests by hour
* `selection`    which entries of a journal an attempt's record is made of
* `timeline`     when things happened, in microseconds that add up
* `usage`        CPU, memory and output: settled, or the best that a cut-off journal tells
* `builder`      facts -> record
* `sanity`       whether a record makes sense by itself
* `deliver`      record -> WMS, until it is acknowledged
* `monthly`      a month: what was used, what is missing, what came late
* `formats`      records in the words of APEL, AUDITOR, DIRAC and OGF, and back

Everything but `deliver` is pure.
"""
