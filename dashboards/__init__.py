"""Grafana dashboards over the metrics of `telemetry.catalogue`; they render values and know no service.

* `builder`   Grafana's JSON from a few words: panels, queries, layout; ids and refIds are always set
* `jobs`      the dashboard of the jobs: which question, which query
* `wms`       the dashboard of the WMS
* `generate`  `python -m dashboards.generate` writes both into `grafana/`; `--check` says whether they are up to date
* `check`     every query against the catalogue, and against what a real scrape shows
* `login`     the pages of the WMS on which somebody lets a program act for him
* `promql`    what check needs to know of a query: metrics, matchers, labels
"""
