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

from chatapp.cli import UserError
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
from chatapp.engine.base import MAX_CANDIDATES, Candidate, Message, Sampling
from chatapp.engine.process import EngineProcess
from storage.adapters import Adapter
from storage.errors import StorageError
from storage.outside import add_prompt
from storage.store import Store
from storage.threads import NewAnswer


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    n = 1 if arguments.n is None else arguments.n
    if not 1 <= n <= MAX_CANDIDATES:
        raise UserError(f"-n is {n}; it must be from 1 to {MAX_CANDIDATES}")
    if arguments.file and arguments.prompt is not None:
        raise UserError("give a prompt or --file, not both")
    prompts = list(_prompts(settings, arguments))  # all of them, so that a bad line is named before any work
    model = find_model(settings)
    with Store.open(settings.home) as store:
        adapter = choose_adapter(store, model, arguments.adapter)
        return _ask(settings, arguments, prompts, store, model, adapter, n)


def _ask(
    settings: Settings,
    arguments: argparse.Namespace,
    prompts: list[tuple[Any, list[Message]]],
    store: Store,
    model: Model,
    adapter: Adapter | None,
    n: int,
) -> int:
    engine = EngineProcess(engine_config(settings, model, store, adapter))
    try:
        for index, (given, messages) in enumerate(prompts):
            sampling = settings.sampling
            if sampling.seed is not None:  # each prompt draws differently, and the same in each call
                sampling = replace(sampling, seed=(sampling.seed + index * MAX_CANDIDATES) % 2**32)
            candidates = engine.generate(messages, n, sampling)
            if arguments.json:
                print_json(
                    {
                        "prompt": given,
                        "candidates": [
                            {
                                "text": c.text,
                                "tokens": len(c.token_ids),
                                "finish_reason": c.finish_reason,
                                "token_ids": c.token_ids,
                                "seed": c.seed,
                            }
                            for c in candidates
                        ],
                        "adapter": adapter.id if adapter else None,
                        "model": model.hash,
                    }
                )
            else:
                _print(candidates, len(prompts) > 1 and str(messages[-1]["content"]))
            if not arguments.no_save:
                try:
                    if index == 0:
                        register_model(store, model)
                    _save(store, messages, candidates, sampling, model, adapter)
                except StorageError as error:  # the answers are printed: that they cannot be kept is not their loss
                    print(f"hone: the answers were not saved: {error}", file=sys.stderr)
    finally:
        engine.close()
    return 0


def _save(
    store: Store,
    messages: list[Message],
    candidates: list[Candidate],
    sampling: Sampling,
    model: Model,
    adapter: Adapter | None,
) -> None:
    """Where `hone judge` looks: below the same conversation, in the threads of the shell."""
    with store.write():
        prompt_id = add_prompt(store, messages, SHELL)  # type: ignore[arg-type]
        thread_id = store.threads.message(prompt_id).thread_id
        new = [
            NewAnswer(
                c.text,
                c.index,
                model.hash,
                adapter.id if adapter else None,
                asdict(sampling),
                c.seed,
                c.token_ids,
                c.prompt_tokens,
                c.finish_reason,
                asdict(c.timings),
            )
            for c in candidates
        ]
        store.threads.add_answers(thread_id, prompt_id, new)


def _prompts(settings: Settings, arguments: argparse.Namespace) -> Iterator[tuple[Any, list[Message]]]:
    system: list[Message] = [{"role": "system", "content": settings.system_prompt}] if settings.system_prompt else []

    def whole(prompt: Any, where: str) -> list[Message]:
        messages = as_messages(prompt, where)
        return messages if messages[0]["role"] == "system" else system + messages

    if arguments.file:
        for number, row in read_lines(arguments.file, "prompts"):
            where = f"{arguments.file}, line {number}"
            if not isinstance(row, dict) or "prompt" not in row:
                raise UserError(f'{where}: expected an object with "prompt"')
            yield row["prompt"], whole(row["prompt"], where)
    else:
        text = arguments.prompt
        if text is None:
            if sys.stdin.isatty():
                raise UserError("no prompt given: write it after `hone ask`, or pipe it in")
            text = sys.stdin.read()
        text = text.strip()
        yield text, whole(text, "the prompt")


def _print(candidates: list[Any], prompt: str | bool) -> None:
    from storage.wording import letter

    if prompt:
        print(f"> {printable(str(prompt))}\n")
    for candidate in candidates:
        if len(candidates) > 1:
            print(f"[{letter(candidate.index)}]")
        print(printable(candidate.text), flush=True)
        if candidate.dropped_messages:
            print(f"(the oldest {candidate.dropped_messages} messages did not fit the context)", file=sys.stderr)
        if len(candidates) > 1 or prompt:
            print()
