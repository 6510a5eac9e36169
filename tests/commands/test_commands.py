"""The commands as scripts use them: called with arguments, their JSON and exit codes read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chatapp.arguments import BENCHES
from storage import paths
from storage.store import Store
from tests.commands.shell import TURN, Shell, lines
from trainer.bench import MODULES


def test_every_measurement_can_be_asked_for() -> None:
    assert sorted(MODULES) == BENCHES


def test_help_and_paths_load_nothing_heavy() -> None:
    """What the chat needs to paint must not pay for torch, llama.cpp or even textual."""
    code = (
        "import sys, chatapp.cli\nchatapp.cli.parser().format_help()\n"
        "heavy = {'torch', 'transformers', 'peft', 'llama_cpp', 'textual', 'sqlite_utils', 'numpy'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("judgment", "pairs", "unpaired"),
    [
        ({"ranking": [[2], [0], [1]]}, {("three", "one"), ("three", "two"), ("one", "two")}, 0),
        ({"ranking": [[2], [0, 1]]}, {("three", "one"), ("three", "two")}, 0),
        ({"pick": 1}, {("two", "one"), ("two", "three")}, 0),
        ({"all_bad": True}, set(), 3),
        ({"thumbs": [1, -1, None]}, {("one", "two")}, 2),
        ({"ratings": [7, None, 1]}, {("one", "three")}, 0),
        ({"correction": {"of": 0, "text": "fixed"}}, {("fixed", "one"), ("fixed", "two"), ("fixed", "three")}, 0),
    ],
)
def test_judge_records_every_kind(hone: Shell, tmp_path: Path, judgment: dict, pairs: set, unpaired: int) -> None:
    said = hone.json("judge", "--file", lines(tmp_path / "j.jsonl", {**TURN, **judgment}))
    assert (said["pairs"], said["unpaired"]) == (len(pairs), unpaired)
    rows = [json.loads(line) for line in hone("export", "trl-preference").splitlines()]
    assert {(r["chosen"][0]["content"], r["rejected"][0]["content"]) for r in rows} == pairs
    assert all(r["prompt"] == [{"role": "user", "content": "why?"}] for r in rows)


def test_notes_and_flags_beside_a_judgment_or_alone(hone: Shell, home: Path, tmp_path: Path) -> None:
    flags = [{"response": 0, "rule": 3, "violated": True}, {"response": 2, "rule": "Made-up Facts", "violated": False}]
    rows = [
        {**TURN, "pick": 1, "notes": [None, "to the point", None], "flags": flags},
        {**TURN, "prompt": "how?", "notes": ["x", None, "y"]},
        {
            **TURN,
            "prompt": "who?",
            "ratings": [1, 4, 7],
            "flags": [{"response": 1, "rule": "rule-human", "violated": True}],
        },
    ]
    said = hone.json("judge", "--file", lines(tmp_path / "j.jsonl", *rows))
    assert said == {
        "judgments": 8, "pairs": 5, "unpaired": 0, "demonstrations": 0, "rule_labels": 3, "notes": 3, "already": 0,
    }  # fmt: skip
    with Store.open(home) as store:
        labels = [(label.rule_id, label.violated) for label in store.judgments.derived().rule_labels]
        assert sorted(labels) == [("rule-human", True), ("rule-insult", True), ("rule-made-up", False)]
        assert {j.payload["text"] for j in store.judgments.live() if j.kind == "note"} == {"to the point", "x", "y"}
    hone("judge", "--file", lines(tmp_path / "more.jsonl", {**TURN, "flags": flags}))
    assert hone.out == "nothing new: 2 judgments had been recorded before\n"
    other = [{**flags[0], "violated": False}]
    hone("judge", "--file", lines(tmp_path / "more.jsonl", {**TURN, "flags": [*other, flags[1]]}))
    assert hone.out == (
        "1 judgment recorded: 0 pairs, 0 single examples, 1 rule label; 1 judgment had been recorded before\n"
    )


def test_flags_of_a_rule_that_is_not_offered_are_refused(hone: Shell, tmp_path: Path) -> None:
    row = {**TURN, "flags": [{"response": 0, "rule": 3, "violated": True}]}
    hone("rules", "disable", "insults")
    assert "hone rules enable 3" in hone("judge", "--file", lines(tmp_path / "j.jsonl", row), code=1)
    hone("rules", "enable", "insults")
    hone("rules", "edit", "insults", "--text", "Is kind.")
    assert "was replaced by rule 13" in hone("judge", "--file", lines(tmp_path / "j.jsonl", row), code=1)


def test_judging_the_same_answers_twice_is_one_turn(hone: Shell, home: Path, tmp_path: Path) -> None:
    hone("judge", "--file", lines(tmp_path / "a.jsonl", {**TURN, "pick": 1}))
    hone("judge", "--file", lines(tmp_path / "b.jsonl", {**TURN, "pick": 0}))
    rows = [json.loads(line) for line in hone("export", "trl-preference").splitlines()]
    assert {(r["chosen"][0]["content"], r["rejected"][0]["content"]) for r in rows} == {
        ("one", "two"),
        ("one", "three"),
        ("two", "three"),
    }
    with Store.open(home) as store:
        assert store.value("SELECT count(*) FROM messages") == 4


def test_the_same_file_twice_teaches_once(hone: Shell, home: Path, tmp_path: Path) -> None:
    """The same judgment is not taken twice, and nothing waits because of it."""

    def taught() -> tuple[int, int, int, float]:
        with Store.open(home) as store:
            found = store.judgments.derived()
            weight = sum(pair.weight for pair in found.pairs)
            return len(found.pairs), len(found.demonstrations), len(found.rule_labels), weight

    flags = [{"response": 0, "rule": 3, "violated": True}]
    rows = [
        {**TURN, "correction": {"of": 0, "text": "fixed"}, "notes": ["stiff", None, None], "flags": flags},
        {**TURN, "prompt": "how?", "ranking": [[2], [0], [1]]},
    ]
    file = lines(tmp_path / "j.jsonl", *rows)
    said = "4 judgments recorded: 6 pairs, 0 single examples, 1 demonstration, 1 rule label, 1 note"
    assert hone("judge", "--file", file) == f"{said}\n"
    once = taught()
    again = hone.json("judge", "--file", file)
    assert (again["judgments"], again["demonstrations"], again["notes"], again["already"]) == (0, 0, 0, 4)
    assert taught() == once
    assert hone("judge", "--file", file) == "nothing new: 4 judgments had been recorded before\n"
    other = [{**TURN, "correction": {"of": 0, "text": "other"}}, {**TURN, "correction": {"of": 1, "text": "fixed"}}]
    assert hone.json("judge", "--file", lines(tmp_path / "new.jsonl", *other))["already"] == 0
    with Store.open(home) as store:
        assert len(store.judgments.derived().demonstrations) == 3


def test_a_correction_given_again_keeps_what_it_was_put_before_and_counts_as_the_latest(
    hone: Shell, home: Path, tmp_path: Path
) -> None:
    def pairs() -> set[tuple[str, str]]:
        with Store.open(home) as store:
            text = {row["id"]: row["content"] for row in store.rows("SELECT id, content FROM messages")}
            return {(text[pair.chosen_id], text[pair.rejected_id]) for pair in store.judgments.derived().pairs}

    fixed = {"correction": {"of": 0, "text": "fixed"}}
    file = lines(tmp_path / "j.jsonl", *({"prompt": "q", "responses": ["a", other], **fixed} for other in ("b", "c")))
    hone("judge", "--file", file)
    assert pairs() == {("fixed", "a"), ("fixed", "b"), ("fixed", "c")}
    assert hone.json("judge", "--file", file)["already"] == 2
    rows: list[dict[str, object]] = [{"prompt": "q", "responses": ["a", "fixed"], "pick": 0}]
    hone("judge", "--file", lines(tmp_path / "pick.jsonl", *rows))
    assert ("a", "fixed") in pairs()
    rows = [{"prompt": "q", "responses": ["a"], **fixed}]
    assert hone.json("judge", "--file", lines(tmp_path / "again.jsonl", *rows))["already"] == 0
    assert pairs() >= {("fixed", "a"), ("fixed", "b"), ("fixed", "c")}


def test_a_correction_over_more_answers_replaces_the_one_before(hone: Shell, home: Path, tmp_path: Path) -> None:
    row = {"prompt": "q", "responses": ["a"], "correction": {"of": 0, "text": "fixed"}}
    hone("judge", "--file", lines(tmp_path / "j.jsonl", row))
    assert hone.json("judge", "--file", lines(tmp_path / "j.jsonl", {**row, "responses": ["a", "b"]}))["pairs"] == 2
    with Store.open(home) as store:
        found = store.judgments.derived()
        assert (len(found.pairs), len(found.demonstrations)) == (2, 1)


@pytest.mark.parametrize(
    "judgment",
    [
        {"ranking": [[2], [0, 1]]},
        {"pick": 1},
        {"all_bad": True},
        {"thumbs": [1, -1, None]},
        {"ratings": [7, None, 4]},
        {"ratings": [None, 4, None]},  # which teaches nothing
        {"flags": [{"response": 0, "rule": 3, "violated": True}]},
    ],
)
def test_every_kind_is_known_again_until_something_else_was_said(
    hone: Shell, home: Path, tmp_path: Path, judgment: dict
) -> None:
    def waiting() -> int:
        with Store.open(home) as store:
            return store.judgments.waiting("m")

    file = lines(tmp_path / "j.jsonl", {**TURN, **judgment}, {**TURN, **judgment})
    first = hone.json("judge", "--file", file)
    assert first["already"] == first["judgments"] > 0
    once = waiting()
    assert hone.json("judge", "--file", file)["judgments"] == 0
    assert waiting() == once
    assert hone("judge", "--file", file).startswith("nothing new: ")


def test_a_judgment_counts_again_after_another_one(hone: Shell, home: Path, tmp_path: Path) -> None:
    """Pick A, pick B, pick A: the third says something, and what the first two say waits no more than once."""
    for pick, judged in ((0, 1), (1, 1), (0, 1), (0, 0)):
        row = {"prompt": "q", "responses": ["a", "b"], "pick": pick}
        assert hone.json("judge", "--file", lines(tmp_path / "j.jsonl", row))["judgments"] == judged
        with Store.open(home) as store:
            (pair,) = store.judgments.derived().pairs
            assert store.threads.message(pair.chosen_id).text == "ab"[pick]
            assert store.judgments.waiting("m") == 1


def test_a_text_is_never_better_than_itself(hone: Shell, tmp_path: Path) -> None:
    """What says nothing of its twins teaches nothing of them; what tells them apart is refused."""
    twins = {"prompt": "q", "responses": ["same", "same", "other"]}
    good = [{"ranking": [[2], [0, 1]]}, {"pick": 0}, {"correction": {"of": 0, "text": "other"}}]
    rows = [{**twins, "prompt": str(at), **judgment} for at, judgment in enumerate(good)]
    assert hone.json("judge", "--file", lines(tmp_path / "j.jsonl", *rows))["pairs"] == 2 + 1 + 2
    hone("export", "trl-preference", "-o", tmp_path / "out.jsonl")
    read = hone.json("import", "trl-preference", tmp_path / "out.jsonl", "--home", tmp_path / "elsewhere", "--strict")
    assert read["skipped_count"] == 0


def test_a_field_that_is_none_of_a_judgments_is_named(hone: Shell, tmp_path: Path) -> None:
    row = {**TURN, "pick": 0, "id": 17, "by\x1b[2J": "me"}
    assert hone.json("judge", "--file", lines(tmp_path / "j.jsonl", row))["judgments"] == 1
    assert hone.err.startswith("hone: fields that are none of a judgment's were left alone: id, by")
    assert "\x1b" not in hone.err


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("{", "line 2: not JSON"),
        ([1], "line 2: expected an object"),
        ({"responses": ["a"], "pick": 0}, '"prompt" is missing'),
        ({**TURN, "prompt": ""}, "not empty"),
        ({**TURN, "prompt": [{"role": "assistant", "content": "x"}], "pick": 0}, "end with a message of the user"),
        ({"prompt": "q", "pick": 0}, '"responses" is missing'),
        ({**TURN, "responses": [], "pick": 0}, "at least one text"),
        (TURN, "no judgment"),
        ({**TURN, "pick": 1, "all_bad": True}, "pick and all_bad"),
        ({**TURN, "pick": 3}, "index 3"),
        ({**TURN, "pick": True}, "index True"),
        ({**TURN, "ranking": [[0], [0]]}, "twice"),
        ({**TURN, "thumbs": [1, 2, None]}, "thumbs has 2"),
        ({**TURN, "ratings": [1, 8, None]}, "ratings has 8"),
        ({**TURN, "ratings": [1]}, "each of the 3 responses"),
        ({**TURN, "correction": {"of": 0, "text": " "}}, "the better answer"),
        ({**TURN, "notes": ["only one"]}, "each of the 3 responses"),
        ({**TURN, "notes": ["a", 2, None]}, "notes has 2"),
        ({**TURN, "notes": [None, " ", None]}, "notes has ' '"),
        ({**TURN, "notes": [None, None, None]}, "no judgment"),
        ({**TURN, "flags": {"response": 0}}, "flags must be a list"),
        ({**TURN, "flags": [{"response": 0, "rule": 1}]}, "must be"),
        ({**TURN, "flags": [{"response": 3, "rule": 1, "violated": True}]}, "index 3"),
        ({**TURN, "flags": [{"response": 0, "rule": 77, "violated": True}]}, "no rule '77'"),
        ({**TURN, "flags": [{"response": 0, "rule": r, "violated": True} for r in (3, "insults")]}, "twice"),
        ({**TURN, "notes": [None, "\ud83d", None]}, "cut in two"),
        ({**TURN, "pick": 0, "note": ["a", None, None]}, "there is no field 'note'; did you mean notes?"),
        ({**TURN, "pick": 0, "correct": {"of": 0, "text": "x"}}, "did you mean correction?"),
        ({**TURN, "Flag": [], "pick": 0}, "did you mean flags?"),
        ({**TURN, "ranking": [[]]}, "names no response"),
        ({"prompt": "q", "responses": ["x", "x"], "pick": 0}, "prefers a text to itself: all 2"),
        ({"prompt": "q", "responses": ["x", "x", "y"], "ranking": [[0], [1, 2]]}, "response 0 is better or worse"),
        ({"prompt": "q", "responses": ["x", "x"], "thumbs": [1, -1]}, "the same text"),
        ({"prompt": "q", "responses": ["x", "x"], "ratings": [1, 7]}, "the same text"),
        ({**TURN, "correction": {"of": 0, "text": "one"}}, "it corrects nothing"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_recorded(
    hone: Shell, home: Path, tmp_path: Path, row: Any, why: str
) -> None:
    said = hone("judge", "--file", lines(tmp_path / "j.jsonl", {**TURN, "pick": 0}, row), code=1)
    assert why in said
    assert said.endswith("j.jsonl was recorded.\n")
    assert len(said.splitlines()) == 1
    if paths.database(home).exists():
        with Store.open(home) as store:
            assert store.judgments.live() == []


def test_import_marks_its_source_and_export_asks_for_it(hone: Shell, tmp_path: Path) -> None:
    file = lines(tmp_path / "pairs.jsonl", {"prompt": "q", "chosen": "a", "rejected": "b"}, "oops")
    said = hone.json("import", "trl-preference", file)
    assert (said["name"], said["added"], said["skipped"][0]["line"]) == ("import:pairs", 1, 2)
    assert hone.json("import", "trl-preference", file)["added"] == 0
    assert hone("export", "trl-preference") == ""
    out = tmp_path / "out.jsonl.gz"
    assert hone.json("export", "trl-preference", "-o", out, "--include", "import:pairs")["rows"] == 1
    assert list(tmp_path.glob(".out*")) == []
    assert "line 2" in hone("import", "trl-preference", file, "--strict", "--name", "again", code=1)
    assert "cannot include" in hone("export", "trl-preference", "--include", "friends", code=1)
    assert "cannot name an import" in hone("import", "trl-preference", file, "--name", "../x", code=1)


def test_adapters_without_any(hone: Shell) -> None:
    assert hone.json("adapters", "list") == []
    assert "nothing to roll back" in hone("adapters", "rollback", code=1)
    assert "v3" in hone("adapters", "use", "v3", code=1)
    assert "answers" in hone("adapters", "show", "base")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--model", "nowhere.gguf"], "nowhere.gguf"),
        (["-n", "99"], "-n is 99"),
        (["--temperature", "-1"], "temperature is -1.0"),
        (["--adapter", "v7"], "v7"),
        (["--file", "x.jsonl"], "not both"),
    ],
)
def test_bad_arguments_of_ask(hone: Shell, arguments: list[str], why: str) -> None:
    said = hone("ask", "hello", *arguments, code=1)
    assert why in said
    assert len(said.splitlines()) == 1


def test_a_bad_setting_is_named_with_its_place(hone: Shell, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    (home / "config.toml").write_text("alternatives = 'many'\n")
    said = hone("paths", code=1)
    assert "config.toml" in said
    assert "'many'" in said
    (home / "config.toml").write_text("colour = 1\n")
    assert "no setting 'colour'" in hone("paths", code=1)
    (home / "config.toml").write_text("alternatives = 5\n")
    monkeypatch.setenv("HONE_ALTERNATIVES", "77")
    assert "alternatives is 77" in hone("paths", code=1)
    monkeypatch.setenv("HONE_ALTERNATIVES", "4")
    assert hone.json("paths")["config"] == str(home / "config.toml")


def test_an_unwritable_home_and_a_newer_database_say_so(hone: Shell, home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "--home" in hone("runs", "--home", tmp_path / "file" / "x", code=1)
    with Store.open(home) as store:
        store.db.execute(
            "INSERT INTO _sqlite_migrations(migration_set, name, applied_at) VALUES ('hone', 'm999_later', 'x')"
        )
    assert "newer Hone" in hone("runs", code=1)


@pytest.mark.real
def test_ask_judge_and_export_on_the_real_model(hone: Shell, home: Path, tmp_path: Path) -> None:
    """What `ask` prints, `judge` takes with a judgment added, and keeps the token ids as they were drawn."""
    file = lines(tmp_path / "p.jsonl", {"prompt": "Say hi."}, {"prompt": [{"role": "user", "content": "Say bye."}]})
    hone("ask", "--file", file, "-n", 3, "--max-tokens", 12, "--seed", 5, "--json")
    answers = [json.loads(line) for line in hone.out.splitlines()]
    assert [len(a["candidates"]) for a in answers] == [3, 3]
    assert answers[0]["prompt"] == "Say hi."
    first = answers[0]["candidates"][0]
    assert first["tokens"] == len(first["token_ids"]) <= 12
    assert first["finish_reason"] in ("stop", "length")
    hone("ask", "--file", file, "-n", 3, "--max-tokens", 12, "--seed", 5, "--json")
    assert [json.loads(line) for line in hone.out.splitlines()] == answers

    # by their texts alone, the answers are found again
    rows = [
        {"prompt": a["prompt"], "responses": [c["text"] for c in a["candidates"]], "ranking": [[2], [1], [0]]}
        for a in answers
    ]
    assert hone.json("judge", "--file", lines(tmp_path / "j.jsonl", *rows))["pairs"] == 6
    drawn = [c["token_ids"] for a in answers for c in a["candidates"]]
    with Store.open(home) as store:
        for pair in store.judgments.derived().pairs:
            for id in (pair.chosen_id, pair.rejected_id):
                made = store.threads.generation(id)
                assert made is not None
                assert made.token_ids in drawn

    # and their lines can be carried to another home
    carried = lines(tmp_path / "c.jsonl", *({**a, "pick": 1} for a in answers))
    assert hone.json("judge", "--file", carried, "--home", tmp_path / "other")["pairs"] == 4
    with Store.open(tmp_path / "other") as store:
        assert all(store.threads.generation(p.chosen_id) is not None for p in store.judgments.derived().pairs)


@pytest.mark.real
def test_a_prompt_that_is_too_long_is_named_and_the_others_answered(hone: Shell, home: Path, tmp_path: Path) -> None:
    file = lines(tmp_path / "p.jsonl", {"prompt": "why? " * 400}, {"prompt": "Say hi."})
    said = hone("ask", "--file", file, "--max-tokens", 3, "--context-size", 256, "--json", code=1)
    assert said.startswith(f"hone: {file}, line 1: The newest message and the system prompt are ")
    assert said.endswith("larger context size: --context-size N\n")
    assert json.loads(hone.out)["prompt"] == "Say hi."
    with Store.open(home) as store:
        assert store.value("SELECT count(*) FROM messages WHERE role = 'assistant'") == 1
    assert hone("ask", "why? " * 400, "--context-size", 256, code=1).startswith("hone: The newest message")


@pytest.mark.real
def test_ask_keeps_nothing_when_told_so(hone: Shell, home: Path) -> None:
    hone("ask", "Say hi.", "--max-tokens", 3, "--no-save")
    with Store.open(home) as store:
        assert store.value("SELECT count(*) FROM messages") == 0


@pytest.mark.real
def test_doctor_finds_this_machine_healthy(hone: Shell) -> None:
    report = hone.json("doctor")
    assert report["ok"] is True
    assert {c["check"] for c in report["checks"]} == {
        "python", "memory", "settings", "data", "backups", "disk", "model", "engine",
    }  # fmt: skip
