"""The kinds of work that are killed: what there is before, and what has to hold after each kill."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from storage import backups, health, paths, restoring
from storage.errors import DatabaseCorrupt
from storage.forgetting import finish
from storage.importing import import_file
from storage.migrations import migrations
from storage.store import Store
from tests.soak import work
from tests.soak.looking import Broken, demand, whole, whole_backups
from tests.storage.older import FIRST, older_home

#: seconds that a worker without an end may live
LIFE = 0.3
#: answers that each judgment of `work.judge` names
ITEMS = {
    "ranking": 3, "pick": 3, "all_bad": 3, "thumb": 1, "rating": 3, "correction": 4, "flag": 1, "note": 1, "duel": 2,
}  # fmt: skip
RECORDS = 1500  #: of an imported file
TURNS = 1000  #: in a database that is migrated, copied or restored


@dataclass
class Worker:
    """One run of `tests.soak.work`, killed."""

    lines: list[list[str]]  #: what it acknowledged
    ended: bool  #: by itself, before the kill
    seconds: float  #: at work


def run(name: str, home: Path, argument: str, seconds: float | None, lines: int | None = None) -> Worker:
    """Start a worker and kill it after `seconds` of its work, or `lines` that it said; without either, let it end."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.soak.work", name, str(home), argument], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    said = child.stdout.readline()
    demand(said == b"ready\n", f"{name} could not begin")
    start = time.monotonic()
    for _ in range(lines or 0):
        said += child.stdout.readline()
    if lines is None and seconds is not None:
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            pass  # at work: the instant to kill it
    if lines is not None or seconds is not None:
        child.kill()  # nothing, where it has ended already
    said += child.stdout.read()
    code = child.wait()
    child.stdout.close()
    demand(code in (0, -signal.SIGKILL), f"{name} ended with {code}")
    return Worker([line.split() for line in said.decode().split("\n")[1:-1]], code == 0, time.monotonic() - start)


@dataclass
class Phase(ABC):
    """One kind of work."""

    folder: Path
    dice: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = LIFE
    name: ClassVar[str]
    endless: ClassVar[bool] = True

    @property
    def home(self) -> Path:
        return self.folder / type(self).__name__

    def prepare(self) -> None:
        """Once, before the first kill."""
        Store.open(self.home).close()

    def argument(self, number: int) -> str:
        """What the worker is told; before each kill."""
        return ""

    def kill(self, number: int) -> None:
        """Run and kill a worker, then look."""
        argument = self.argument(number)
        if self.endless and self.dice.random() < 0.5:
            worker = run(self.name, self.home, argument, None, self.dice.randint(1, 12))
        else:
            worker = run(self.name, self.home, argument, self.dice.uniform(0, self.seconds))
        self.counts["workers"] += 1
        self.counts["killed"] += not worker.ended
        if worker.ended:  # the machine is quicker than it was: the next kills fall into what the work needs now
            self.seconds = min(self.seconds, worker.seconds)
        self.counts["acknowledged"] += len(worker.lines)
        self.check(worker, number)
        whole(paths.database(self.home))
        whole_backups(self.home)

    @abstractmethod
    def check(self, worker: Worker, number: int) -> None:
        """What has to hold for this kind of work alone."""


class Judging(Phase):
    name = "judge"

    def check(self, worker: Worker, number: int) -> None:
        with Store.open(self.home) as store:
            for word, *ids in worker.lines:
                if word == "answers":
                    demand(len(store.threads.generations(ids[1:])) == len(ids) - 1, f"answers {ids} are not all there")
                    continue
                judgments = [store.judgments.get(id) for id in ids]
                if word == "superseded":
                    demand(judgments[1].supersedes == ids[0], f"{ids[1]} does not replace {ids[0]}")
                elif word == "retracted":
                    demand(judgments[0].retracted_at, f"{ids[0]} is not retracted")
                else:
                    demand(judgments[0].kind == word, f"{ids[0]} is no {word}")
            # live ones, and with them those that nobody acknowledged
            for judgment in store.judgments.live():
                demand(len(judgment.items) == ITEMS[judgment.kind], f"the {judgment.kind} {judgment.id} is not whole")


class Importing(Phase):
    name = "import"
    endless = False

    def prepare(self) -> None:
        super().prepare()
        self.seconds = run(self.name, self.home, self.argument(-1), None).seconds

    def file(self, number: int) -> Path:
        return self.folder / f"file{number}.jsonl"

    def argument(self, number: int) -> str:
        with open(self.file(number), "w") as lines:
            for record in range(RECORDS):
                texts = {name: f"{name} {number} {record}" for name in ("prompt", "chosen", "rejected")}
                lines.write(json.dumps(texts) + "\n")
        return str(self.file(number))

    def check(self, worker: Worker, number: int) -> None:
        whole(paths.database(self.home))
        file = self.file(number)
        count = "SELECT count(*) FROM judgments WHERE source = ?"
        with Store.open(self.home) as store:
            there = store.value(count, [f"import:{file.stem}"])
            live = len(store.judgments.live([f"import:{file.stem}"]))
            demand(live in (0, RECORDS), f"{live} of {RECORDS} records of an import are seen")
            demand(live or not worker.lines, "an acknowledged import is not there")
            self.counts["untouched" if not there else "cut" if not live else "complete"] += 1
            import_file(store, file, "trl-preference", file.stem)
            demand(len(store.judgments.live([f"import:{file.stem}"])) == RECORDS, "a resumed import is not complete")
            demand(import_file(store, file, "trl-preference", file.stem).added == 0, "a record was taken in twice")
            demand(store.value(count, [f"import:{file.stem}"]) == RECORDS, "a resumed import has duplicates")
        file.unlink()


class Migrating(Phase):
    name = "migrate"
    endless = False

    def prepare(self) -> None:
        older_home(self.folder / "older", TURNS)
        self.seconds = run(self.name, self.home, self.argument(-1), None).seconds

    def argument(self, number: int) -> str:
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.copytree(self.folder / "older", self.home)
        return ""

    def check(self, worker: Worker, number: int) -> None:
        whole(paths.database(self.home))
        whole_backups(self.home)
        with health.reading(paths.database(self.home)) as db:
            steps = [row[0] for row in db.execute("SELECT name FROM _sqlite_migrations ORDER BY rowid")]
        every = [migration.name for migration in migrations._migrations]
        demand(steps in ([FIRST], every), f"the schema is between steps: {steps}")
        demand(steps == every or not worker.lines, "an acknowledged migration was not made")
        demand(steps == [FIRST] or backups.list(self.home), "a migration was made without a backup")
        self.counts["not migrated yet" if steps == [FIRST] else "migrated"] += 1
        self.counts["half a backup"] += bool(leftovers(self.home))
        with Store.open(self.home) as store:
            demand(len(store.judgments.live()) == TURNS, "judgments were lost in a migration")


class BackingUp(Phase):
    name = "backup"

    def prepare(self) -> None:
        older_home(self.home, TURNS)
        super().prepare()

    def check(self, worker: Worker, number: int) -> None:
        names = {backup.name for backup in backups.list(self.home)}
        for word, id in worker.lines:
            demand(word == "ranking" or id in names, f"the acknowledged backup {id} is not there")
        with Store.open(self.home) as store:
            for word, id in worker.lines:
                demand(word == "copied" or store.judgments.get(id).items, f"the judgment {id} is not there")
        whole_backups(self.home)
        self.counts["half a backup"] += bool(leftovers(self.home))
        backups.make(self.home)
        demand(not leftovers(self.home), "what a killed backup left was not cleared away")
        for backup in backups.list(self.home):
            backup.path.unlink()


def leftovers(home: Path) -> list[Path]:
    return [*paths.backups_dir(home).glob(".*"), *home.glob(paths.restoring_dir(home).name)]


class Forgetting(Phase):
    name = "forget"

    def argument(self, number: int) -> str:
        if number % 8 == 0:  # few, since each of them is cleaned
            backups.make(self.home)
        return f"n{number}"

    def check(self, worker: Worker, number: int) -> None:
        with Store.open(self.home) as store:
            finish(store)
            forgotten = [ids for word, *ids in worker.lines if word == "forgotten"]
            for prompt, judgment in (ids for word, *ids in worker.lines if word == "asked"):
                message = store.threads.message(prompt)
                gone = store.judgments.get(judgment).forgotten_at is not None
                demand((message.content is None) == gone, "a turn was forgotten by half")
                demand(gone or [prompt, judgment] not in forgotten, "an acknowledged forgetting did not happen")
            kept = {row["content"] for row in store.rows("SELECT content FROM messages WHERE content IS NOT NULL")}
        for path in [paths.database(self.home), *paths.backups_dir(self.home).glob("*")]:
            data = path.read_bytes()
            for place in range(len(forgotten)):
                found = work.secret(f"n{number}", place)[4:].encode() in data
                demand(not found, f"a forgotten text (the {place}th) is still in {path}")
        self.counts["forgotten"] += len(forgotten)
        self.counts["unforgotten"] += len(kept)


class Restoring(Phase):
    name = "restore"
    damaged: ClassVar[str] = ""
    two: tuple[Path, ...] = ()

    def prepare(self) -> None:
        older_home(self.home, TURNS)
        super().prepare()
        first = backups.make(self.home)
        with Store.open(self.home) as store:
            store.add_model(work.MODEL, "m", "llama", "t", "/m.gguf")
            prompt, answers = work.ask(store, "one more")
            store.judgments.rank(prompt, [[id] for id in answers])
        self.two = (first.path, backups.make(self.home).path)

    def argument(self, number: int) -> str:
        return self.damaged

    def check(self, worker: Worker, number: int) -> None:
        path = paths.database(self.home)
        demand(path.exists(), "there is no database")
        self.counts["cut"] += bool(leftovers(self.home))
        try:
            Store.open(self.home).close()
        except DatabaseCorrupt as error:
            if not self.damaged:
                raise Broken(f"a killed restore damaged the database: {error}") from error
            restoring.restore(self.home, restoring.choose(self.home, None))
        with Store.open(self.home) as store:
            demand(len(store.judgments.live()) - TURNS in (0, 1), "the database is neither of the two backups")
        backups.make(self.home)
        demand(not leftovers(self.home), "what a killed restore left was not cleared away")
        for left in [*self.home.glob("hone.db.damaged-*"), *paths.backups_dir(self.home).iterdir()]:
            if left not in self.two:
                left.unlink()


class Replacing(Restoring):
    """Over a damaged database."""

    damaged = "damaged"


PHASES: Sequence[type[Phase]] = (Judging, Importing, Migrating, BackingUp, Forgetting, Restoring, Replacing)
