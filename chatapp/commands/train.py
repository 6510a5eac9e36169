"""`hone train`, `hone eval` and `hone runs`: thin calls of `python -m trainer`, which alone loads torch."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from chatapp import trainer_process
from chatapp.clean import clean
from chatapp.cli import FAILED, OK, REJECTED, UserError
from chatapp.commands.common import find_model, print_json, say
from chatapp.config import Settings
from storage.runs import Run
from storage.store import Store


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    model = find_model(settings)
    config: dict[str, Any] = {"include": arguments.include}
    if arguments.weight is not None:
        if arguments.weight <= 0:
            raise UserError(f"--weight is {arguments.weight}; it must be above 0")
        config["include_weight"] = arguments.weight
    with Store.open(settings.home) as store:
        for dead in store.runs.recover():
            print(f"run {dead.number}: {clean(str(dead.error))}", file=sys.stderr)
        store.judgments.live(arguments.include)  # an unknown source is named before anything starts
        if arguments.watch:
            return _watch(store, settings, model.hash, config, arguments.json)
        queued = store.runs.queue(arguments.method, config, model.hash)
        worker = trainer_process.start_worker(settings, queued.id)
        if not arguments.wait:
            if arguments.json:
                print_json({"run": queued.id, "number": queued.number, "state": "queued"})
            else:
                print(f"run {queued.number} is under way; `hone runs` shows how it goes")
            return OK
        finished = _wait(store, queued.id, worker, quiet=arguments.json)
        return _report(finished, arguments.json)


def _wait(store: Store, run_id: str, worker: subprocess.Popen[bytes], quiet: bool) -> Run:
    shown = ""
    try:
        while True:
            run = store.runs.get(run_id)
            if run.finished:
                break
            if worker.poll() is not None and not store.runs.get(run_id).finished:
                # ended without a verdict: killed, or another worker holds the lock and will take the run
                store.runs.recover()
                active = store.runs.latest(["running"])
                run = store.runs.get(run_id)
                if not run.finished and (active is None or worker.returncode not in (0, None)):
                    error = (
                        f"the trainer ended with code {worker.returncode}; see {trainer_process.log_file(store.home)}"
                    )
                    run = store.runs.finish(run_id, "failed", error=error)
                    break
            if not quiet and (progress := store.runs.progress(run_id)):
                text = f"\rtraining {progress[0]}/{progress[1]}"
                if text != shown and sys.stderr.isatty():
                    print(text, end="", file=sys.stderr, flush=True)
                    shown = text
            time.sleep(0.2)
    except KeyboardInterrupt:
        store.runs.request_cancel(run_id)
        print("\ncancelled; nothing was changed", file=sys.stderr)
        raise
    if shown:
        print(file=sys.stderr)
    return run


def _report(run: Run, as_json: bool) -> int:
    result = run.result
    if as_json:
        print_json(
            {
                "run": run.id,
                "state": run.state,
                "adapter": result.get("adapter"),
                "verdict": result.get("verdict") or run.error,
                "metrics": result.get("metrics", {}),
                "seconds": result.get("seconds", {}),
            }
        )
    elif run.state in ("done", "rejected"):
        say(result.get("verdict", run.state))
    if run.state not in ("done", "rejected"):
        if not as_json:
            print(f"hone: run {run.number} {run.state}: {clean(run.error or 'no reason given')}", file=sys.stderr)
        return FAILED
    return OK if run.state == "done" else REJECTED


def _watch(store: Store, settings: Settings, model_hash: str, config: dict[str, Any], as_json: bool) -> int:
    print(f"waiting for {settings.train_after} new judgments; Ctrl+C ends it", file=sys.stderr)
    tried = -1  # how many were waiting when the last run failed: it is not tried again on the same ones
    while True:
        waiting = store.judgments.waiting(model_hash)
        if waiting >= settings.train_after and waiting != tried and store.runs.active() is None:
            queued = store.runs.queue("dpo", config, model_hash)
            finished = _wait(store, queued.id, trainer_process.start_worker(settings, queued.id), quiet=as_json)
            _report(finished, as_json)
            tried = waiting if finished.state == "failed" else -1
        time.sleep(1)


def evaluate(settings: Settings, arguments: argparse.Namespace) -> int:
    file = Path(arguments.file).expanduser().absolute()
    if not file.is_file():
        raise UserError(f"there is no file {arguments.file}")
    asked = trainer_process.command(settings, "eval", str(file), "--adapter", arguments.adapter)
    asked += ["--format", arguments.format]
    asked += ["--per-pair"] * arguments.per_pair + ["--json"] * arguments.json
    environment = {**os.environ, **trainer_process.environment(settings)}
    return subprocess.run(asked, stdin=subprocess.DEVNULL, env=environment).returncode


def runs(settings: Settings, arguments: argparse.Namespace) -> int:
    with Store.open(settings.home) as store:
        store.runs.recover()
        if arguments.cancel:
            if arguments.id is None:
                raise UserError("name the run to cancel: hone runs NUMBER --cancel")
            store.runs.request_cancel(store.runs.get(arguments.id).id)
        found = [store.runs.get(arguments.id)] if arguments.id else store.runs.list()
        for run in found:
            row: dict[str, Any] = {
                "run": run.id,
                "number": run.number,
                "kind": run.kind,
                "state": run.state,
                "created_at": run.created_at,
                "finished_at": run.finished_at,
                "progress": store.runs.progress(run.id),
                "error": run.error,
                **{k: v for k, v in run.result.items() if k in ("adapter", "verdict", "metrics", "seconds")},
            }
            if arguments.json:
                print_json(row)
            else:
                said = run.result.get("verdict") or run.error or ""
                say(f"{run.number:>4}  {run.state:<9}  {run.created_at[:16].replace('T', ' ')}  {said}")
                if arguments.id and run.result.get("metrics"):
                    say(json.dumps(run.result["metrics"], indent=2))
        if not found and not arguments.json:
            print("no runs yet; `hone train` starts one")
    return OK
