"""`hone adapters`: the versions that judgments made."""

from __future__ import annotations

import argparse
from typing import Any

from chatapp.commands.common import choose_adapter, find_model, print_json
from chatapp.config import Settings
from storage.adapters import Adapter
from storage.store import Store


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
                    when = r["created_at"][:16].replace("T", " ")
                    print(f"{mark} {r['version']:<4} {r['state']:<9} {when}  {r['verdict']}")
            return 0
        model = find_model(settings)
        if arguments.action == "show":
            adapter = choose_adapter(store, model, arguments.adapter)
            if adapter is None:
                name = "the base itself" if arguments.adapter == "base" else "no adapter is live: the base"
                print_json({"adapter": None, "model": model.hash}) if arguments.json else print(
                    f"{name} {model.file.name} answers"
                )
                return 0
            if arguments.json:
                print_json(row(store, adapter))
            else:
                for name, value in row(store, adapter).items():
                    print(f"{name:<12} {value}")
            return 0
        if arguments.action == "use":
            chosen = choose_adapter(store, model, arguments.adapter)
            store.adapters.use(chosen.id if chosen else None, model.hash)
        else:
            chosen = store.adapters.rollback(model.hash)
        said = f"{chosen.name if chosen else 'the base model'} answers from now on"
        if arguments.json:
            print_json({"live": chosen.id if chosen else None, "version": chosen.name if chosen else None})
        else:
            print(said + "; automatic promotion waits for new judgments")
    return 0


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
        "path": str(store.adapters.dir(adapter)),
        "files": adapter.files,
        "report": adapter.report,
    }
