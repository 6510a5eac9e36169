"""The README is always true: its commands parse, its files exist, its figures' places are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from chatapp.cli import parser

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Each `hone ...` of a code block, with the alternatives of a|b|c one by one."""
    found = []
    for block in re.findall(r"```\n(.*?)```", README, re.S):
        for line in block.splitlines():
            for command in line.split("#")[0].split(";"):
                words = shlex.split(command)
                if words[:1] == ["hone"]:
                    choices = words[2].split("|") if len(words) > 2 else [""]
                    found += [shlex.join([*words[:2], *([choice] if choice else []), *words[3:]]) for choice in choices]
    return found


@pytest.mark.parametrize("command", commands())
def test_commands_of_the_readme_parse(command: str) -> None:
    words = shlex.split(command)[1:]
    if words[:2] in (["adapters", "show"], ["adapters", "use"]):
        words.append("v1")
    if words[:1] == ["ask"] and "--file" not in words:
        words = ["ask", "a question", "-n", "4"]
    assert parser().parse_args(words).run


def test_the_readme_shows_the_main_commands() -> None:
    shown = {command.split()[1] for command in commands()}
    assert {"ask", "judge", "train", "adapters", "runs", "eval", "export", "import", "doctor", "paths"} <= shown


def test_linked_files_exist() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), f"README.md links to {target}, which is not there"
