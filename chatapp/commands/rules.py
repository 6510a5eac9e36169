"""`hone rules`: what answers should keep to.

JSON of a rule: number, id, name, text, active, replaces and replaced_by (numbers or null), flags (judgments that refer
to it), created_at. `list` prints an array; the others print {"rule": the rule as it is now, "replaced": the number of
the rule that it took the place of, or null}.
"""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

from chatapp.cli import UserError
from chatapp.commands.common import print_json, say
from chatapp.config import Settings
from storage.rules import Rule
from storage.store import Store


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    with Store.open(settings.home) as store:
        if arguments.action == "list":
            return _list(store, arguments.all, arguments.json)
        replaced: Rule | None = None
        if arguments.action == "add":
            rule = store.rules.add(arguments.name, arguments.text)
            said = f"rule {rule.number} was added: {rule.name}"
        elif arguments.action == "edit":
            if arguments.name is None and arguments.text is None:
                raise UserError(f"nothing to change in rule {arguments.rule}: give --name or --text")
            old = store.rules.get(arguments.rule)
            rule = store.rules.edit(old.number, arguments.name, arguments.text)
            said = f"rule {rule.number} was changed: {rule.name}"
            if rule.id != old.id:
                replaced = old
                said = f"rule {rule.number} takes the place of rule {old.number}; flags given under that keep its text"
        elif arguments.action == "disable":
            rule = store.rules.disable(arguments.rule)
            said = f"rule {rule.number} ({rule.name}) is offered no more; what was flagged stays"
        else:
            rule = store.rules.enable(arguments.rule)
            said = f"rule {rule.number} ({rule.name}) is offered again"
        if arguments.json:
            print_json({"rule": row(store, rule), "replaced": replaced.number if replaced else None})
        else:
            say(said)
    return 0


def _list(store: Store, all: bool, as_json: bool) -> int:
    rules = store.rules.list(active_only=not all)
    if as_json:
        print_json([row(store, rule) for rule in rules])
        return 0
    if not rules:
        say("no rules are active; `hone rules list --all` shows the others, `hone rules add NAME TEXT` adds one")
    for rule in rules:
        state = ""
        if rule.replaced_by:
            state = f" (replaced by {store.rules.get(rule.replaced_by).number})"
        elif not rule.active:
            state = " (disabled)"
        say(f"{rule.number:>3}  {rule.name}{state}")
        say(textwrap.fill(rule.text, 78, initial_indent="     ", subsequent_indent="     "))
    return 0


def row(store: Store, rule: Rule) -> dict[str, Any]:
    numbers = {other.id: other.number for other in store.rules.list(active_only=False)}
    return {
        "number": rule.number,
        "id": rule.id,
        "name": rule.name,
        "text": rule.text,
        "active": rule.active,
        "replaces": numbers.get(rule.replaces or ""),
        "replaced_by": numbers.get(rule.replaced_by or ""),
        "flags": store.rules.flags().get(rule.id, 0),
        "created_at": rule.created_at,
    }
