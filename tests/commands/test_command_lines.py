"""Command lines: what they may leave out, how wrong ones are told, and what cannot be written or read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from chatapp.arguments import with_list
from chatapp.cli import main
from tests.commands.shell import Shell, lines


def test_an_empty_home_is_no_error(hone: Shell) -> None:
    for command in (["judgments", "list"], ["threads", "list"], ["search", "x"], ["threads", "list", "--deleted"]):
        assert hone(*command)
        assert json.loads(hone(*command, "--json")) == []
    assert "nothing is judged yet" in hone("judgments", "list")
    assert "Nothing is judged yet" in hone("stats")


def test_the_trainer_is_ours_wherever_the_user_is(tmp_path: Path) -> None:
    """A folder called trainer in the working folder must not be run in place of the trainer."""
    from chatapp import trainer_process
    from chatapp.config import Settings

    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "__init__.py").touch()
    (tmp_path / "trainer" / "__main__.py").write_text("print('not ours')")
    asked = trainer_process.command(Settings.load({"home": str(tmp_path / "home")}), "--help")
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True)
    assert "not ours" not in done.stdout
    assert "usage" in done.stdout


@pytest.mark.parametrize("command", ["adapters", "judgments", "threads", "rules"])
def test_a_command_without_an_action_lists(hone: Shell, command: str, home: Path) -> None:
    assert hone(command) == hone(command, "list")
    assert hone("--home", home, command, "--json") == hone(command, "list", "--json")
    assert with_list([command, "--help"]) == [command, "--help"]
    assert with_list([command, "nonsense"]) == [command, "nonsense"]
    assert with_list([command, "--home", "X", "show", "1"]) == [command, "--home", "X", "show", "1"]


def test_a_prompt_that_is_called_like_a_command_is_a_prompt() -> None:
    assert with_list(["ask", "rules"]) == ["ask", "rules"]
    assert with_list(["--model", "rules", "ask", "threads"]) == ["--model", "rules", "ask", "threads"]


@pytest.mark.parametrize(
    ("words", "usage", "why"),
    [
        (["rules", "add", "x"], "hone rules add [options] NAME TEXT", "required: TEXT; `hone rules add --help`"),
        (["forget", "x", "--temperature", "1"], "hone forget [options] ID", "unrecognized arguments: --temperature 1"),
        (["judgments", "edit"], "hone judgments edit [options] ID", "required: ID"),
        (["ask", "hi", "-n", "x"], "hone ask [options] [PROMPT]", "argument -n: invalid int value: 'x'"),
        (["--colour"], "hone [options] COMMAND", "unrecognized arguments: --colour"),
    ],
)
def test_a_wrong_command_line_is_told_in_two_lines(
    capsys: pytest.CaptureFixture[str], words: list[str], usage: str, why: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    first, second = capsys.readouterr().err.splitlines()
    assert first.removeprefix("usage: ").replace("[COMMAND]", "COMMAND") == usage
    assert why in second


def test_help_says_how_answers_are_drawn_only_where_some_are(capsys: pytest.CaptureFixture[str]) -> None:
    for words, drawn in ((["ask"], True), (["adapters", "export"], True), (["forget"], False), (["train"], False)):
        with pytest.raises(SystemExit, match="0"):
            main([*words, "--help"])
        said = capsys.readouterr().out
        assert "--home" in said
        assert ("--temperature" in said) == drawn


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="Linux has a device that is always full")
def test_output_that_cannot_be_written_is_said_in_a_sentence(home: Path) -> None:
    run = "import sys; from chatapp.cli import main; sys.exit(main(['stats']))"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", run], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "hone: cannot write the output: No space left on device\n")


def test_a_home_that_is_a_file_is_called_one(hone: Shell, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for home in (file, file / "below"):
        assert f"{file} is a file. Choose another with --home" in hone("stats", "--home", home, code=1)
    assert f"{file} is a file and no folder" in hone("backup", "--to", file / "copy.db", code=1)


def test_an_import_of_nothing_is_none(hone: Shell, tmp_path: Path) -> None:
    assert "Expecting value" in hone("import", "trl-preference", lines(tmp_path / "bad.jsonl", "x"), code=1)
    assert hone("import", "--list").startswith("no imports")
    row = {"prompt": "q", "chosen": "a", "rejected": "b"}
    hone("import", "trl-preference", lines(tmp_path / "one.jsonl", row))
    assert hone.out.startswith("1 record read, 1 added")
    assert " 1 record " in hone("import", "--list")
    assert "1 judgment in 1 thread\n" in hone("import", "--undo", "one")
