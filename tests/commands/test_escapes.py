"""Nothing that a terminal obeys is ever printed, whoever wrote it: to a pipe, which may end at one, or to a terminal.

Every command that shows text of others runs on a home in which every text is hostile, with and without --json.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import sys
import threading
import tty
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chatapp.cli import main
from chatapp.commands import ask, doctor
from chatapp.engine.base import Candidate, Timings
from chatapp.engine.model_files import file_hash
from chatapp.plain import run_plain
from storage.store import Store
from storage.threads import NewAnswer
from tests.chat.fakes import FakeEngine, FakeSpawn, make_settings

#: clears the screen, sets the title, colours by C1, deletes, rings, returns; turns the order of letters around
EVIL = "\x1b[2J\x1b]0;t\x07\x9b31m\x90q\x7f\x08\r\x00\x0b\x0c\x1c\x85\u2028\u202eabc\u2066 שלום 👩‍👩‍👧 é\ufeff\u200b"
TEXT = f"needle {EVIL}\n{EVIL} {'long ' * 3000}{EVIL} needle"
#: what no check of ours would let pass, in a database that something else wrote; SQLite's functions end at a NUL
IMPORT = EVIL.replace("\0", "")
#: what a file can be called
NAME = "n\x1b[2J\x9b31m\x7f\r\u202e\x07\nm"


@dataclass(frozen=True)
class Evil:
    """A home of hostile texts, and the ids of what is in it."""

    home: Path
    model: Path
    ids: dict[str, str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Evil:
    folder = tmp_path_factory.mktemp("evil") / NAME
    folder.mkdir()
    model = folder / f"{NAME}.gguf"
    key, value = b"general.name", EVIL.encode()
    field = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(value)) + value
    model.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + field)
    home = folder / "home"
    with Store.open(home) as store:
        ids = _fill(store, file_hash(model, folder / "cache"))
    return Evil(home, model, ids)


def _fill(store: Store, model: str) -> dict[str, str]:
    store.add_model(model, EVIL, EVIL, "t", EVIL)
    run = store.runs.queue("dpo", {EVIL: EVIL}, model)
    adapter = store.adapters.register(
        "a" * 32, model_hash=model, files={EVIL: EVIL}, run_id=run.id, state="live", verdict=TEXT, report={EVIL: TEXT}
    )
    thread = store.threads.new(TEXT, system_prompt=TEXT)
    question = store.threads.add_message(thread.id, None, "user", TEXT)
    new = [NewAnswer(f"{at} {TEXT}", at, model, (None, adapter.id)[at % 2], {}, 1, [1], 1, "stop") for at in range(3)]
    answers = [message.id for message in store.threads.add_answers(thread.id, question.id, new)]
    old = store.judgments.pick(question.id, answers[0], answers)
    made = {
        "pick": store.judgments.pick(question.id, answers[1], answers, supersedes=old.id).id,
        "rating": store.judgments.rate(question.id, {answers[0]: 7, answers[1]: 2}).id,
        "thumb": store.judgments.thumb(question.id, answers[0], 1).id,
        "note": store.judgments.note(question.id, answers[0], TEXT).id,
        "duel": store.judgments.duel(question.id, answers[0], answers[1]).id,
    }
    fix, message = store.judgments.correct(question.id, answers[0], TEXT, answers)
    store.threads.set_tip(thread.id, message.id)
    with store.write() as db:
        db.execute(
            "INSERT INTO rules(id, number, name, text, created_at) VALUES (?, 77, ?, ?, ?)", [EVIL, EVIL, TEXT, EVIL]
        )
        db.execute(
            "INSERT INTO imports(id, name, format, file, state, created_at) VALUES ('i', ?, ?, ?, 'complete', ?)",
            [IMPORT, EVIL, EVIL, EVIL],
        )
    made["flag"] = store.judgments.flag(question.id, answers[0], EVIL, True).id
    other = store.threads.new(TEXT, origin=f"import:{IMPORT}")
    asked = store.threads.add_message(other.id, None, "user", TEXT)
    pair = [store.threads.add_message(other.id, asked.id, "assistant", f"{at} {TEXT}").id for at in range(2)]
    made["imported"] = store.judgments.rank(
        asked.id, [[pair[0]], [pair[1]]], source=f"import:{IMPORT}", payload={EVIL: EVIL}
    ).id
    gone = store.threads.new(TEXT)
    store.threads.add_message(gone.id, None, "user", TEXT, tip=True)
    store.threads.delete(gone.id)
    store.runs.record_judgments(run.id, [(id, "train") for id in made.values()])
    store.runs.metrics(run.id, 1, {EVIL: 1.0, "progress.total": 2, "progress.step": 1})
    store.runs.finish(run.id, "failed", {"verdict": TEXT, "metrics": {EVIL: 1.0}, "adapter": EVIL}, error=TEXT)
    store.runs.queue("dpo", {}, model)
    return {**made, "correction": fix.id, "thread": thread.id, "imported_thread": other.id, "gone": gone.id}


@pytest.fixture
def evil(made: Evil, tmp_path: Path) -> Evil:
    """A copy of the home, to be changed."""
    folder = tmp_path / NAME
    shutil.copytree(made.home.parent, folder)
    return Evil(folder / "home", folder / made.model.name, made.ids)


@pytest.fixture(params=["pipe", "terminal"])
def printed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """printed(do): (what do() returned, all that it printed). A pipe is neither of the two when it is a terminal."""

    def run(do: Any) -> tuple[Any, str]:
        if request.param == "pipe":
            raw = io.BytesIO()
            stream = io.TextIOWrapper(raw, encoding="utf-8", write_through=True, newline="")
            with monkeypatch.context() as patch:
                patch.setattr(sys, "stdout", stream)
                patch.setattr(sys, "stderr", stream)
                result = do()
            return result, raw.getvalue().decode()
        ours, theirs = os.openpty()
        tty.setraw(theirs)  # or the terminal itself would write \r\n for \n
        read: list[bytes] = []

        def drain() -> None:
            try:
                while piece := os.read(ours, 65536):
                    read.append(piece)
            except OSError:
                pass  # the other side is closed

        reader = threading.Thread(target=drain)
        reader.start()
        with open(theirs, "w", encoding="utf-8", newline="") as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "stderr", stream)
            result = do()
        reader.join()
        os.close(ours)
        return result, b"".join(read).decode()

    run.terminal = request.param == "terminal"  # type: ignore[attr-defined]
    return run


def assert_harmless(text: str, terminal: bool) -> None:
    obeyed = {f"U+{ord(c):04X}" for c in text if (c < " " and c not in "\n\t") or "\x7f" <= c <= "\x9f"}
    assert not obeyed, text[:400]
    if terminal:  # there, nothing may stand in another order than it was written in, either
        assert not {c for c in text if c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}


#: @note and the like are ids of what is in the home
COMMANDS = """\
adapters list
adapters show v1
adapters show base
adapters use base
adapters rollback
runs
runs 1
runs 2 --cancel
doctor
paths
models
config show
config path
stats
stats --include imports
search needle
search needle --limit 1
judgments list
judgments list --all
judgments list --kind note
judgments list --source import:EVIL
judgments show @pick
judgments show @rating
judgments show @thumb
judgments show @note
judgments show @duel
judgments show @correction
judgments show @flag
judgments show @imported
judgments edit @pick --ranking A=B>C
judgments edit @imported --ranking B>A
judgments edit @flag --violated no
judgments edit @note --text EVIL
judgments edit @correction --text EVIL
judgments retract @pick
judgments retract @flag
threads list
threads list --deleted
threads list --archived
threads show @thread
threads show @imported_thread
threads show @gone
threads show @thread --branches
threads export @thread
threads export @imported_thread
threads export @thread -o FILE
threads private @thread
threads private @thread --off
rules list
rules list --all
rules edit 77 --name plain
rules edit 77 --text Plain.
rules disable 77
rules enable 77
rules add plain Plain.
export trl-preference --include imports
export trl-preference -o FILE
export trl-unpaired
export trl-sft
export sharegpt --include imports
export openai-preference
export hh-rlhf
export alpaca
export hone
import --list
import --undo EVIL
import trl-preference RECORDS --name evil
backup
backup --to FILE
backup --list
forget @note -y
forget @gone -y
forget @thread -y --copies
judge --file JUDGED
""".splitlines()
#: these fail, and say of what they were told
REFUSED = """\
search EVIL --limit 0
judgments show EVIL
judgments edit @pick --ranking EVIL
judgments edit @pick --pick EVIL
judgments edit @pick --text EVIL
judgments edit @rating --scores EVIL
judgments list --kind EVIL
judgments list --source EVIL
threads show EVIL
threads export @thread -o FILE/FILE
rules add EVIL EVIL
rules add plain EVIL
rules edit EVIL --name x
rules disable EVIL
stats --include EVIL
runs EVIL
adapters show EVIL
adapters use EVIL
adapters export EVIL gguf
adapters export v1 peft
adapters export base ollama -o FILE
export trl-preference --include EVIL
import --undo OTHER
import trl-preference EVIL
import trl-preference RECORDS --strict
import hh-rlhf JUDGED
judge --file EVIL
judge --file RECORDS
forget EVIL -y
restore EVIL -y
eval EVIL
doctor --model EVIL
""".splitlines()


def arguments(evil: Evil, command: str) -> list[str]:
    folder = evil.home.parent
    records = folder / "records.jsonl"
    rows = [{"prompt": TEXT, "chosen": "a", "rejected": TEXT}, {EVIL: 1}, {"prompt": [{"role": EVIL}], "chosen": 1}]
    records.write_text("\n".join(["{" + EVIL.replace("\n", ""), *(json.dumps(row) for row in rows)]))
    judged = folder / "judged.jsonl"
    flags = [{"response": 0, "rule": 77, "violated": True}]
    judged.write_text(
        json.dumps({"prompt": TEXT, "responses": [TEXT, "b"], "pick": 0, "notes": [EVIL, None], "flags": flags})
    )
    names = {"EVIL": EVIL, "FILE": str(folder / f"out{NAME}"), "RECORDS": str(records), "JUDGED": str(judged)}
    names |= {f"@{name}": id for name, id in evil.ids.items()} | {"import:EVIL": f"import:{EVIL}"}
    names |= {"OTHER": f"x{EVIL}", "FILE/FILE": str(folder / "no" / NAME)}
    words = [names.get(word, word).replace("\0", "") for word in command.split()]  # no argument can hold a NUL
    model = [] if "--model" in words else ["--model", str(evil.model)]
    return [*words, *model, "--home", str(evil.home)]


@pytest.fixture(autouse=True)
def quick_doctor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The engine is not tried, but says something evil."""
    monkeypatch.setitem(doctor.CHECKS, "engine", lambda settings: ("fail", TEXT, {EVIL: TEXT}))
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / NAME / "cache"))


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("command", [*COMMANDS, *REFUSED])
def test_no_command_prints_what_a_terminal_obeys(evil: Evil, printed: Any, command: str, as_json: bool) -> None:
    asked = arguments(evil, command) + ["--json"] * as_json
    code, text = printed(lambda: main(asked))
    assert_harmless(text, printed.terminal and not as_json and not command.startswith("export"))
    assert text.strip()
    assert "unexpected" not in text, text
    expected = 1 if command in REFUSED or command.startswith("doctor") else 0
    assert code == expected, text[:400]
    if as_json and not code and "export" not in command:
        for line in text.splitlines():
            if line.startswith(("{", "[")):
                json.loads(line)


class EvilEngine(FakeEngine):
    texts = (TEXT, EVIL)

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.texts = (TEXT, EVIL)

    def generate(self, messages: Any, n: int, sampling: Any, on_token: Any = None) -> list[Candidate]:
        for index in range(n):
            for letter in self.texts[index % 2][:200] if on_token else ():
                on_token(index, letter)
        return [
            Candidate(index, self.texts[index % 2], [1], "length", 7, 5, 0, 2, Timings(1.0, 1.0, 1.0))
            for index in range(n)
        ]


@pytest.mark.parametrize("flags", [[], ["--json"], ["-n", "2", "--file", "PROMPTS"]])
def test_ask(evil: Evil, printed: Any, monkeypatch: pytest.MonkeyPatch, flags: list[str]) -> None:
    monkeypatch.setattr(ask, "EngineProcess", EvilEngine)
    prompts = evil.home.parent / "prompts.jsonl"
    prompts.write_text("\n".join(json.dumps({"prompt": prompt}) for prompt in (TEXT, EVIL)))
    flags = [str(prompts) if flag == "PROMPTS" else flag for flag in flags]
    prompt = [] if "--file" in flags else [EVIL.replace("\0", "")]
    model = ["--model", str(evil.model), "--home", str(evil.home), "--adapter", "base"]
    code, text = printed(lambda: main(["ask", *prompt, *flags, *model]))
    assert code == 0, text
    assert_harmless(text, printed.terminal and "--json" not in flags)
    assert "needle" in text


def test_the_plain_chat(evil: Evil, printed: Any, tmp_path: Path) -> None:
    with Store.open(evil.home) as store:
        store.meta_set("chat.thread", evil.ids["thread"])
    typed = [TEXT.replace("\n", " "), "1", "+2", "n 1 " + EVIL.replace("\n", ""), "f 1 77", "u", "/rules", "/threads",
             "/open 1", "/rename " + EVIL, "/threads", "/find needle", "/status", "/" + EVIL,
             "/edit " + EVIL]  # fmt: skip
    stdin = io.StringIO("".join(line.replace("\r", "").replace("\n", "") + "\n" for line in typed))
    settings = make_settings(tmp_path, model=str(evil.model), alternatives=2)
    shutil.copytree(evil.home, settings.home)
    _, text = printed(lambda: run_plain(settings, stdin, sys.stdout, EvilEngine, FakeSpawn()))
    assert_harmless(text, printed.terminal)
    assert "note on A" in text
    assert "needle" in text
