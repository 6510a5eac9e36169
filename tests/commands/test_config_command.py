"""The settings' file: written, shown, and what is said of its mistakes."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import fields, replace
from pathlib import Path

import pytest

from chatapp.commands.doctor import CHECKS
from chatapp.config import PLACES, Settings
from storage import paths
from storage.store import Store
from tests.commands.shell import Shell


@pytest.fixture
def file(home: Path) -> Path:
    home.mkdir()
    return home / "config.toml"


def test_the_written_file_explains_every_setting_and_changes_none(hone: Shell, file: Path) -> None:
    assert str(file) in hone("config", "init")
    text = file.read_text()
    for field in fields(Settings):
        assert re.search(rf"^# .*\b{field.name}\b", text, re.M), field.name
    before = Settings.load(environ={"HONE_HOME": str(file.parent)})
    settings = re.sub(r"^# (?=\w+ = |\[|\")", "", text, flags=re.M)
    assert set(tomllib.loads(settings)) == {field.name for field in fields(Settings)} - set(PLACES)
    file.write_text(settings)
    taken = Settings.load(environ={"HONE_HOME": str(file.parent)})
    assert taken.keys == {"answers.correct": "c"}
    assert replace(taken, keys={}) == before
    for line in settings.splitlines()[6:]:
        assert not line or "  # " in line or line.startswith('"'), f"{line} is not explained"


def test_a_file_is_not_overwritten_unless_told_to(hone: Shell, file: Path) -> None:
    file.write_text("alternatives = 'broken")
    assert "--force" in hone("config", "init", code=1)
    assert file.read_text() == "alternatives = 'broken"
    assert hone.json("config", "init", "--force") == {"file": str(file), "there": True}
    assert hone("config") == hone("config", "show")
    assert file.stat().st_mode & 0o077 == 0


def test_a_link_to_the_file_stays_one(hone: Shell, file: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.touch()
    file.symlink_to(real)
    hone("config", "init", "--force")
    assert file.is_symlink()
    assert "# alternatives" in real.read_text()


def test_where_the_file_lies_can_be_asked_while_it_is_broken(
    hone: Shell, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file.write_text("=")
    assert hone("config", "path") == f"{file}\n"
    assert hone.json("config", "path", "--home", tmp_path) == {"file": str(tmp_path / "config.toml"), "there": False}
    monkeypatch.setenv("HONE_CONFIG", str(tmp_path / "other.toml"))
    assert hone("config", "path") == f"{tmp_path / 'other.toml'}\n"


def test_each_value_is_shown_with_where_it_comes_from(hone: Shell, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(
        '# mine\nalternatives = 5\nmodel_dirs = ["~/m", "near"]\n\n[keys]\n"answers.correct" = "ctrl+j,c"\n'
    )
    monkeypatch.setenv("HONE_TOP_P", "0.5")
    monkeypatch.setenv("HONE_ALTERNATIVES", "4")
    said = hone.json("config", "show", "--seed", 7)
    rows = {row["name"]: (row["value"], row["source"], row["where"]) for row in said["settings"]}
    assert set(rows) == {field.name for field in fields(Settings)}
    assert rows["alternatives"] == (4, "environment", "HONE_ALTERNATIVES")
    assert rows["top_p"] == (0.5, "environment", "HONE_TOP_P")
    assert rows["seed"] == (7, "flag", "--seed")
    assert rows["model"] == (None, "default", "")
    dirs = [str(Path("~/m").expanduser()), str(file.parent / "near")]
    assert rows["model_dirs"] == (dirs, "file", f"{file}:3")
    assert rows["keys"] == ({"answers.correct": "ctrl+j,c"}, "file", f"{file}:5")
    assert rows["home"][1:] == ("environment", "HONE_HOME")
    monkeypatch.delenv("HONE_ALTERNATIVES")
    out = hone("config", "show")
    assert re.search(r"^alternatives +5 +line 2$", out, re.M)
    assert re.search(r"^keys +answers.correct = ctrl\+j,c +line 5$", out, re.M)
    assert max(map(len, out.splitlines()[:-1])) <= 80


def test_keys_and_a_theme_that_do_not_work_are_said(hone: Shell, file: Path) -> None:
    file.write_text('theme = "foo"\n[keys]\n"answers.correct" = "x"\n"answers.rate" = "ctrl+hyper+q"\n')
    wrong = hone.json("config", "show")["amiss"]
    for line, part in zip(wrong, ("'ctrl+hyper+q'", "All bad (answers.all_bad)", "no theme 'foo'"), strict=True):
        assert part in line
        assert f"WARN  {line}" in hone("config", "show")
    state, said, details = CHECKS["settings"](Settings.load())
    assert (state, details) == ("warn", {"amiss": wrong})
    assert said.startswith(f"{file}: ")
    file.write_text('[keys]\n"answers.correct" = "c"\n')
    assert hone.json("config", "show")["amiss"] == []
    assert CHECKS["settings"](Settings.load())[0] == "ok"


def test_folders_come_from_the_environment_too(hone: Shell, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_MODEL_DIRS", os.pathsep.join(["/a", "/b c", ""]))
    assert Settings.load().model_dirs == (Path("/a"), Path("/b c"))


@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        ("\nalternatives = 'many'", 2, "alternatives is 'many'; it must be a whole number"),
        ("alternatives = 3\ntemprature = 1\n", 2, "no setting 'temprature'; did you mean temperature?"),
        ("colour = 1", 1, "no setting 'colour'; there are model, "),
        ("# x\n alternatives=99", 2, "alternatives is 99; it must be from 1 to"),
        ("max_tokens = 1\nmin_p = 1.5", 2, "min_p is 1.5; it must be at least 0"),
        ('system_prompt = """\nseed = 1\n"""\nseed = "x"', 4, "seed is 'x'"),
        ("auto_train = 3", 1, "auto_train is 3; it must be true or false"),
        ('model_dirs = "/x"', 1, "model_dirs is '/x'; it must be a list of paths"),
        ("model_dirs = [3]", 1, "it must be a list of paths"),
        ('home = "/x"', 1, "home cannot be set in the file; it is set with --home or HONE_HOME"),
        ('[keys]\n"answers.correct" = 3', 2, "the key of 'answers.correct' is 3"),
        ("[keys]\nanswers.correct = ''", 2, "the key of 'answers.correct' is ''"),
        ('seed = 1\n[keys.answers]\ncorrect = ["c"]', 3, "the key of 'answers.correct' is ['c']"),
        ("[keys]\ntheme = 'nord'", 2, "the setting theme stands below [keys]; move its line above"),
        ("keys = 3", 1, "it must be a table"),
        ("[key]\nx = 'c'", 1, "no setting 'key'; did you mean keys?"),
    ],
)
def test_a_mistake_is_named_with_its_line(hone: Shell, file: Path, text: str, where: int, why: str) -> None:
    file.write_text(text)
    said = hone("config", "show", code=1)
    assert f"{file}:{where}: " in said
    assert why in said
    assert len(said.splitlines()) == 1


def test_what_is_no_toml_is_named_with_its_line(hone: Shell, file: Path) -> None:
    file.write_text("alternatives = 3\nseed = = 3\n")
    assert "line 2" in hone("paths", code=1)


def test_an_unwritable_place_is_said(hone: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HONE_CONFIG", str(tmp_path / "file" / "config.toml"))
    assert "cannot write" in hone("config", "init", code=1)


def test_a_mark_at_the_beginning_and_quotes_in_a_comment_hide_nothing(hone: Shell, file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + b'# say """ here\nalternatives = 2\n')
    assert "alternatives" in hone("config", "show")
    file.write_text('# say """ here\nalternatives = 99\n')
    assert f"{file}:2: " in hone("config", "show", code=1)


def test_what_was_chosen_in_the_chat_is_what_is_in_force(hone: Shell, file: Path, home: Path) -> None:
    file.write_text('theme = "hone-light"\nalternatives_cooldown = 3\n')
    with Store.open(home) as store:
        store.meta_set("theme", "dracula")
        store.meta_set("alternatives.when", "never")
    rows = {row["name"]: (row["value"], row["source"]) for row in hone.json("config", "show")["settings"]}
    assert rows["theme"] == ("dracula", "chat")
    assert rows["alternatives_when"] == ("never", "chat")
    out = hone("config", "show")
    assert re.search(r"^theme +dracula +chosen in the chat$", out, re.M)
    assert all(line[58] == " " != line[59] for line in out.splitlines()[:-2])
    assert max(map(len, out.splitlines()[:-1])) <= 80
    paths.database(home).write_text("no database")
    assert re.search(r"^theme +hone-light +line 1$", hone("config", "show"), re.M)


@pytest.mark.parametrize(("name", "why"), [("HONE_ALTERNATVES", "HONE_ALTERNATIVES"), ("HONE_HOEM", "HONE_HOME")])
def test_a_slip_of_the_pen_in_the_environment_is_named(
    hone: Shell, file: Path, monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    monkeypatch.setenv("HONE_OF_THE_RANGE", "4")  # not ours, and like nothing of ours
    hone("config", "show")
    monkeypatch.setenv(name, "4")
    assert f"{name}: there is no such setting; did you mean {why}?" in hone("config", "show", code=1)
