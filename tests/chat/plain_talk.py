"""The plain chat driven by piped lines, and what is to be found in its home afterwards."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from chatapp.plain import run_plain
from storage.store import Store
from tests.chat.fakes import FakeEngine, FakeSpawn, make_settings


def talk(
    tmp_path: Path, *lines: str, engine: FakeEngine | None = None, spawn: Any = None, code: int = 0, **changes: Any
) -> str:
    """What the plain chat prints for these lines."""
    engine, out = engine or FakeEngine(), io.StringIO()
    ended = run_plain(
        make_settings(tmp_path, **changes), io.StringIO("".join(line + "\n" for line in lines)), out,
        lambda config: engine, spawn or FakeSpawn(),
    )  # fmt: skip
    assert ended == code
    assert engine.closed
    return out.getvalue()


def judgments(tmp_path: Path) -> list[tuple[str, bool]]:
    with Store.open(tmp_path / "home") as store:
        return [
            (row["kind"], row["retracted_at"] is None) for row in store.rows("SELECT * FROM judgments ORDER BY seq")
        ]


def add_version(tmp_path: Path, state: str = "live") -> str:
    """Another process adds a version of the model that was talked to; its name."""
    from storage.ids import new_id

    with Store.open(tmp_path / "home") as store:
        model = str(store.value("SELECT hash FROM models"))
        live = store.adapters.live(model)
        id = new_id()
        (store.home / "adapters" / id).mkdir(parents=True)
        (store.home / "adapters" / id / "adapter.gguf").write_bytes(b"GGUF")
        made = store.adapters.register(
            id, model_hash=model, files={}, parent_id=live.id if live else None, verdict="It won.",
            state=state if state != "live" else "candidate",
        )  # fmt: skip
        if state == "live":
            assert store.adapters.promote(id, live.id if live else None)
        return made.name
