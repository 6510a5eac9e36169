"""`hone ask`: answers from the shell.

They are kept with their token ids, so that `hone judge` finds them again by their text and learns from what was drawn,
not from a second tokenisation of it. By themselves they teach nothing; --no-save keeps them out of the database.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from chatapp.choosing import place
from chatapp.cli import FAILED, OK, UserError
from chatapp.commands.common import (
    SHELL,
    Model,
    as_messages,
    choose_adapter,
    engine_config,
    find_model,
    print_json,
    printable,
    read_lines,
    register_model,
)
from chatapp.config import Settings
from chatapp.engine.base import MAX_CANDIDATES, Candidate, Message, PromptTooLong, Sampling
from chatapp.engine.process import EngineProcess
from chatapp.scoring import Scoring, ScoringError
from storage import rewards as reward_models
from storage.adapters import Adapter
from storage.errors import StorageError
from storage.outside import add_prompt
from storage.store import Store
from storage.threads import NewAnswer


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    n = 1 if arguments.n is None else arguments.n
    if not 1 <= n <= MAX_CANDIDATES:
        raise UserError(f"-n is {n}; it must be from 1 to {MAX_CANDIDATES}")
    most = arguments.best_of
    if most is not None and not max(2, n) <= most <= MAX_CANDIDATES:
        raise UserError(f"--best-of is {most}; it must be from {max(2, n)} to {MAX_CANDIDATES}")
    if arguments.file and arguments.prompt is not None:
        raise UserError("give a prompt or --file, not both")
    prompts = list(_prompts(settings, arguments))  # all of them, so that a bad line is named before any work
    model = find_model(settings)
    with Store.open(settings.home) as store:
        adapter = choose_adapter(store, model, arguments.adapter)
        if most is not None:
            reward_models.current(store, model.hash)  # that there is none is said before anything is drawn
        return _ask(settings, arguments, prompts, store, model, adapter, n)


def _ask(
    settings: Settings,
    arguments: argparse.Namespace,
    prompts: list[tuple[str, Any, list[Message]]],
    store: Store,
    model: Model,
    adapter: Adapter | None,
    n: int,
) -> int:
    judge: Scoring | None = None
    known = failed = False
    engine = EngineProcess(engine_config(settings, model, store, adapter))
    try:
        if arguments.best_of:
            judge = Scoring(settings)
        for index, (where, given, messages) in enumerate(prompts):
            sampling = settings.sampling
            if sampling.seed is not None:  # each prompt draws differently, and the same in each call
                sampling = replace(sampling, seed=(sampling.seed + index * MAX_CANDIDATES) % 2**32)
            try:
                candidates = engine.generate(messages, arguments.best_of or n, sampling)
            except PromptTooLong as error:  # how long it is only the model can say; the others are answered
                said = f"{f'{where}: ' if arguments.file else ''}{str(error).removesuffix('.')}: --context-size N"
                print(f"hone: {said}", file=sys.stderr)
                failed = True
                continue
            rewards: dict[int, float] = {}
            if judge is not None:
                try:
                    scores = judge.rewards(messages, [c.token_ids for c in candidates])
                    rewards = {c.index: score["total"] for c, score in zip(candidates, scores, strict=True)}
                except ScoringError as error:  # they are there, and took their time: shown as they were drawn
                    print(f"hone: the answers were not ranked: {error}", file=sys.stderr)
            shown = sorted(candidates, key=lambda c: -rewards.get(c.index, 0.0))[:n]
            if arguments.json:
                row = {
                    "prompt": given,
                    "candidates": [_row(c, rewards) for c in shown],
                    "adapter": adapter.id if adapter else None,
                    "model": model.hash,
                }
                # the model's choice, never the user's judgment
                print_json(row | ({"best_of": len(candidates), "chosen_by": "reward model"} if rewards else {}))
            else:
                _print(shown, len(prompts) > 1 and str(messages[-1]["content"]), rewards)
            if not arguments.no_save:
                try:
                    if not known:
                        register_model(store, model)
                        known = True
                    _save(store, messages, candidates, sampling, model, adapter, rewards)
                except StorageError as error:  # the answers are printed: that they cannot be kept is not their loss
                    print(f"hone: the answers were not saved: {error}", file=sys.stderr)
    finally:
        engine.close()
        if judge is not None:
            judge.close()
    return FAILED if failed else OK


def _row(candidate: Candidate, rewards: dict[int, float]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "text": candidate.text,
        "tokens": len(candidate.token_ids),
        "finish_reason": candidate.finish_reason,
        "token_ids": candidate.token_ids,
        "seed": candidate.seed,
    }
    return found | ({"reward": rewards[candidate.index]} if rewards else {})


def _save(
    store: Store,
    messages: list[Message],
    candidates: list[Candidate],
    sampling: Sampling,
    model: Model,
    adapter: Adapter | None,
    rewards: dict[int, float],
) -> None:
    """Where `hone judge` looks: below the same conversation, in the threads of the shell."""
    totals = [rewards[c.index] for c in candidates] if rewards else []
    with store.write():
        prompt_id = add_prompt(store, messages, SHELL)  # type: ignore[arg-type]
        thread_id = store.threads.message(prompt_id).thread_id
        new = [
            NewAnswer(
                c.text,
                c.index,
                model.hash,
                adapter.id if adapter else None,
                asdict(sampling) | (place(at, totals) if totals else {}),
                c.seed,
                c.token_ids,
                c.prompt_tokens,
                c.finish_reason,
                asdict(c.timings),
            )
            for at, c in enumerate(candidates)
        ]
        store.threads.add_answers(thread_id, prompt_id, new)


def _prompts(settings: Settings, arguments: argparse.Namespace) -> Iterator[tuple[str, Any, list[Message]]]:
    """(where it stands, as it was given, as messages) of each."""
    system: list[Message] = [{"role": "system", "content": settings.system_prompt}] if settings.system_prompt else []

    def whole(prompt: Any, where: str) -> list[Message]:
        messages = as_messages(prompt, where)
        return messages if messages[0]["role"] == "system" else system + messages

    if arguments.file:
        for number, row in read_lines(arguments.file, "prompts"):
            where = f"{arguments.file}, line {number}"
            if not isinstance(row, dict) or "prompt" not in row:
                raise UserError(f'{where}: expected an object with "prompt"')
            yield where, row["prompt"], whole(row["prompt"], where)
    else:
        text = arguments.prompt
        if text is None:
            if sys.stdin.isatty():
                raise UserError("no prompt given: write it after `hone ask`, or pipe it in")
            text = sys.stdin.read()
        text = text.strip()
        yield "the prompt", text, whole(text, "")


def _print(candidates: list[Any], prompt: str | bool, rewards: dict[int, float]) -> None:
    from storage.wording import letter

    if prompt:
        print(f"> {printable(str(prompt))}\n")
    for candidate in candidates:
        if len(candidates) > 1:
            print(f"[{letter(candidate.index)}]")
        if rewards:
            print(f"(chosen of {len(rewards)} by the reward model: {rewards[candidate.index]:+.2f})", file=sys.stderr)
        print(printable(candidate.text), flush=True)
        if candidate.dropped_messages:
            print(f"(the oldest {candidate.dropped_messages} messages did not fit the context)", file=sys.stderr)
        if len(candidates) > 1 or prompt:
            print()
