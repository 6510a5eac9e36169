"""Judgments in words: "B > A = C: 2 pairs"."""

from __future__ import annotations

from collections.abc import Mapping

from storage.preferences import Item, Judgment, derive


def letter(index: int) -> str:
    """A, B, ... Z, A2, B2, ..."""
    return chr(ord("A") + index % 26) + (str(index // 26 + 1) if index >= 26 else "")


def counted(count: int, word: str) -> str:
    """ "1 pair", "2 pairs"."""
    return f"{count} {word}{'s' if count != 1 else ''}"


def describe(judgment: Judgment, names: Mapping[str, str]) -> str:
    """What a judgment says and what can be learned from it, in one line."""

    def name(item: Item) -> str:
        return names.get(item.message_id, "?")

    items, kind = sorted(judgment.items, key=lambda i: (i.rank if i.rank is not None else 99, name(i))), judgment.kind
    if judgment.forgotten_at:
        said = "(forgotten)"
    elif kind in ("ranking", "pick", "correction", "duel"):
        groups: dict[int, list[str]] = {}
        for item in items:
            groups.setdefault(item.rank or 0, []).append(name(item))
        tie = ", " if kind in ("pick", "correction") else " = "
        said = " > ".join(tie.join(groups[rank]) for rank in sorted(groups))
        if judgment.reasked is not None:
            said += " (asked again)"
    elif kind == "all_bad":
        said = "all bad"
    elif kind == "thumb":
        said = ", ".join(f"{name(i)} {'good' if (i.value or 0) > 0 else 'bad'}" for i in items)
    elif kind == "rating":
        said = ", ".join(f"{name(i)} {i.score}/7" for i in sorted(items, key=name))
    elif kind == "flag":
        rule = names.get(str(judgment.payload.get("rule")), "the rule")
        said = ", ".join(f"{name(i)} {'breaks' if i.value else 'keeps'} {rule}" for i in items)
    else:
        said = f"note on {', '.join(name(i) for i in items)}"
    derived = derive([judgment])
    gives = [
        counted(count, word)
        for count, word in (
            (len(derived.pairs), "pair"),
            (len([u for u in derived.unpaired if u.good]), "good example"),
            (len([u for u in derived.unpaired if not u.good]), "bad example"),
            (len(derived.rule_labels), "rule label"),
        )
        if count
    ]
    return said + (": " + ", ".join(gives) if gives else "")
