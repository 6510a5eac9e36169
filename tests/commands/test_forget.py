"""`hone forget` and `hone adapters remove`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from storage import paths, rewards
from storage.lookup import short
from storage.store import Store
from tests.commands.shell import Shell
from tests.commands.test_backup import at_a_terminal
from tests.storage.forgettable import MODEL, World


@pytest.fixture
def world(home: Path, tmp_path: Path) -> World:
    """A full home; nobody has it open."""
    with Store.open(home) as store:
        world = World(store, tmp_path / "outside")
        world.backups()
        world.note(tmp_path / "outside" / "missing.db")
    return world


def test_it_asks_first(hone: Shell, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    said = hone("forget", world.ids["q1"], code=1)
    assert said == (
        f"hone: forgetting {short(world.ids['q1'])} cannot be taken back (9 messages and 5 judgments): "
        "add -y if that is meant\n"
    )
    assert "add -y" in hone("forget", world.ids["q1"], "--json", code=1)
    at_a_terminal(monkeypatch, "n\n")
    said = hone("forget", short(world.ids["q1"]), world.ids["i1"], code=1)
    assert "nothing was forgotten" in said
    lines = hone.out.splitlines()
    word = world.word("q1")
    assert lines[0] == f"Message “Of {word}, and {word.capitalize()} aga…” ({short(world.ids['q1'])}), and all below it"
    assert lines[1].startswith("Judgment “A > B: 1 pair” (")
    assert lines[2:5] == [
        "In all 12 messages and 6 judgments, in the database, its caches and 3 backups.",
        "1 other message with exactly the same text would stay: --copies takes them too.",
        "v1, v2 learned from it, and may remember it afterwards.",
    ]
    assert world.found("q1", "i1", "cache") == {"q1", "i1", "cache"}


def test_it_says_what_it_did_and_what_is_left_to_do(
    hone: Shell,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_a_terminal(monkeypatch, "y\n")
    (world.home / "hone.db.damaged-20260101T000000Z").write_text("x")
    broken = paths.backups_dir(world.home) / "hone-20260102T000000Z-weekly.db"
    broken.write_text("no database")
    hone("forget", world.ids["a2"], world.ids["pick"])
    lines = hone.out[hone.out.index("Forgotten:") :].splitlines()
    assert f"({short(world.ids['pick'])}) of “" in hone.out  # many say the same: the question is quoted
    missing = world.outside / "missing.db"
    assert lines[0] == "Forgotten: 6 messages and 4 judgments, in the database, its caches and 2 backups."
    assert lines[1] == f"The chat's question and answers stay: `hone forget {short(world.ids['q1'])}`"
    assert lines[2].startswith("v2 is in use and may still remember: `hone train` makes a version that does not, ")
    assert lines[3] == "v1 may remember too: `hone adapters remove v1` deletes its files."
    assert lines[4] == f"The backup {broken} could not be cleaned and was deleted."
    assert lines[5].startswith(f"The backup at {missing}, written on 20")
    assert lines[5].endswith(f"could not be reached and still holds the text: there is no file {missing}")
    assert lines[6].endswith("damaged database of an earlier day and may hold the text: delete it by hand.")
    assert world.found("a2", "correction") == set()
    assert world.found("q1", "a1") == {"q1", "a1"}
    hone("forget", world.ids["note"], "-y")  # a file that is not there is told of once
    assert str(missing) not in hone.out
    assert hone.json("forget", world.ids["a1"], "-y")["unreached"][0]["path"] == str(missing)


def test_scripts_get_everything_but_the_text(hone: Shell, world: World) -> None:
    done = hone.json("forget", world.ids["q1"], "-y")
    assert (done["messages"], done["judgments"], done["threads"]) == (9, 5, 0)
    assert done["copies"] == [world.ids["copy"]]
    assert done["live"] == ["v2"]
    assert done["versions"][0] == {"id": "v1", "name": "v1", "live": False, "judgments": 3}
    assert [Path(path).name for path in done["backups"]] == ["hone-20260101T000000Z-manual.db", "copy.db"]
    assert [Path(copy["path"]).name for copy in done["unreached"]] == ["missing.db"]
    assert (done["run"], done["deleted"], done["damaged"]) == (None, [], [])
    assert world.word("q1") not in json.dumps(done)
    assert hone.json("forget", *done["copies"], "--copies", "-y")["messages"] == 1
    assert world.found("q1", "a1", "a2", "note", "b1") == set()
    assert "there is no thread, message or judgment 'nothing'" in hone("forget", "nothing", "-y", code=1)


def test_reward_models_that_go_are_named(hone: Shell, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are deleted with what they learned from or were tested on."""
    runs = world.store.runs
    for split, name in (("train", "pick"), ("held_out", "pick"), ("train", "rank"), ("train", "i1")):
        run = runs.queue("reward", model_hash=MODEL)
        runs.record_judgments(run.id, [(world.ids[name], split)])
        runs.finish(run.id, "done", {"verdict": "It orders 80 % of the pairs as you did."})
        rewards.file_of(world.store, run.id).parent.mkdir(parents=True)
        rewards.file_of(world.store, run.id).write_text("model")
    at_a_terminal(monkeypatch, "y\n")
    hone("forget", world.ids["pick"])
    makes = "Where none is left, `hone train --method reward --wait` makes one."
    several = f"The reward models of runs 3 and 4 are deleted. {makes}"
    assert hone.out.splitlines().count(several) == 2  # asked, and done
    gone = "was tested on it)"
    assert [line.endswith(gone) for line in hone("runs").splitlines()[:4]] == [False, False, True, True]
    assert not hone.json("runs", "3")["there"]
    assert hone.json("runs", "6")["there"]
    assert hone.json("forget", world.ids["i1"], "-y")["reward_models"] == [6]
    hone("forget", world.ids["pick"], "-y")  # again: there is none left to name
    assert "reward model" not in hone.out
    assert "The reward model of run 5 is deleted" in hone("forget", world.ids["rank"], "-y")


def test_what_was_forgotten_is_shown_as_such(hone: Shell, world: World) -> None:
    for name in ("a1", "q2", "s1 rank", "thread"):
        hone("forget", world.ids[name], "-y")
        for how in (("show",), ("show", "--branches"), ("export", "--markdown")):
            hone("threads", how[0], world.ids["thread"], *how[1:])
            if name != "thread":
                assert world.text("q1")[:20] in hone.out
    assert "(forgotten)" in hone("threads", "show", world.ids["thread"], "--branches")
    assert hone.json("threads", "list", "--deleted") == []
    assert "(forgotten)" in hone("judgments", "show", world.ids["note"])
    for action in ("list", "list --all"):
        hone("judgments", *action.split())
    assert world.word("a1") not in hone.out
    assert hone.json("search", world.word("a1")) == []
    assert len(hone.json("search", world.word("c1"))) == 1


def test_versions_say_what_they_may_remember_and_can_be_removed(
    hone: Shell,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from chatapp.commands import adapters

    monkeypatch.setattr(
        adapters, "find_model", lambda _: SimpleNamespace(hash=MODEL, file=SimpleNamespace(name="tiny"))
    )
    hone("forget", world.ids["pick"], world.ids["thumb"], "-y")
    listed = hone("adapters", "list").splitlines()
    assert listed[0].endswith("(learned from 2 judgments forgotten since)")
    assert hone.json("adapters", "show", "v2")["forgotten"] == 2
    assert "learned from 2 judgments forgotten since" in hone("adapters", "show", "v1")
    assert "v2 is the one in use: go back first" in hone("adapters", "remove", "v2", code=1)
    assert "base is the model itself" in hone("adapters", "remove", "base", code=1)
    assert hone.json("adapters", "remove", "v1") == {"removed": "v1", "version": "v1", "bytes": 4}
    assert hone("adapters", "list").splitlines()[0].endswith("(its files were removed)")
    assert "the files of v1 are gone from" in hone("adapters", "use", "v1", code=1)
    assert hone("adapters", "rollback").splitlines() == [
        "passed over, since their files are gone: v1",
        "the base model answers from now on; learning waits for a new judgment",
    ]
    assert hone("adapters", "use", "base").startswith("the base model answers already; ")
    assert "`hone train` makes" not in hone("forget", world.ids["pick"], "-y")


def test_a_refused_version_that_is_used_says_so(hone: Shell, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from chatapp.commands import adapters

    model = SimpleNamespace(hash=MODEL, file=SimpleNamespace(name="tiny"))
    monkeypatch.setattr(adapters, "find_model", lambda _: model)
    with Store.open(world.home) as store:
        v1 = store.adapters.get("v1", MODEL)
        store.adapters.update(v1.id, verdict="Refused: it drifted 0.200 nats a token from the base (at most 0.1).")
    assert hone("adapters", "use", "v1").splitlines() == [
        "v1 answers from now on; learning waits for a new judgment",
        "v1 was refused by its test: It drifted 0.200 nats a token from the base (at most 0.1).",
    ]
    assert "used by hand although refused" in hone("adapters", "list")
    hone("adapters", "use", "base")
    assert "(was used by hand although refused" in hone("adapters", "list")
    shown = hone("adapters", "show", "v1")
    assert "held out" in shown


def test_a_version_is_shown_in_lines_that_can_be_read(
    hone: Shell, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is long, its settings and figures, stands in the JSON."""
    from chatapp.commands import adapters

    model = SimpleNamespace(hash=MODEL, file=SimpleNamespace(name="tiny"))
    monkeypatch.setattr(adapters, "find_model", lambda _: model)
    report = {"config": {"epochs": 2}, "metrics": {"a": 1.0}, "start": {"from": None, "why": "the first"}}
    world.store.adapters.register("v9", model_hash=MODEL, files={"adapter.gguf": "f0" * 32}, report=report)
    name = world.store.adapters.get("v9").name
    said = hone("adapters", "show", "v9").splitlines()
    assert "provisional  no" in said
    assert "parent       none" in said
    assert "files        adapter.gguf" in said
    assert f"report       its settings, its figures, its start: `hone adapters show {name} --json`" in said
    assert not any("{" in line for line in said)
    assert hone.json("adapters", "show", "v9")["report"] == report
    assert "report       none" in hone("adapters", "show", "v1")


def test_pruning_says_what_it_frees(hone: Shell, world: World) -> None:
    run = world.store.runs.queue(model_hash=MODEL)
    world.add_version("v3", run.id, "v2")
    world.store.adapters.update("v3", state="rejected")
    caches = len(world.word("cache"))
    gone = {"removed": [{"version": "v3", "id": "v3", "bytes": 4}], "bytes": 4, "caches": caches, "held": 0}
    assert hone.json("adapters", "prune", "--dry-run") == gone
    assert world.store.adapters.there(world.store.adapters.get("v3"))
    assert hone("adapters", "prune", "--dry-run").splitlines() == [
        "would go: the files of v3 (rejected), 0.0 MB",
        "would go: caches, 0.0 MB; the next lesson computes them again",
        "0.0 MB would be freed",
    ]
    assert hone.json("adapters", "prune") == gone
    assert "(its files were removed)" in hone("adapters", "list").splitlines()[2]
    assert hone("adapters", "prune") == "nothing to free: every version's files are of use\n"
    assert hone.json("adapters", "prune") == {"removed": [], "bytes": 0, "caches": 0, "held": 0}
