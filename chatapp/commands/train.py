"""`hone train`, `hone eval` and `hone runs`: thin calls of `python -m trainer`, which alone loads torch."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chatapp import trainer_process
from chatapp.clean import clean
from chatapp.cli import FAILED, OK, REJECTED, UserError
from chatapp.commands.common import as_messages, ask_trainer, call_trainer, find_model, print_json, read_lines, say
from chatapp.commands.course import course, drawn
from chatapp.config import Settings
from chatapp.engine.base import Message
from chatapp.times import when
from chatapp.watching import doing, took, watch
from storage import rewards
from storage.runs import Run
from storage.store import Store

WATCH_SECONDS = 1.0  #: between two looks of `hone train --watch`
CANCEL_SECONDS = 15.0  #: that a run may take to end before --json says how it is
STUCK_SECONDS = 60.0  #: a queued run that nobody took for so long is taken by `hone train --watch`


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    if arguments.settings:
        asked = ["settings", "--method", arguments.method, *["--json"] * arguments.json]
        print(ask_trainer(settings, *asked), end="")
        return OK
    if arguments.watch and arguments.method != "dpo":
        raise UserError(f"--watch learns by dpo; give --method {arguments.method} without it")
    model = find_model(settings)
    config: dict[str, Any] = {"include": arguments.include}
    if arguments.weight is not None:
        if arguments.weight <= 0:
            raise UserError(f"--weight is {arguments.weight}; it must be above 0")
        config["include_weight"] = arguments.weight
    if arguments.method in ("ppo", "rlhf"):
        config |= {"rules_weight": settings.rules_weight, "length_weight": settings.length_weight}
    config |= dict(_setting(text) for text in arguments.set)
    ask_trainer(settings, "check", "--method", arguments.method, given=config)  # refused before it is queued
    with Store.open(settings.home) as store:
        for dead in store.runs.recover():
            if dead.finished:
                print(f"run {dead.number}: {clean(str(dead.error))}", file=sys.stderr)
        include = config["include"]  # --set may have replaced it, by one name too
        store.judgments.live([include] if isinstance(include, str) else include)  # an unknown source is named first
        if arguments.watch:
            return _watch(store, settings, model.hash, config, arguments.json)
        method: str = arguments.method
        begun = _interrupted(store, model.hash, config, method)
        queued = begun or store.runs.queue(method, config, model.hash)
        worker = trainer_process.start_worker(settings, queued.id)
        if not arguments.wait:
            if arguments.json:
                print_json({"run": queued.id, "number": queued.number, "state": "queued"})
            else:
                print(f"run {queued.number} is under way; `hone runs` shows how it goes")
            return OK
        finished = _wait(store, settings, queued.id, worker, arguments.json)
        return _report(finished, arguments.json)


def _setting(text: str) -> tuple[str, Any]:
    """name=value; the value is read as JSON where it is JSON. The trainer says which names there are."""
    name, given, value = text.partition("=")
    if not given or not name.strip():
        raise UserError(f"--set {text}: it must be NAME=VALUE, for example --set epochs=1")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value


def _interrupted(store: Store, model_hash: str, config: dict[str, Any], method: str = "dpo") -> Run | None:
    """A run of the same settings whose worker died and that can be gone on with."""
    wanted = (model_hash, config, method)
    found = [run for run in store.runs.interrupted() if (run.model_hash, run.config, run.kind) == wanted]
    for run in found[:1]:
        print(f"run {run.number}: {clean(str(run.error))}", file=sys.stderr)
        return run
    return None


def _left_queued(store: Store, model_hash: str) -> Run | None:
    """A run that was queued a while ago and that no worker took: its worker died before it began."""
    run = store.runs.next_queued()
    if run is None or run.model_hash != model_hash or store.runs.latest(["running"]) is not None:
        return None
    age = (datetime.now(UTC) - datetime.fromisoformat(run.created_at)).total_seconds()
    return run if age > STUCK_SECONDS else None


def _wait(store: Store, settings: Settings, run_id: str, worker: subprocess.Popen[bytes], as_json: bool) -> Run:
    shown = ""
    quiet = as_json or not sys.stderr.isatty()
    told = False
    try:
        while True:
            run = store.runs.get(run_id)
            if run.finished:
                break
            other = store.runs.latest(["running"]) if run.state == "queued" and not told else None
            if other is not None and other.id != run_id:
                line = f"run {run.number} waits for run {other.number} ({other.kind})"
                print(f"\r{line:<23}" if shown else line, file=sys.stderr, flush=True)
                told, shown = True, ""
            if worker.poll() is not None and not store.runs.get(run_id).finished:
                # ended without a verdict: killed, or another worker holds the lock and will take the run
                store.runs.recover()
                active = store.runs.latest(["running"])
                run = store.runs.get(run_id)
                if run.interrupted:
                    print(f"run {run.number}: {clean(str(run.error))}", file=sys.stderr)
                    worker = trainer_process.start_worker(settings, run_id)
                elif not run.finished and (active is None or worker.returncode not in (0, None)):
                    error = (
                        f"the trainer ended with code {worker.returncode}; see {trainer_process.log_file(store.home)}"
                    )
                    run = store.runs.finish(run_id, "failed", error=error)
                    break
            if not quiet and (text := doing(store, run)) != shown:
                print(f"\r{text:<23}", end="", file=sys.stderr, flush=True)
                shown = text
            time.sleep(0.2)
    except KeyboardInterrupt:
        store.runs.request_cancel(run_id)
        print("\ncancelled; nothing was changed", file=sys.stderr)
        if as_json:
            _report(_ended(store, run_id), as_json)
        raise
    if shown:
        print(file=sys.stderr)
    return run


def _ended(store: Store, run_id: str) -> Run:
    """A run that was told to end, when it has; after a while, or Ctrl+C, as it is."""
    try:
        for _ in range(int(CANCEL_SECONDS / 0.2)):
            if store.runs.get(run_id).finished:
                break
            store.runs.recover()
            time.sleep(0.2)
    except KeyboardInterrupt:
        pass
    return store.runs.get(run_id)


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
        store.runs.recover()
        begun = _interrupted(store, model_hash, config) or _left_queued(store, model_hash)
        waiting = store.judgments.waiting(model_hash)
        enough = waiting >= settings.train_after and waiting != tried
        if begun is not None or (enough and store.runs.active() is None):
            queued = begun or store.runs.queue("dpo", config, model_hash)
            worker = trainer_process.start_worker(settings, queued.id)
            finished = _wait(store, settings, queued.id, worker, as_json)
            _report(finished, as_json)
            tried = waiting if finished.state in ("failed", "cancelled") else -1
        time.sleep(WATCH_SECONDS)


def evaluate(settings: Settings, arguments: argparse.Namespace) -> int:
    file = Path(arguments.file).expanduser().absolute()
    if not file.is_file():
        raise UserError(f"there is no file {arguments.file}")
    asked = trainer_process.command(settings, "eval", str(file), "--adapter", arguments.adapter)
    asked += ["--format", arguments.format]
    asked += ["--per-pair"] * arguments.per_pair + ["--json"] * arguments.json
    environment = {**os.environ, **trainer_process.environment(settings)}
    return subprocess.run(asked, stdin=subprocess.DEVNULL, env=environment).returncode


def score(settings: Settings, arguments: argparse.Namespace) -> int:
    system: list[Message] = [{"role": "system", "content": settings.system_prompt}] if settings.system_prompt else []
    asked = []
    for where, prompt, response, finished in _scored(arguments):
        messages = as_messages(prompt, where)
        at = f"{where}: " if where else ""
        if not isinstance(response, str) or not response.strip():
            raise UserError(f"{at}the response is empty")
        if not isinstance(finished, bool):
            raise UserError(f"{at}finished is {finished!r:.60}; it must be true or false")
        whole = messages if messages[0]["role"] == "system" else system + messages
        asked.append({"where": where, "messages": whole, "answers": [response], "finished": finished})
    answer, error = call_trainer(settings, "score", *["--json"] * arguments.json, given=asked)
    print(answer, end="", flush=True)
    if error is not None:
        raise UserError(error)
    return OK


def _scored(arguments: argparse.Namespace) -> Iterator[tuple[str, Any, Any, Any]]:
    """(where in a file it stands, prompt, response, whether that ended) of each that is asked about."""
    if arguments.file:
        if arguments.prompt is not None:
            raise UserError("give a prompt and a response, or --file, not both")
        for number, row in read_lines(arguments.file, "answers"):
            where = f"{arguments.file}, line {number}"
            if not isinstance(row, dict) or "prompt" not in row or "response" not in row:
                raise UserError(f'{where}: expected an object with "prompt" and "response"')
            yield where, row["prompt"], row["response"], row.get("finished", True)
    elif arguments.prompt is None or arguments.response is None:
        raise UserError("give a prompt and a response: hone score 'Why?' 'Because.'; or --file F.jsonl")
    else:
        yield "", arguments.prompt, arguments.response, True


def runs(settings: Settings, arguments: argparse.Namespace) -> int:
    words = arguments.ids[1:] if arguments.ids[:1] == ["show"] else arguments.ids
    if len(words) > 1:
        raise UserError(f"name one run, not {len(words)}: hone runs NUMBER")
    wanted = words[0] if words else None
    for option in ("cancel", "plot"):
        if getattr(arguments, option) and wanted is None:
            raise UserError(f"name the run to {option}: hone runs NUMBER --{option}")
    with Store.open(settings.home) as store:
        store.runs.recover()
        if arguments.cancel:
            print(_cancel(store, str(wanted)), file=sys.stderr if arguments.json else sys.stdout)
            if not arguments.json:
                return OK
        found = [store.runs.get(wanted)] if wanted else store.runs.list()
        for run in found:
            row: dict[str, Any] = {
                "run": run.id,
                "number": run.number,
                "kind": run.kind,
                "state": run.state,
                "created_at": run.created_at,
                "finished_at": run.finished_at,
                "progress": store.runs.progress(run.id),
                "config": _config(run),
                "error": run.error,
                **{k: v for k, v in run.result.items() if k in ("adapter", "verdict", "metrics", "seconds")},
            }
            if run.kind == "reward" and run.state == "done":
                row["there"] = rewards.file_of(store, run.id).exists()
            rows = course(store, run.id) if wanted else []
            if arguments.plot and not rows:
                raise UserError(_nothing_to_draw(run))
            if arguments.json:
                print_json(row | ({"course": rows} if rows else {}))
            else:
                said = run.result.get("verdict") or run.error or ""
                if not run.finished and not said:
                    now = watch(store, run.id)
                    said = " · ".join(filter(None, [now.state, now.left]))
                if not row.get("there", True):
                    said = f"{said} (its model is gone: forgetting deletes what learned from it or was tested on it)"
                say(f"{run.number:>4}  {run.kind:<6}  {run.state:<9}  {when(run.created_at)}  {said}")
                if arguments.plot:
                    print("\n".join(drawn(rows)))
                elif wanted:
                    for line in _closely(store, run):
                        say(line)
        if not found and not arguments.json:
            print("no runs yet; `hone train` starts one")
    return OK


def _cancel(store: Store, name: str) -> str:
    """End a run; what is to be said of it."""
    run = store.runs.get(name)
    if run.finished:
        return f"run {run.number} has ended already ({run.state}); nothing was changed"
    store.runs.request_cancel(run.id)
    if store.runs.get(run.id).finished:
        return f"run {run.number} is cancelled: {store.runs.get(run.id).error}"
    return f"run {run.number} is being cancelled: it ends after the step that it is at, and changes nothing"


def _nothing_to_draw(run: Run) -> str:
    if run.kind not in ("ppo", "rlhf"):
        return f"run {run.number} ({run.kind}) has no rewards to draw: ppo and rlhf have"
    if run.finished:
        return f"run {run.number} has nothing to draw: it ended ({run.state}) before its first batch was done"
    return f"nothing to draw yet: the first batch of run {run.number} is not done"


def _config(run: Run) -> dict[str, Any]:
    """The settings that a run was given, and the algorithm of one that learns from a reward."""
    return ({"algorithm": "ppo"} if run.kind in ("ppo", "rlhf") else {}) | run.config  # ppo: where none was given


def _closely(store: Store, run: Run) -> Iterator[str]:
    """What is known of one run beside its verdict, for people: sentences, and what --json has more of."""
    seen = watch(store, run.id)
    yield from _given(run)
    if lasted := took(run):
        yield f"It took {lasted}."
    if seen.learned:
        yield seen.learned
    yield from seen.figures
    yield from (curve.words for curve in seen.curves)
    if metrics := run.result.get("metrics"):
        yield f"All {len(metrics)} figures, and the seconds of each part: hone runs {run.number} --json"


def _given(run: Run) -> Iterator[str]:
    """The same, in lines."""
    config = _config(run)
    if algorithm := config.pop("algorithm", None):
        yield f"algorithm: {algorithm}"
    given = [
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in config.items()
        if value != []
    ]
    if given:
        yield f"settings given: {' '.join(given)}"
