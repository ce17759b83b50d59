"""Benchmarks: dicomfs beside what a user would run instead, on files that are made here, in one table.

`make bench` runs all of them; ARGS chooses some (`make bench ARGS="frames listing"`, `ARGS=--list`). Each comparison
is made in rounds in which both sides take turns, so that what else the machine does meets both.
"""
