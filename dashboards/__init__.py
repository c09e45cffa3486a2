"""What people see: Grafana dashboards and Prometheus rules over the metrics of `telemetry.catalogue`, and pages. They
render values and know no service. Beside them lie examples: `prometheus/`, `collector/`.

* `site_overview`, `job_stages`, `watchdog_and_kills`, `accounting_and_spool`, `wms`   a dashboard each: a panel for
             each question that a site asks, and its query
* `builder`  Grafana's JSON from a few words: panels, queries, layout; ids and refIds are always set
* `alerts`   what somebody should be told of, and what he can do then: rules for Prometheus
* `rules`    Prometheus's rule files from a few words
* `queries`  PromQL in the few shapes that panels and rules have
* `generate` `python -m dashboards.generate` writes dashboards into `grafana/` and rules into `prometheus/`; `--check`
             says whether they are up to date
* `check`    every query against the catalogue, and against what a real scrape shows
* `login`    the pages of the WMS on which somebody lets a program act for him
* `pages`     templates in, HTML out, escaped and without control characters; `templates/` has them and the one style
* `charts`    values in, SVG out: bars and curves
* `report_page`  a report as values, and as a page that holds all that it shows
* `trace_page` the page of a job's traces, as one file
* `text`      what others wrote made harmless, and figures as people read them; for terminals, too
* `console` the web console: frame, headers and script of its pages; `console_jobs` and `console_site` what they show
* `promql`    what check needs to know of a query: metrics, matchers, labels
"""
