"""The parts of `jobspan demo`.

* `manifest`   `demo.toml`: which jobs there are, what each needs beforehand, how each must end
* `preparing`  data into storage and catalogue, hostile sandboxes into the store, all jobs handed in
* `performance`  the demonstration itself: site, jobs, what they leave behind
* `results`    what is there of each job after its end: records, output, expectations met and missed
* `leftovers`  processes and ports that should be gone
* `page`       the report as a page for a browser
* `report`     tables, waterfall, metrics and places for people; the same as JSON
"""
