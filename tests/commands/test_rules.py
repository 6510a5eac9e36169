"""`hone rules`."""

from __future__ import annotations

from tests.commands.shell import Shell


def test_rules_from_the_shell(hone: Shell) -> None:
    rows = hone.json("rules", "list")
    assert [row["number"] for row in rows] == list(range(1, len(rows) + 1))
    made = hone.json("rules", "add", "rhymes", "Does not rhyme.")
    number = len(rows) + 1
    assert (made["rule"]["number"], made["replaced"]) == (number, None)
    assert hone.json("rules", "edit", number, "--name", "verse")["rule"]["name"] == "verse"
    edited = hone.json("rules", "edit", "insults", "--text", "Is kind.")
    assert (edited["replaced"], edited["rule"]["replaces"]) == (3, 3)
    assert "offered no more" in hone("rules", "disable", "verse")
    assert "verse" not in hone("rules", "list")
    assert "verse (disabled)" in hone("rules", "list", "--all")
    assert f"insults (replaced by {number + 1})" in hone.out
    assert hone.json("rules", "enable", number)["rule"]["active"] is True
    for bad, why in (
        (["edit", number], "give --name or --text"),
        (["disable", "nothing"], "no rule 'nothing'"),
        (["add", "", "Text."], "name is empty"),
    ):
        assert why in hone("rules", *bad, code=1)
