"""The page of recipes is true: its snippets run on the real files, and its commands parse."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from chatapp.cli import parser
from storage.formats import labelled
from storage.formats.files import Source
from storage.formats.trl_preference import parse

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data"
PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
#: the name here, the name that the page uses, what it makes of it, and how many pairs
FILES = [
    ("finegrained-qa-dev-feedback.json", "dev_feedback.json", "qa.jsonl", 2616),
    ("pandalm-testset-v1.json", "testset-v1.json", "pandalm.jsonl", 842),
    ("llmbar-natural.json", "dataset.json", "llmbar.jsonl", 100),
]


def snippets() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE, re.S)


def commands() -> list[str]:
    blocks = re.findall(r"```\n(hone .*?)```", PAGE, re.S)
    return [line for block in blocks for line in block.splitlines()]


def test_there_is_a_snippet_for_each_file() -> None:
    assert len(snippets()) == len(FILES)
    assert all(len(snippet.splitlines()) <= 15 for snippet in snippets())


@pytest.mark.parametrize(("here", "there", "made", "count"), FILES)
def test_a_snippet_on_the_real_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str, there: str, made: str, count: int
) -> None:
    if not (DATA / here).exists():
        pytest.skip(f"{here} is not beside the checkout")
    (snippet,) = (snippet for snippet in snippets() if f'open("{there}"' in snippet)
    shutil.copy(DATA / here, tmp_path / there)
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "recipes.md", "exec"), {})
    rows = [json.loads(line) for line in Path(made).read_text(encoding="utf-8").splitlines()]
    assert len(rows) == count
    assert all(list(row) == ["prompt", "chosen", "rejected"] for row in rows)
    source = Source(Path(made))
    assert len(list(source.turns(parse))) == count
    assert source.skipped.count == 0
    assert f"{count:,}" in PAGE
    assert f"hone import trl-preference {made}" in commands()


def test_the_verdicts_stand_in_the_order_that_the_page_says() -> None:
    """In another one many more of them would go round in a circle."""
    path = DATA / "finegrained-qa-dev-feedback.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the checkout")
    rows = json.loads(path.read_text(encoding="utf-8"))

    def circles(order: list[tuple[int, int]]) -> int:
        found = 0
        for row in rows:
            better = {}
            for (a, b), verdict in zip(order, row["preference"], strict=True):
                better[a, b], better[b, a] = (0, 0) if verdict == 0 else (1, -1) if verdict == 1 else (-1, 1)
            found += any(
                better[a, b] >= 0 and better[b, c] >= 0 and better[a, b] + better[b, c] > 0 and better[a, c] <= 0
                for a in range(4)
                for b in range(4)
                for c in range(4)
                if len({a, b, c}) == 3
            )
        return found

    said = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert circles(said) == 22
    assert circles([said[0], said[1], said[3], said[2], said[4], said[5]]) > 150
    assert "In 22 questions they go round in a circle" in PAGE


@pytest.mark.parametrize("command", commands())
def test_commands_of_the_page_parse(command: str) -> None:
    assert parser().parse_args(shlex.split(command)[1:]).run


def test_the_tables_of_the_page(tmp_path: Path) -> None:
    """Its three commands, on small tables of that form."""
    table = tmp_path / "reviews.csv"
    table.write_text("review,stars\nGreat.,5\nGood.,4\nPoor.,2\nAwful.,1\nFine.,4\n", encoding="utf-8")
    other = tmp_path / "replies.tsv"
    other.write_text("request\treply\tpolite\nHelp!\tSure.\tyes\nHelp!\tNo.\tno\n", encoding="utf-8")
    kinds = []
    for command in commands():
        said = parser().parse_args(shlex.split(command)[1:])
        if said.format != "labelled":
            continue
        more = {"prompt": said.prompt, **({"instruction": said.instruction} if said.instruction else {})}
        names = {"text": said.text, "label": said.label, "prefer": said.prefer}
        found = labelled.turns(tmp_path / said.file, **names, **more, folder=tmp_path)
        kinds.append(["".join(answer[:4] for answer in turn.answers) for _, turn in found])
    assert kinds == [["GreaPoor", "GoodAwfu"], ["GreaGood", "Poor", "Awfu", "Fine"], ["SureNo."]]
