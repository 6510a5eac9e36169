"""`hone doctor` and `hone paths`: what is here, what is wrong with it, and what to do about it."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Callable
from typing import Any

from chatapp.commands.common import find_model, print_json, say
from chatapp.config import Settings
from chatapp.times import when
from storage import paths as places

LOW_DISK_GB = 2.0


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    _say_how_long(settings)
    if arguments.repair:
        _repair(settings)
    checks: list[dict[str, Any]] = []
    for name, check in CHECKS.items():
        try:
            state, text, details = check(settings)
        except Exception as error:  # each check stands alone: one that fails is a finding, not the end
            state, text, details = "fail", str(error) or type(error).__name__, {}
        checks.append({"check": name, "state": state, "message": text, **details})
        if not arguments.json:
            say(f"{ {'ok': 'ok  ', 'warn': 'WARN', 'fail': 'FAIL'}[state] }  {name:<10} {text}")
    healthy = all(check["state"] != "fail" for check in checks)
    if arguments.json:
        print_json({"ok": healthy, "checks": checks})
    return 0 if healthy else 1


def _say_how_long(settings: Settings) -> None:
    """Every page of the data is read: with years of it, that takes a while."""
    from storage.health import SECONDS_PER_GB

    try:
        size = places.database(settings.home).stat().st_size / 1e9
    except OSError:
        return  # the check of the data says what is wrong with it
    if size * SECONDS_PER_GB > 2:
        seconds = f"about {size * SECONDS_PER_GB:.0f} s, or more from a slow disk"
        print(f"Checking {size:.1f} GB of data takes {seconds}.", file=sys.stderr)


def _repair(settings: Settings) -> None:
    from storage.health import repair
    from storage.store import Store

    with Store.open(settings.home) as store:
        repair(store)
    print("The indexes were made again from the tables.", file=sys.stderr)


Finding = tuple[str, str, dict[str, Any]]


def _python(settings: Settings) -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    versions: dict[str, str] = {}
    for package in ("hone-chat", "textual", "llama-cpp-python", "torch", "transformers", "peft", "sqlite-utils"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "missing"
    missing = [name for name, v in versions.items() if v == "missing"]
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}; " + ", ".join(
        f"{name} {v}" for name, v in versions.items()
    )
    return ("fail" if missing else "ok"), text, {"versions": versions}


def _home(settings: Settings) -> Finding:
    from storage.health import corrupt, thorough
    from storage.store import Store

    with Store.open(settings.home) as store:
        counts = {t: store.value(f"SELECT count(*) FROM {t}") for t in ("threads", "messages", "judgments", "adapters")}
        store.meta_set("doctor", "ok")
        store.meta_set("doctor", None)
        found = thorough(store)
    if found.repairable:
        why = f"{store.path}: {found}. All messages and judgments are whole: hone doctor --repair makes it again."
        return "fail", why, {**counts, "repairable": True}
    if not found.ok:
        raise corrupt(store.path, str(found))
    mode = settings.home.stat().st_mode & 0o777
    said = f"{settings.home}: " + ", ".join(f"{count} {name}" for name, count in counts.items())
    if mode & 0o077:
        return "warn", f"{said}; others may read the folder: chmod 700 {settings.home}", counts
    return "ok", said, counts


def _backups(settings: Settings) -> Finding:
    from storage import backups

    found = backups.list(settings.home)
    if not found:
        return "ok", "none yet: one is made every week once there are judgments, and by hone backup", {"backups": 0}
    size = sum(backup.bytes for backup in found) / 1e6
    backups.inspect(found[0].path)
    newest = when(found[0].made_at.isoformat())
    return "ok", f"{len(found)} ({size:.0f} MB), the newest of {newest}", {"backups": len(found)}


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(settings.home).free / 1e9
    state = "ok" if free >= LOW_DISK_GB else "warn"
    return (
        state,
        f"{free:.1f} GB free" + ("" if state == "ok" else "; a run needs about 1 GB"),
        {"free_gb": round(free, 1)},
    )


def _model(settings: Settings) -> Finding:
    model = find_model(settings)
    size = model.file.path.stat().st_size / 1e6
    return "ok", f"{model.file.name} ({size:.0f} MB)", {"path": str(model.file.path), "hash": model.hash}


def _engine(settings: Settings) -> Finding:
    from chatapp.engine.selftest import self_test

    result = self_test(find_model(settings).file.path, settings.cache_dir, force=True)
    return ("ok" if result.ok else "fail"), result.message, {"details": result.details}


def _memory(settings: Settings) -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    state = "ok" if total >= 3.5 else "warn"
    return state, f"{total:.1f} GB, {cores} cores", {"gb": round(total, 1), "cores": cores}


def _settings(settings: Settings) -> Finding:
    from chatapp.own_keys import amiss

    found = amiss(settings)
    if found:
        return "warn", f"{settings.config_file}: {' '.join(found)}", {"amiss": found}
    return "ok", "keys and theme are those that there are", {"amiss": []}


CHECKS: dict[str, Callable[[Settings], Finding]] = {
    "python": _python,
    "memory": _memory,
    "settings": _settings,
    "data": _home,
    "backups": _backups,
    "disk": _disk,
    "model": _model,
    "engine": _engine,
}


def paths(settings: Settings, arguments: argparse.Namespace) -> int:
    rows = {
        "home": settings.home,
        "database": places.database(settings.home),
        "adapters": places.adapters_dir(settings.home),
        "logs": places.logs_dir(settings.home),
        "personal_cache": places.cache_dir(settings.home),
        "backups": places.backups_dir(settings.home),
        "config": settings.config_file,
        "cache": settings.cache_dir,
    }
    try:
        rows["model"] = find_model(settings).file.path
    except Exception:  # where things lie can be told without a model
        pass
    if arguments.json:
        print_json({name: str(path) for name, path in rows.items()})
    else:
        for name, path in rows.items():
            say(f"{name:<15} {path}")
    return 0
