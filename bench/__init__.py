"""What `make bench` measures. Each figure stands beside a baseline taken in the same run.

`python -m bench.NAME` prints a table for people; with `--json` it ends with one line for
machines (bench/report.py). A benchmark never fails a build: it tells, people decide.
"""
