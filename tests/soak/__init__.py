"""What takes too long for the suite; `make soak` runs it, and the suite a small version of each.

kills: processes killed with SIGKILL at random instants, again and again: what was acknowledged is there, and nothing
half. trajectory: the real model trained beside TRL, step by step.
"""
