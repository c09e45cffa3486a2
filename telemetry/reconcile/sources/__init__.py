"""Where records come from: each kind of source reads its own, and makes a relation of our columns.

* `wanted`      what somebody asks for: `NAME=KIND:WHERE,option=value`
* `reading`     the kinds, and how each is read
* `files`       Parquet, CSV (ours, or any by a mapping of columns), lines of JSON
* `records`     records that Python holds: of the WMS, of a database, of the formats of others; whole ones; testimonies
* `by_hour`     somebody who gives digests of hours: what another side has too is not fetched
* `otlp`        OTLP/JSON: our files, those of a collector
* `otlp_events` what of their lines is wanted, made flat
* `sacct`       what a batch system says of its jobs, the pilots
* `prometheus`  what counters have added up
"""
