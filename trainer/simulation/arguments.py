"""The arguments of `python -m trainer simulate`. Apart, so that a training run need not import the rest."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`hone simulate` has the same (chatapp/arguments.py) and hands them on."""
    add = parser.add_argument
    add("--user", default="all", metavar="NAME", help="one, several with commas, or all (default)")
    add("--judgments", default="40", metavar="N[,N...]", help="turns with a difference; several: a learning curve")
    add("--seed", type=int, default=0, metavar="S", help="of the order of prompts, the flips and the training")
    add("--flip", type=float, default=0.0, metavar="SHARE", help="of the judgments are turned round")
    add("--kinds", default="rankings", metavar="KIND", help="rankings, thumbs, corrections or mixed")
    add("--method", default="dpo", metavar="NAME", help="how the runs learn: dpo, sft or ppo (after a reward model)")
    add("--rule", metavar="NAME", help="flag answers too, for ppo: numbered lists, questions, the reader or bold")
    add("--rounds", type=int, default=1, metavar="R", help="the version of one answers the prompts of the next")
    add("--then", metavar="USER", help="judges from the second round on")
    add("--compare-all", action="store_true", help="compare in every round, not the first, each third and the last")
    add("--keep", type=Path, metavar="FOLDER", help="keep each round there, and go on from it; for one user")
    add("--prompts", type=int, default=80, metavar="M", help="unseen prompts of the comparison (default 80)")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the runs")
    add("--plot", type=Path, metavar="FILE.svg", help="draw the win rates by judgments")
    add("--survey", type=int, metavar="M", help="only say how often the base's answers to M prompts differ to a user")
    add("--list", action="store_true", help="only name the users")
