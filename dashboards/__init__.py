"""What people look at, Grafana dashboards and pages: values in, JSON and HTML out; no service is known here.

* `builder`   Grafana's JSON from a few words: panels, queries, layout; ids and refIds are always set
* `jobs`      the dashboard of the jobs: which question, which query
* `wms`       the dashboard of the WMS
* `generate`  `python -m dashboards.generate` writes both into `grafana/`; `--check` says whether they are up to date
* `check`     every query against the catalogue, and against what a real scrape shows
* `login`     the pages of the WMS on which somebody lets a program act for him
* `pages`     templates in, HTML out, escaped and without control characters; `templates/` has them and the one style
* `charts`    values in, SVG out: bars and curves
* `report_page`  a report as values, and as a page that holds all that it shows
* `trace_page` the page of a job's traces, as one file
* `text`      what others wrote made harmless, and figures as people read them; for terminals, too
* `console` the web console: frame, headers and script of its pages; `console_jobs` and `console_site` what they show
* `promql`    what check needs to know of a query: metrics, matchers, labels
"""
