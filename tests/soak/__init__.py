"""Processes killed with SIGKILL at random instants, again and again: what was acknowledged is there, and nothing half.

`python -m tests.soak.kills --kills 200 --seed 1`, or `make soak`. The test suite kills a few too.
"""
