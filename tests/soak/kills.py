"""Kills workers at random instants and looks at what they left: `python -m tests.soak.kills --kills 200 --seed 1`.

A kill falls anywhere in the time that a worker needs, or right after a line in which it acknowledged a change. Then
the database, its backups and what was acknowledged are looked at from outside.
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from storage.errors import StorageError
from tests.soak.looking import Broken
from tests.soak.phases import PHASES, Phase


def soak(folder: Path, kills: int, seed: int) -> list[Phase]:
    """Spread the kills over the phases. Raises Broken."""
    phases = [kind(folder, random.Random(f"{seed} {kind.__name__}")) for kind in PHASES]
    for phase in phases:
        phase.prepare()
    for number in range(kills):
        _kill(phases[number % len(phases)], number, seed)
    more = itertools.count(kills)
    for phase in phases:  # where each worker was done before its kill: sooner ones, until one falls into the work
        while kills and not phase.counts["killed"]:
            phase.seconds /= 2
            _kill(phase, next(more), seed)
    return phases


def _kill(phase: Phase, number: int, seed: int) -> None:
    try:
        phase.kill(number)
    except (Broken, StorageError) as error:  # what is not there is said by the store
        raise Broken(f"{phase.name}, kill {number}, seed {seed}: {error}; its home is {phase.home}") from error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    asked = parser.parse_args()
    start = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="hone-soak-"))
    try:
        phases = soak(folder, asked.kills, asked.seed)
    except Broken as error:
        print(f"BROKEN {error}", file=sys.stderr)
        return 1
    for phase in phases:
        print(f"{type(phase).__name__:<11}" + ", ".join(f"{count} {what}" for what, count in phase.counts.items()))
    workers, killed = (sum(phase.counts[what] for phase in phases) for what in ("workers", "killed"))
    acknowledged = sum(phase.counts["acknowledged"] for phase in phases)
    print(
        f"{workers} workers, {killed} killed (seed {asked.seed}, {time.monotonic() - start:.0f} s): "
        f"all of {acknowledged} acknowledged changes are there, and nothing half"
    )
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
