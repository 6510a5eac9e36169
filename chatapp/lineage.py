"""The versions of a model as a tree from the base, and one of them closely. Reads the store; no widgets here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatapp.gate_words import as_sentence, refused, tested
from chatapp.times import when

if TYPE_CHECKING:
    from storage.adapters import Adapter
    from storage.duels import Tally
    from storage.store import Store
    from storage.versions import Learned

BASE = "base"  #: in the place of an id
STATES = {"live": "answers now", "retired": "was in use", "rejected": "not adopted", "candidate": "passed, not used"}
BY_HAND = {"live": "answers, by hand", "retired": "was used by hand"}  #: of those that were refused
SIGNS = {"live": "●", "retired": "✓", "rejected": "✗", "candidate": "○"}
DEEPEST = 4  #: branches of branches that are indented

_PLURALS = {"all_bad": "all bad", "pick": "picks", "ranking": "rankings"}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the tree."""

    adapter: Adapter | None  #: None: the base
    branch: str  #: what stands before it
    live: bool
    there: bool  #: its files are

    @property
    def id(self) -> str:
        return self.adapter.id if self.adapter else BASE

    @property
    def name(self) -> str:
        return self.adapter.name if self.adapter else BASE

    @property
    def sign(self) -> str:
        return "●" if self.live else SIGNS[self.adapter.state] if self.adapter else "○"

    @property
    def by_hand(self) -> bool:
        """Whether it is in use, or was, although its test refused it."""
        adapter = self.adapter
        return adapter is not None and adapter.state in BY_HAND and refused(adapter.verdict)

    @property
    def state(self) -> str:
        if self.adapter is None:
            return "answers now" if self.live else "the model itself"
        states = BY_HAND if self.by_hand else STATES
        return states[self.adapter.state] + ("" if self.there else ", files gone")


@dataclass(frozen=True, slots=True)
class Looked:
    """What is told of a version."""

    row: Row
    before: str  #: the name of the version that it came after
    run: int | None  #: the lesson that made it
    bytes: int
    learned: Sequence[Learned]
    duels: Sequence[tuple[str, Tally]]  #: by the other's name


def rows(store: Store, model_hash: str) -> list[Row]:
    """The base, and below it what came of it: the way to the newest in use straight down, all else as branches."""
    adapters = store.adapters.list(model_hash)
    live = store.adapters.live(model_hash)
    children: dict[str | None, list[Adapter]] = {}
    for adapter in adapters:
        children.setdefault(adapter.parent_id, []).append(adapter)
    known = {adapter.id: adapter for adapter in adapters}
    used = max((a for a in adapters if a.state in ("live", "retired")), key=lambda a: a.number, default=None)
    trunk: set[str] = set()
    while used is not None:
        trunk.add(used.id)
        used = known.get(used.parent_id or "")
    found = [Row(None, "", live is None, True)]

    # by hand and not by calls: a lineage may be longer than Python's stack
    waiting: list[tuple[Adapter, int, bool]] = []

    def below(id: str | None, depth: int) -> None:
        kids = sorted(children.get(id, ()), key=lambda a: a.number)
        main = next((a for a in kids if a.id in trunk), kids[-1] if kids and depth else None)
        sides = [a for a in kids if a is not main]
        if main is not None:
            waiting.append((main, depth, False))
        waiting.extend((a, depth + 1, a is sides[-1]) for a in reversed(sides))

    below(None, 0)
    while waiting:
        adapter, depth, last = waiting.pop()
        shown = min(depth, DEEPEST)
        branch = "  " * (shown - 1) + ("└ " if last else "├ ") if shown else ""
        found.append(Row(adapter, branch, adapter.state == "live", store.adapters.there(adapter)))
        below(adapter.id, depth)
    return found


def look(store: Store, model_hash: str, row: Row) -> Looked:
    """Read what is told of one."""
    from storage import pruning
    from storage.versions import duels, learned

    adapter = row.adapter
    if adapter is None:
        return Looked(row, "", None, 0, [], duels(store, model_hash, None))
    run = store.value("SELECT number FROM runs WHERE id = ?", [adapter.run_id])
    before = BASE if adapter.parent_id is None else store.adapters.get(adapter.parent_id).name
    return Looked(
        row,
        before,
        None if run is None else int(run),
        pruning.size(store.adapters.dir(adapter)),
        learned(store, adapter.run_id),
        duels(store, model_hash, adapter.id),
    )


def by_kind(learned: Sequence[Learned]) -> str:
    """ "12 picks, 3 rankings, 1 thumb"."""
    counts = Counter(one.kind for one in learned)
    return ", ".join(
        f"{count} {kind.replace('_', ' ') if count == 1 else _PLURALS.get(kind, kind + 's')}"
        for kind, count in counts.most_common()
    )


def record(other: str, duels: Tally) -> str:
    """ "against v1: 7 won, 2 lost, 1 even"."""
    even = f", {duels.ties} even" if duels.ties else ""
    return f"against {other}: {duels.wins} won, {duels.losses} lost{even}"


def size(bytes: int) -> str:
    return f"{bytes / 1e6:.1f} MB" if bytes < 1e9 else f"{bytes / 1e9:.1f} GB"


def details(looked: Looked, opens: str = "") -> list[tuple[str, str]]:
    """What is told of a version, in lines, each with the head that stands out in it; empty ones part them.

    opens: what brings the judgments that it learned from.
    """
    row, adapter = looked.row, looked.row.adapter
    duels = "; ".join(record(other, found) for other, found in looked.duels)
    against = ("Duels ", f"{duels}.") if duels else ("", "No duels yet.")
    if adapter is None:
        return [("The base", f" · {row.state} · the model as it came, before any lesson"), ("", ""), against]
    made = f"Made by {f'lesson {looked.run}' if looked.run else 'a lesson'}, after {looked.before}."
    head = [row.state, when(adapter.created_at), size(looked.bytes)]
    train = [one for one in looked.learned if one.split == "train"]
    test = tested(len(looked.learned) - len(train), adapter.report.get("metrics", {}))
    many = f"{len(train)} judgment{'s' if len(train) != 1 else ''}"
    kinds = f": {by_kind(train)}" if train else ""
    made += " It was refused, and put in use by hand." if row.by_hand else ""
    lines = [
        (adapter.name, " · " + " · ".join(head)),
        ("", made + (" Provisional: few prompts tested it." if adapter.provisional else "")),
        ("", ""),
        ("Verdict: ", as_sentence(adapter.verdict) or "none was given"),
        ("", ""),
        ("Learned from ", f"{many}{kinds}. {test.capitalize()}. {opens}".rstrip()),
    ]
    if adapter.forgotten:
        lines.append(("", f"{adapter.forgotten} of these were forgotten since; it may still remember them."))
    return [*lines, ("", ""), against]
