"""What was said and judged, looked at and put right from the shell."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from storage.store import Store
from storage.threads import NewAnswer
from tests.commands.shell import Shell, lines

MODEL = "m" * 64


def answers(store: Store, thread: str, prompt: str, *texts: str, adapter: str | None = None) -> list[str]:
    new = [NewAnswer(text, at, MODEL, adapter, {}, 7, [1, 2], 3, "stop") for at, text in enumerate(texts)]
    return [message.id for message in store.threads.add_answers(thread, prompt, new)]


@pytest.fixture
def chat(home: Path) -> dict[str, Any]:
    """One thread of two turns: A B C with a pick, then A B."""
    with Store.open(home) as store:
        store.add_model(MODEL, "tiny", "llama", "t", "tiny.gguf")
        thread = store.threads.new("About apples", system_prompt="Be brief.")
        first = store.threads.add_message(thread.id, None, "user", "Why apples?")
        ids = answers(store, thread.id, first.id, "They keep.", "They are red\nand round.", "Why not?")
        pick = store.judgments.pick(first.id, ids[1], ids)
        second = store.threads.add_message(thread.id, ids[1], "user", "And pears?")
        more = answers(store, thread.id, second.id, "Also.", "No.")
        store.threads.set_tip(thread.id, more[0])
    return {"thread": thread.id, "first": first.id, "ids": ids, "pick": pick.id, "second": second.id, "more": more}


# -- judgments ---------------------------------------------------------------------------------------------------------


def test_judgments_are_listed_the_newest_first(hone: Shell, home: Path, chat: dict, tmp_path: Path) -> None:
    with Store.open(home) as store:
        store.judgments.note(chat["second"], chat["more"][0], "too\nshort")
        gone = store.judgments.thumb(chat["first"], chat["ids"][0], 1)
        store.judgments.retract(gone.id)
    hone("judge", "--file", lines(tmp_path / "j.jsonl", {"prompt": "q", "responses": ["a", "b"], "ratings": [2, 5]}))
    rows = hone.json("judgments", "list")
    assert [(r["kind"], r["source"]) for r in rows] == [("rating", "judge"), ("note", "chat"), ("pick", "chat")]
    assert rows[2]["said"] == "B > A, C: 2 pairs"
    assert rows[2]["short"] == chat["pick"][-8:]
    assert (rows[1]["text"], rows[1]["thread"], rows[1]["title"]) == ("too\nshort", chat["thread"], "About apples")
    text = hone("judgments", "list").splitlines()
    assert "note on A: too short" in text[1]
    assert text[2].endswith("B > A, C: 2 pairs  (Why apples?)")  # the question; the thread has another title
    assert text[2].startswith(chat["pick"][-8:])
    assert [r["kind"] for r in hone.json("judgments", "list", "--kind", "note")] == ["note"]
    assert [r["kind"] for r in hone.json("judgments", "list", "--source", "judge")] == ["rating"]
    assert [r["kind"] for r in hone.json("judgments", "list", "--thread", chat["thread"][-8:])] == ["note", "pick"]
    assert [r["kind"] for r in hone.json("judgments", "list", "--limit", 1)] == ["rating"]
    everything = hone.json("judgments", "list", "--all")
    assert [r["kind"] for r in everything] == ["rating", "thumb", "note", "pick"]
    assert everything[1]["reasons"][0].startswith("it was taken back on ")
    assert "no judgment fits" in hone("judgments", "list", "--source", "import:none")
    for bad, why in ((["--kind", "star"], "'star'"), (["--source", "me"], "'me'"), (["--limit", 0], "--limit is 0")):
        assert why in hone("judgments", "list", *bad, code=1)


def test_judgments_of_deleted_threads_and_unfinished_imports_are_not_listed(
    hone: Shell, home: Path, chat: dict
) -> None:  # fmt: skip
    with Store.open(home) as store:
        store.threads.delete(chat["thread"])
        with store.write() as db:
            columns = "(id, name, format, file, state, created_at)"
            db.execute(f"INSERT INTO imports{columns} VALUES ('i', 'half', 'hone', 'x', 'running', 'x')")
        thread = store.threads.new("half", origin="import:half")
        prompt = store.threads.add_message(thread.id, None, "user", "q")
        answer = store.threads.add_message(thread.id, prompt.id, "assistant", "a")
        store.judgments.thumb(prompt.id, answer.id, 1, source="import:half")
    assert hone.json("judgments", "list") == []
    reasons = [row["reasons"] for row in hone.json("judgments", "list", "--all")]
    assert reasons == [["its import is not complete"], ["its thread is deleted"]]


def test_a_judgment_is_shown_with_what_it_teaches_and_who_learned(hone: Shell, home: Path, chat: dict) -> None:
    with Store.open(home) as store:
        rating = store.judgments.rate(chat["first"], {chat["ids"][0]: 7, chat["ids"][1]: 1})
        run = store.runs.queue("dpo", {}, MODEL)
        store.runs.record_judgments(run.id, [(chat["pick"], "train")])
        store.runs.finish(run.id, "done")
        store.adapters.register("a" * 32, model_hash=MODEL, files={}, run_id=run.id, state="live")
    view = hone.json("judgments", "show", chat["pick"][-8:])
    assert [(a["name"], a["text"], a["rank"]) for a in view["answers"]] == [
        ("A", "They keep.", 1), ("B", "They are red\nand round.", 0), ("C", "Why not?", 1),
    ]  # fmt: skip
    assert view["teaches"]["pairs"] == [
        {"chosen": "B", "rejected": "A", "margin": 0.0, "weight": 0.5},
        {"chosen": "B", "rejected": "C", "margin": 0.0, "weight": 0.5},
    ]
    assert [(o["says"], o["of"]["id"]) for o in view["overrides"]] == [("A > B", rating.id)]
    assert view["runs"] == [
        {"run": run.id, "number": 1, "state": "done", "split": "train", "adapter": "v1", "adapter_state": "live"}
    ]
    text = hone("judgments", "show", chat["pick"])
    assert "  pair: B over A, weight 0.5" in text
    assert "     and round." in text
    assert "run 1 (done), to learn from: made v1 (live)" in text
    view = hone.json("judgments", "show", rating.id)
    assert view["teaches"]["pairs"] == []
    assert [(o["says"], o["by"]["short"], o["by"]["said"]) for o in view["overridden"]] == [
        ("A > B", chat["pick"][-8:], "B > A, C: 2 pairs")
    ]
    assert "overridden: A over B, by the pick" in hone("judgments", "show", rating.id)


def test_a_judgment_that_teaches_nothing_says_why(hone: Shell, home: Path, chat: dict) -> None:
    hone("threads", "private", chat["thread"])
    assert "teaches nothing: its thread is private" in hone("judgments", "show", chat["pick"])
    hone("threads", "private", chat["thread"], "--off")
    hone("judgments", "edit", chat["pick"], "--all-bad")
    assert "was given in its place" in hone("judgments", "show", chat["pick"])
    view = hone.json("judgments", "show", hone.json("judgments", "list")[0]["id"])
    assert [(u["answer"], u["good"]) for u in view["teaches"]["unpaired"]] == [("A", False), ("B", False), ("C", False)]


@pytest.mark.parametrize(
    ("flags", "kind", "said"),
    [
        (["--ranking", "C > a=b"], "ranking", "C > A = B: 2 pairs"),
        (["--ranking", "B>A>C"], "ranking", "B > A > C: 3 pairs"),
        (["--pick", "c"], "pick", "C > A, B: 2 pairs"),
        (["--all-bad"], "all_bad", "all bad: 3 bad examples"),
    ],
)
def test_a_verdict_is_said_again_in_its_place(
    hone: Shell, home: Path, chat: dict, flags: list[str], kind: str, said: str
) -> None:  # fmt: skip
    made = hone.json("judgments", "edit", chat["pick"], *flags)
    assert (made["replaces"], made["said"]) == (chat["pick"], said)
    with Store.open(home) as store:
        new = store.judgments.get(made["judgment"])
        assert (new.kind, new.source, new.supersedes) == (kind, "chat", chat["pick"])
        assert [j.id for j in store.judgments.for_prompt(chat["first"])] == [new.id]
    assert "was replaced by" in hone("judgments", "edit", chat["pick"], *flags, code=1)
    assert f"replaced by {new.id[-8:]}: take that one back first" in hone("judgments", "retract", chat["pick"], code=1)
    hone("judgments", "retract", new.id)
    assert "taken back: " + said in hone.out
    assert f"counts again: B > A, C: 2 pairs ({chat['pick'][-8:]})" in hone.out
    assert hone.json("judgments", "retract", new.id)["retracted"] is False
    assert "cannot be edited: it was taken back" in hone("judgments", "edit", new.id, *flags, code=1)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--ranking", "B > D"], "no answer 'D'; there are A, B, C"),
        (["--ranking", "B > A"], "leaves out C"),
        (["--ranking", "B > A > B > C"], "names B twice"),
        (["--ranking", "B >> A = C"], "no ranking"),
        (["--ranking", ""], "no ranking"),
        (["--pick", "7"], "no answer '7'"),
        (["--thumb", "up"], "is a pick: edit it with --ranking, --pick or --all-bad"),
        (["--scores", "A=1"], "is a pick"),
        (["--text", "x"], "is a pick"),
        (["--violated", "yes"], "is a pick"),
    ],
)
def test_an_edit_that_makes_no_sense_changes_nothing(
    hone: Shell, home: Path, chat: dict, flags: list[str], why: str
) -> None:  # fmt: skip
    said = hone("judgments", "edit", chat["pick"], *flags, code=1)
    assert why in said
    assert len(said.splitlines()) == 1
    with Store.open(home) as store:
        assert store.value("SELECT count(*) FROM judgments") == 1


def test_the_other_kinds_are_edited_each_in_its_own_way(
    hone: Shell, home: Path, chat: dict, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    prompt, (a, b) = chat["second"], chat["more"]
    with Store.open(home) as store:
        thumb = store.judgments.thumb(prompt, a, 1)
        rating = store.judgments.rate(prompt, {a: 3})
        flag = store.judgments.flag(prompt, a, "rule-insult", True)
        note = store.judgments.note(prompt, b, "meh")
        fix, message = store.judgments.correct(prompt, a, "Also, and more.", [a, b])
        store.threads.set_tip(chat["thread"], message.id)
        duel = store.judgments.duel(prompt, a, b)
    assert hone.json("judgments", "edit", thumb.id, "--thumb", "down")["said"] == "A bad: 1 bad example"
    assert hone.json("judgments", "edit", rating.id, "--scores", "A=6, B = 2")["said"] == "A 6/7, B 2/7: 1 pair"
    assert hone.json("judgments", "edit", flag.id, "--violated", "no")["said"].startswith("A keeps the rule 'insults'")
    noted = hone.json("judgments", "edit", note.id, "--text", "fine")["judgment"]
    monkeypatch.setattr("sys.stdin", io.StringIO("Also,\nbut less.\n"))
    fixed = hone.json("judgments", "edit", fix.id, "--text", "-")["judgment"]
    with Store.open(home) as store:
        assert store.judgments.get(noted).payload == {"text": "fine"}
        better = store.judgments.get(fixed).items[0]
        assert store.threads.message(better.message_id).content == "Also,\nbut less."
        assert [i.message_id for i in store.judgments.get(fixed).items[1:]] == [a, b]
        assert store.threads.get(chat["thread"]).tip_message_id == better.message_id
    scores = hone.json("judgments", "list", "--kind", "rating")[0]["id"]
    for bad in ("A=8", "A", "A=1 A=2", "E=3", ""):
        hone("judgments", "edit", scores, "--scores", bad, code=1)
    assert "text is empty" in hone("judgments", "edit", fixed, "--text", " ", code=1)
    assert "judge again" in hone("judgments", "edit", duel.id, "--pick", "A", code=1)
    hone("judgments", "retract", fixed)
    with Store.open(home) as store:
        assert store.threads.get(chat["thread"]).tip_message_id == message.id
    hone("judgments", "retract", fix.id)
    with Store.open(home) as store:
        assert store.threads.get(chat["thread"]).tip_message_id == a


def test_what_replaces_a_judgment_of_others_is_ones_own(hone: Shell, home: Path, tmp_path: Path) -> None:
    hone("import", "trl-preference", lines(tmp_path / "x.jsonl", {"prompt": "q", "chosen": "a", "rejected": "b"}))
    (row,) = hone.json("judgments", "list", "--source", "import:x")
    hone("judgments", "edit", row["id"], "--ranking", "B > A")
    assert "it is your own word now" in hone.out
    with Store.open(home) as store:
        (pair,) = store.judgments.pairs(["imports"])
        assert (pair.source, store.threads.message(pair.chosen_id).content) == ("judge", "b")
    hone("import", "--undo", "x")
    assert [r["source"] for r in hone.json("judgments", "list")] == ["judge"]


def test_letters_of_another_try_do_not_mix(hone: Shell, home: Path, chat: dict) -> None:
    with Store.open(home) as store:
        again = answers(store, chat["thread"], chat["first"], "Newer.", "Newest.")
        new = store.judgments.pick(chat["first"], again[0], again)
        across = store.judgments.rank(chat["first"], [[again[1]], [chat["ids"][0]]])
    assert [a["text"] for a in hone.json("judgments", "show", new.id)["answers"]] == ["Newer.", "Newest."]
    view = hone.json("judgments", "show", across.id)
    assert [a["name"] for a in view["answers"]] == ["A", "B", "C", "D", "E"]
    assert view["said"].startswith("E > A")
    assert hone.json("judgments", "edit", new.id, "--pick", "B")["said"] == "B > A: 1 pair"


# -- threads -----------------------------------------------------------------------------------------------------------


def test_threads_are_listed_with_their_marks(hone: Shell, home: Path, chat: dict) -> None:
    assert "About apples" in hone("threads", "list")
    with Store.open(home) as store:
        store.threads.new("Hidden", private=True)
        store.threads.archive(store.threads.new("Away").id)
        store.threads.delete(store.threads.new("Gone").id)
    assert [row["title"] for row in hone.json("threads", "list")] == ["Hidden", "About apples"]
    assert hone.json("threads", "list")[1]["judgments"] == 1
    assert "Hidden (private)" in hone("threads", "list")
    assert "Away (archived)" in hone("threads", "list", "--archived")
    assert "Gone (deleted)" in hone("threads", "list", "--deleted")
    assert len(hone.json("threads", "list", "--limit", 1)) == 1
    assert "--limit is -1" in hone("threads", "list", "--limit", -1, code=1)


def test_a_thread_is_shown_down_to_where_it_goes_on(hone: Shell, home: Path, chat: dict) -> None:
    text = hone("threads", "show", chat["thread"][-8:])
    assert text.splitlines()[1:] == [
        "", "System: Be brief.",
        "", "You: Why apples?",
        "", "B: They are red", "  and round.",
        "  (A, B, C were shown; B > A, C: 2 pairs)",
        "", "You: And pears?",
        "", "A: Also.",
        "  (A, B were shown)",
    ]  # fmt: skip
    with Store.open(home) as store:
        answers(store, chat["thread"], chat["first"], "Again.")
        with store.write() as db:
            db.execute("UPDATE messages SET content = NULL WHERE id = ?", [chat["more"][0]])
    view = hone.json("threads", "show", chat["thread"])
    assert [turn["follows"] for turn in view["turns"]] == ["B", "A"]
    assert view["turns"][1]["answers"][0]["text"] is None
    assert "A: (forgotten)" in hone("threads", "show", chat["thread"])
    assert "answered 2 times" in hone.out


def test_a_thread_is_shown_with_all_its_branches(hone: Shell, home: Path, chat: dict) -> None:
    with Store.open(home) as store:
        side = store.threads.add_message(chat["thread"], chat["ids"][0], "user", "Keep how long?")
        store.threads.add_message(chat["thread"], side.id, "assistant", "Months.")
    view = hone.json("threads", "show", chat["thread"], "--branches")
    assert [(m["name"], m["text"].split()[0], m["depth"], m["on_path"]) for m in view["messages"]] == [
        ("System", "Be", 0, True),
        ("You", "Why", 0, True),
        ("C", "Why", 1, False),
        ("A", "They", 1, False),
        ("You", "Keep", 1, False),
        ("A", "Months.", 1, False),
        ("B", "They", 0, True),
        ("You", "And", 0, True),
        ("B", "No.", 1, False),
        ("A", "Also.", 0, True),
    ]
    assert f"  {side.id[-8:]}   You: Keep how long?" in hone("threads", "show", chat["thread"], "--branches")


def test_a_deep_thread_is_shown(hone: Shell, home: Path) -> None:
    with Store.open(home) as store:
        thread, parent = store.threads.new("Deep"), None
        with store.write():
            for number in range(1500):
                role = "assistant" if number % 2 else "user"
                parent = store.threads.add_message(thread.id, parent, role, str(number), tip=True).id
    assert len(hone.json("threads", "show", thread.id)["turns"]) == 750
    assert len(hone.json("threads", "show", thread.id, "--branches")["messages"]) == 1500


def test_threads_of_the_shell_and_empty_ones_are_shown_too(hone: Shell, home: Path, tmp_path: Path) -> None:
    hone("judge", "--file", lines(tmp_path / "j.jsonl", {"prompt": "q", "responses": ["a", "b"], "pick": 1}))
    with Store.open(home) as store:
        (id,) = (row["id"] for row in store.rows("SELECT id FROM threads"))
        empty = store.threads.new().id
    (turn,) = hone.json("threads", "show", id)["turns"]
    assert ([a["name"] for a in turn["answers"]], turn["follows"], turn["said"]) == (
        ["A", "B"],
        None,
        ["B > A: 1 pair"],
    )
    assert hone.json("threads", "show", empty)["turns"] == []
    assert hone("threads", "export", empty).startswith("# Untitled")


def test_a_thread_is_exported_whole_or_not_at_all(hone: Shell, chat: dict, tmp_path: Path) -> None:
    text = hone("threads", "export", chat["thread"])
    assert text.startswith("# About apples\n")
    assert "<details><summary>A</summary>\n\nThey keep.\n\n</details>" in text
    file = tmp_path / "out.md"
    assert hone.json("threads", "export", "--markdown", chat["thread"], "-o", file)["file"] == str(file)
    assert file.read_text() == text == hone.json("threads", "export", chat["thread"])["markdown"]
    assert "cannot write" in hone("threads", "export", chat["thread"], "-o", tmp_path / "no" / "out.md", code=1)
    assert list(tmp_path.glob(".out*")) == []
    file.write_text("mine")
    assert "already: --force replaces it" in hone("threads", "export", chat["thread"], "-o", file, code=1)
    assert file.read_text() == "mine"
    hone("threads", "export", chat["thread"], "-o", file, "--force")
    assert file.read_text() == text


def test_the_copy_of_a_private_thread_comes_with_a_warning(hone: Shell, chat: dict, tmp_path: Path) -> None:
    hone("threads", "export", chat["thread"])
    assert hone.err == ""
    hone("threads", "private", chat["thread"])
    warning = "hone: the thread is private, and the copy is not protected"
    assert hone("threads", "export", chat["thread"]).startswith("# About apples\n")
    assert hone.err.startswith(warning)
    hone.json("threads", "export", chat["thread"], "-o", tmp_path / "out.md")
    assert hone.err.startswith(warning)
    assert "Why apples?" in (tmp_path / "out.md").read_text()


def test_private_threads_say_who_learned_from_them(hone: Shell, home: Path, chat: dict) -> None:
    with Store.open(home) as store:
        run = store.runs.queue("dpo", {}, MODEL)
        store.runs.record_judgments(run.id, [(chat["pick"], "train")])
        store.adapters.register("a" * 32, model_hash=MODEL, files={}, run_id=run.id, state="live")
    assert hone.json("threads", "private", chat["thread"]) == {
        "thread": chat["thread"], "private": True, "learned": ["v1"],
    }  # fmt: skip
    with Store.open(home) as store:
        assert list(store.judgments.pairs()) == []
    hone("threads", "private", chat["thread"], "--off")
    with Store.open(home) as store:
        assert len(list(store.judgments.pairs())) == 2


@pytest.mark.parametrize("command", ["judgments", "threads"])
def test_ids_that_name_nothing(hone: Shell, chat: dict, command: str) -> None:
    assert f"`hone {command} list`" in hone(command, "show", "nothing-here", code=1)
    assert "too short" in hone(command, "show", "abc", code=1)


def test_search_shows_where_the_words_are(hone: Shell, home: Path, chat: dict) -> None:
    (hit,) = hone.json("search", "red", "rou")
    assert (hit["message"], hit["thread"], hit["title"]) == (chat["ids"][1], chat["thread"], "About apples")
    assert "[red]" in hit["snippet"]
    first, second = hone("search", "red", "rou").splitlines()
    assert first.startswith(chat["ids"][1][-8:])
    assert first.endswith(f"in {chat['thread'][-8:]} About apples")
    assert second == "  They are [red] and [round]."
    hone("threads", "private", chat["thread"])
    assert "About apples (private)" in hone("search", "apples", "--limit", 1)
    assert hone("search", "nowhere").startswith("no message has these words")
    assert "name a word" in hone("search", " ", code=1)
    assert hone.json("search", "nowhere") == []


def test_threads_of_the_shell_are_counted_and_listed_when_asked_for(hone: Shell, chat: dict, tmp_path: Path) -> None:
    hone("threads", "list")
    assert hone.err == ""
    hone("judge", "--file", lines(tmp_path / "j.jsonl", {"prompt": "of the shell", "responses": ["a", "b"], "pick": 0}))
    assert "of the shell" not in hone("threads", "list")
    assert hone.err == "1 thread from the shell or imports: --all lists them too\n"
    assert "of the shell (from the shell)" in hone("threads", "list", "--all")
    assert hone.err == ""
    assert {row["origin"] for row in hone.json("threads", "list", "--all")} == {"chat", "judge"}
    assert "(1 from the shell or imports)" in hone("backup")
