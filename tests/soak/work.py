"""What the killed process does. It says each change on stdout once it is committed: a word and ids, a line each.

`python -m tests.soak.work WORK HOME [ARGUMENT]`
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from storage import backups, paths, restoring
from storage.forgetting import forget
from storage.importing import import_file
from storage.judgments import Judgments
from storage.preferences import Judgment
from storage.store import Store
from storage.threads import NewAnswer

MODEL = "0" * 64
ANSWERS = 3


def say(*words: str) -> None:
    """One line in one write: a killed process leaves whole lines but for the last."""
    os.write(sys.stdout.fileno(), (" ".join(words) + "\n").encode())


def ask(store: Store, text: str) -> tuple[str, list[str]]:
    """A question and its answers: (prompt, answers)."""
    thread = store.threads.new("killed")
    prompt = store.threads.add_message(thread.id, None, "user", text, tip=True)
    answers = [
        NewAnswer(f"{text} {place}", place, MODEL, None, {"temperature": 0.8}, place, [1, 2, 3], 5, "stop")
        for place in range(ANSWERS)
    ]
    return prompt.id, [message.id for message in store.threads.add_answers(thread.id, prompt.id, answers)]


def each_kind(judgments: Judgments, prompt: str, a: str, b: str, c: str, rule: str) -> Iterator[Judgment]:
    """One judgment of each kind, recorded when it is asked for."""
    yield judgments.rank(prompt, [[b], [a], [c]])
    yield judgments.pick(prompt, a, [a, b, c])
    yield judgments.all_bad(prompt, [a, b, c])
    yield judgments.thumb(prompt, a, -1)
    yield judgments.rate(prompt, {a: 1, b: 4, c: 7})
    yield judgments.correct(prompt, a, "better", [a, b, c])[0]
    yield judgments.flag(prompt, a, rule, True)
    yield judgments.note(prompt, a, "a note")
    yield judgments.duel(prompt, a, b)


def judge(home: Path, _: str) -> None:
    """Every kind of judgment, taken back and replaced."""
    with Store.open(home) as store:
        store.add_model(MODEL, "m", "llama", "t", "/m.gguf")
        rule = store.rules.list()[0].id
        say("ready")
        for number in count():
            prompt, (a, b, c) = ask(store, f"question {number}")
            say("answers", prompt, a, b, c)
            judgments = store.judgments
            for judgment in each_kind(judgments, prompt, a, b, c, rule):
                say(judgment.kind, judgment.id)
            first = judgments.rank(prompt, [[a], [b], [c]])
            second = judgments.rank(prompt, [[c], [b], [a]], supersedes=first.id)
            say("superseded", first.id, second.id)
            judgments.retract(second.id)
            say("retracted", second.id)


def take_in(home: Path, file: str) -> None:
    """An import."""
    with Store.open(home) as store:
        say("ready")
        import_file(store, Path(file), "trl-preference", Path(file).stem)
        say("imported", Path(file).stem)


def migrate(home: Path, _: str) -> None:
    """An older database is opened."""
    say("ready")
    Store.open(home).close()
    say("migrated")


def back_up(home: Path, _: str) -> None:
    """Copies, one after the other, with writes between them."""
    with Store.open(home) as store:
        store.add_model(MODEL, "m", "llama", "t", "/m.gguf")
        say("ready")
        for number in count():
            say("copied", backups.make(home).name)
            prompt, answers = ask(store, f"question {number}")
            say("ranking", store.judgments.rank(prompt, [[id] for id in answers]).id)


def secret(word: str, number: int) -> str:
    """A word that has hardly a beginning in common with others: an index of words leaves such beginnings out."""
    return hashlib.sha256(f"{word} {number}".encode()).hexdigest()


def forget_all(home: Path, word: str) -> None:
    """Turns that hold a secret, each forgotten again."""
    with Store.open(home) as store:
        store.add_model(MODEL, "m", "llama", "t", "/m.gguf")
        say("ready")
        for number in count():
            prompt, answers = ask(store, secret(word, number))
            judgment = store.judgments.rank(prompt, [[id] for id in answers])
            say("asked", prompt, judgment.id)
            forget(store, [prompt])
            say("forgotten", prompt, judgment.id)


def restore(home: Path, damaged: str) -> None:
    """The two backups of a home in turn, over a database that is whole or one that is not."""
    files = sorted(backup.path for backup in backups.list(home) if backup.reason == "manual")[:2]
    say("ready")
    for file in files * 1000:
        if damaged:
            os.truncate(paths.database(home), 5000)
        restoring.restore(home, file)
        say("restored", file.name)


WORK: dict[str, Callable[[Path, str], None]] = {
    "judge": judge,
    "import": take_in,
    "migrate": migrate,
    "backup": back_up,
    "forget": forget_all,
    "restore": restore,
}

if __name__ == "__main__":
    WORK[sys.argv[1]](Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "")
