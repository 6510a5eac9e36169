"""`hone adapters`: the versions that judgments made.

JSON of `list` and `show`: see `row`; forgotten: how many of the judgments that it learned from were forgotten since;
there: whether its files are; and of `show`, judgments: {train: ids, held_out: ids}. `use`, `rollback`: live, version;
and passed_over, versions without files. `remove`: removed, version, bytes. `prune`: removed [{version, id, bytes}],
bytes (of all of those), caches (bytes of the caches that go), held (bytes of those that stay, since a run reads them).
"""

from __future__ import annotations

import argparse
from typing import Any

from chatapp.cli import UserError
from chatapp.commands.common import Model, choose_adapter, find_model, print_json, say
from chatapp.config import Settings
from chatapp.gate_words import as_sentence, refused, tested
from chatapp.lessons import judgments
from chatapp.switching import HELD
from chatapp.times import when
from storage import pruning
from storage.adapters import Adapter
from storage.store import Store

#: of a report, in words
_PARTS = {
    "evidence": "what its test measured",
    "config": "its settings",
    "metrics": "its figures",
    "start": "its start",
}


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    with Store.open(settings.home) as store:
        if arguments.action == "list":
            rows = [row(store, adapter) for adapter in store.adapters.list()]
            if arguments.json:
                print_json(rows)
            elif not rows:
                print("no versions yet: judge some answers, then `hone train`")
            else:
                for r in rows:
                    mark = "*" if r["state"] == "live" else " "
                    notes = "".join(f" ({note})" for note in _notes(r))
                    say(f"{mark} {r['version']:<4} {r['state']:<9} {when(r['created_at'])}  {r['verdict']}{notes}")
            return 0
        if arguments.action == "prune":
            return _prune(store, arguments)
        model = find_model(settings)
        if arguments.action == "show":
            adapter = choose_adapter(store, model, arguments.adapter)
            if adapter is None:
                name = "the base itself" if arguments.adapter == "base" else "no adapter is live: the base"
                print_json({"adapter": None, "model": model.hash}) if arguments.json else say(
                    f"{name} {model.file.name} answers"
                )
                return 0
            behind = store.adapters.learned_from(adapter)
            if arguments.json:
                print_json({**row(store, adapter), "judgments": behind})
            else:
                found = row(store, adapter)
                for name, value in found.items():
                    say(f"{name:<12} {_shown(name, value, adapter)}")
                for note in _notes(found):
                    print(note)
                print(tested(len(behind["held_out"]), adapter.report.get("metrics", {})))
                for title, split in (("learned from", "train"), ("held out", "held_out")):
                    print(f"{title} {judgments(len(behind[split]))}{':' if behind[split] else ''}")
                    for id in behind[split]:
                        say(f"  {id}  {store.judgments.describe(id)}")
            return 0
        if arguments.action == "remove":
            return _remove(store, model, arguments)
        passed: list[Adapter] = []
        before = store.adapters.live(model.hash)
        if arguments.action == "use":
            chosen = choose_adapter(store, model, arguments.adapter)
            store.adapters.use(chosen.id if chosen else None, model.hash)
        else:
            _, passed = store.adapters.way_back(model.hash)
            chosen = store.adapters.rollback(model.hash)
        same = (chosen.id if chosen else None) == (before.id if before else None)
        said = f"{chosen.name if chosen else 'the base model'} {'answers already' if same else 'answers from now on'}"
        if arguments.json:
            live = {"live": chosen.id if chosen else None, "version": chosen.name if chosen else None}
            print_json({**live, "passed_over": [adapter.name for adapter in passed]})
        else:
            if passed:
                print(f"passed over, since their files are gone: {', '.join(adapter.name for adapter in passed)}")
            print(f"{said}; {HELD}")
            if chosen is not None and refused(chosen.verdict):
                say(f"{chosen.name} was refused by its test: {as_sentence(chosen.verdict)}")
    return 0


def _remove(store: Store, model: Model, arguments: argparse.Namespace) -> int:
    adapter = choose_adapter(store, model, arguments.adapter)
    if adapter is None:
        raise UserError(f"{arguments.adapter} is the model itself, not a version; `hone adapters list` shows those")
    size = sum(file.stat().st_size for file in store.adapters.dir(adapter).glob("**/*") if file.is_file())
    store.adapters.remove(adapter.id)
    if arguments.json:
        print_json({"removed": adapter.id, "version": adapter.name, "bytes": size})
    else:
        print(f"the files of {adapter.name} are deleted ({size / 1e6:.1f} MB); what it learned from is still listed")
    return 0


def _prune(store: Store, arguments: argparse.Namespace) -> int:
    found = pruning.usage(store)
    if not arguments.dry_run:
        found = pruning.prune(store, [one.adapter.id for one in found.prunable])
    if arguments.json:
        removed = [{"version": one.adapter.name, "id": one.adapter.id, "bytes": one.bytes} for one in found.prunable]
        total = sum(one.bytes for one in found.prunable)
        print_json({"removed": removed, "bytes": total, "caches": found.caches, "held": found.held})
        return 0
    went, freed = ("would go", "would be freed") if arguments.dry_run else ("deleted", "freed")
    for one in found.prunable:
        say(f"{went}: the files of {one.adapter.name} ({one.adapter.state}), {one.bytes / 1e6:.1f} MB")
    if found.caches:
        print(f"{went}: caches, {found.caches / 1e6:.1f} MB; the next lesson computes them again")
    if found.held:
        print(f"caches stay, {found.held / 1e6:.1f} MB: a training run reads them")
    print(f"{found.freed / 1e6:.1f} MB {freed}" if found.freed else "nothing to free: every version's files are of use")
    return 0


def _shown(name: str, value: Any, adapter: Adapter) -> str:
    """A value for a person; what is long says what is in it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if name == "created_at":
        return when(value)
    if name == "files":
        return ", ".join(value) or "none"
    if name == "report":
        parts = ", ".join(_PARTS.get(part, part) for part in value)
        return f"{parts}: `hone adapters show {adapter.name} --json`" if parts else "none"
    return str(value)


def _notes(row: dict[str, Any]) -> list[str]:
    """What a list says of a version beside its verdict."""
    notes = []
    if row["state"] in ("live", "retired") and refused(row["verdict"]):
        notes.append(f"{'used' if row['state'] == 'live' else 'was used'} by hand although refused")
    if row["forgotten"]:
        notes.append(f"learned from {judgments(row['forgotten'])} forgotten since")
    return notes if row["there"] else [*notes, "its files were removed"]


def row(store: Store, adapter: Adapter) -> dict[str, Any]:
    return {
        "id": adapter.id,
        "version": adapter.name,
        "state": adapter.state,
        "provisional": adapter.provisional,
        "verdict": adapter.verdict,
        "model": adapter.model_hash,
        "parent": adapter.parent_id,
        "run": adapter.run_id,
        "created_at": adapter.created_at,
        "forgotten": adapter.forgotten,
        "there": store.adapters.there(adapter),
        "path": str(store.adapters.dir(adapter)),
        "files": adapter.files,
        "report": adapter.report,
    }
