"""`hone ask`: answers from the shell. Nothing is recorded; `hone judge` takes its lines with a judgment added."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from chatapp.cli import UserError
from chatapp.commands.common import (
    as_messages,
    choose_adapter,
    engine_config,
    find_model,
    print_json,
    printable,
    read_lines,
)
from chatapp.config import Settings
from chatapp.engine.base import MAX_CANDIDATES, Message
from chatapp.engine.process import EngineProcess
from storage.store import Store


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
        config = engine_config(settings, model, store, adapter)
    engine = EngineProcess(config)
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
    finally:
        engine.close()
    return 0


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
    from storage.judgments import letter

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
