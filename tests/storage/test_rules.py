"""Rules: numbers that stay, and labels that keep the text that they were given under."""

from __future__ import annotations

import pytest

from storage.errors import InvalidRule, NotFound
from storage.migrations import DEFAULT_RULES
from storage.store import Store


def flag(store: Store, rule_id: str) -> None:
    thread = store.threads.new()
    prompt = store.threads.add_message(thread.id, None, "user", "why?")
    answer = store.threads.add_message(thread.id, prompt.id, "assistant", "so")
    store.judgments.flag(prompt.id, answer.id, rule_id, True)


def test_a_home_starts_with_the_shipped_rules(store: Store) -> None:
    rules = store.rules.list()
    assert [(r.id, r.name, r.text) for r in rules] == [(f"rule-{id}", name, text) for id, name, text in DEFAULT_RULES]
    assert [r.number for r in rules] == list(range(1, len(rules) + 1))


def test_a_rule_is_found_by_number_id_and_name(store: Store) -> None:
    rule = store.rules.add("No Rhymes", "Does not rhyme.")
    for name in (rule.number, str(rule.number), rule.id, "no rhymes", " NO RHYMES "):
        assert store.rules.get(name) == rule
    for name in ("", "0", "nothing", "rhymes"):
        with pytest.raises(NotFound, match="hone rules list"):
            store.rules.get(name)


def test_a_rule_without_flags_changes_in_place(store: Store) -> None:
    rule = store.rules.add("rhymes", "Does not rhyme.")
    edited = store.rules.edit(rule.number, name="verse", text="Is not in verse.")
    assert (edited.id, edited.number, edited.name, edited.text) == (rule.id, rule.number, "verse", "Is not in verse.")
    assert store.rules.edit("verse") == edited


def test_the_text_of_a_flagged_rule_makes_a_new_one(store: Store) -> None:
    rule = store.rules.add("rhymes", "Does not rhyme.")
    flag(store, rule.id)
    assert store.rules.edit("rhymes", name="verse").id == rule.id, "a name alone is no other rule"
    edited = store.rules.edit("verse", text="Is not in verse.")
    assert edited.id != rule.id
    assert (edited.number, edited.replaces, edited.active) == (rule.number + 1, rule.id, True)
    old = store.rules.get(rule.id)
    assert (old.text, old.active, old.replaced_by) == ("Does not rhyme.", False, edited.id)
    assert store.rules.get("verse") == edited
    with pytest.raises(InvalidRule, match=f"replaced by rule {edited.number}"):
        store.rules.edit(rule.number, text="Something else.")
    with pytest.raises(InvalidRule, match="already"):
        store.rules.enable(rule.number)


def test_the_text_of_a_shipped_rule_makes_a_new_one(store: Store) -> None:
    """Another home has the same rule under the same id: its labels would change their meaning on the way there."""
    edited = store.rules.edit("insults", text="Is kind.")
    assert edited.replaces == "rule-insult"
    assert store.rules.get("rule-insult").text != "Is kind."


def test_a_disabled_rule_stays_disabled_when_it_is_edited(store: Store) -> None:
    store.rules.disable("insults")
    assert not store.rules.edit("insults", text="Is kind.").active
    assert "insults" not in [r.name for r in store.rules.list()]
    assert [r.active for r in store.rules.list(active_only=False) if r.name == "insults"] == [False, False]


def test_disable_and_enable(store: Store) -> None:
    assert not store.rules.disable(3).active
    assert 3 not in [r.number for r in store.rules.list()]
    again = store.rules.add("insults", "In other words.")  # the name is free while no active rule has it
    assert store.rules.get("insults") == again
    with pytest.raises(InvalidRule, match=f"rule {again.number} is called"):
        store.rules.enable(3)
    store.rules.disable(again.id)
    assert store.rules.enable(3).active


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("", "Text.", "name is empty"),
        ("  ", "Text.", "name is empty"),
        ("rhymes", " \n", "text is empty"),
        ("r" * 61, "Text.", "61 characters; at most 60"),
        ("rhymes", "x" * 501, "501 characters; at most 500"),
        ("Insults", "Text.", "rule 3 is called"),
        ("rh\x1b[2Jymes", "Text.", r"U\+001B"),
        ("rhymes", "Two\nlines.", r"U\+000A"),
        ("rhymes", "half \ud83d", r"U\+D83D"),
        ("12", "Text.", "is a number"),
    ],
)
def test_bad_rules_are_refused(store: Store, name: str, text: str, why: str) -> None:
    before = store.rules.list(active_only=False)
    with pytest.raises(InvalidRule, match=why):
        store.rules.add(name, text)
    with pytest.raises(InvalidRule, match=why):
        store.rules.edit("stereotypes", name=name, text=text)
    assert store.rules.list(active_only=False) == before
