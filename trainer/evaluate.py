"""How well the implicit reward orders the pairs of a preference file: `hone eval`.

Implicit reward of an answer: beta * (log pi - log base), so the base itself orders nothing: its accuracy is one half by
definition. "longer wins" on the same pairs stands beside every accuracy, for a model may have learned only that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatapp.engine.base import Message
from chatapp.engine.vocab import Vocab
from storage.adapters import Adapter
from storage.errors import RecordError
from storage.formats.files import REASONS, Skipped
from storage.formats.pairs import Record, read
from storage.store import Store
from trainer import gate
from trainer.base_model import BaseModel, load_base
from trainer.dataset import fit_prompt
from trainer.errors import TrainerError
from trainer.logprobs import TokenTurn, score
from trainer.lora import Lora


@dataclass(slots=True)
class Example:
    """One pair as tokens."""

    line: int
    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


def read_examples(
    records: Iterable[Record], vocab: Vocab, *, max_prompt: int, max_response: int
) -> tuple[list[Example], list[int]]:
    """Tokenise pairs; the lines whose last message alone is longer than max_prompt are returned too."""
    examples, too_long = [], []
    for record in records:
        messages = [Message(role=m["role"], content=m["content"]) for m in record.prompt]
        prompt = fit_prompt(vocab, messages, max_prompt)
        if prompt is None:
            too_long.append(record.line)
            continue
        chosen = vocab.response_ids(record.chosen)[:max_response]
        rejected = vocab.response_ids(record.rejected)[:max_response]
        examples.append(Example(record.line, prompt, chosen, rejected))
    return examples, too_long


def grouped(examples: Sequence[Example]) -> list[tuple[TokenTurn, list[Example]]]:
    """Pairs of the same prompt as one turn, each distinct answer once."""
    turns: dict[tuple[int, ...], list[Example]] = {}
    for example in examples:
        turns.setdefault(tuple(example.prompt), []).append(example)
    result = []
    for prompt, pairs in turns.items():
        responses: dict[tuple[int, ...], list[int]] = {}
        for pair in pairs:
            responses.setdefault(tuple(pair.chosen), pair.chosen)
            responses.setdefault(tuple(pair.rejected), pair.rejected)
        result.append((TokenTurn(list(prompt), list(responses.values())), pairs))
    return result


def summed_logps(lora: Lora, examples: Sequence[Example], budget: int) -> list[tuple[float, float]]:
    """(chosen, rejected) log-probability of each example under what lora holds, in the order of examples."""
    groups = grouped(examples)
    found: dict[int, tuple[float, float]] = {}
    for (turn, pairs), sums in zip(groups, score(lora.model, [t for t, _ in groups], budget=budget), strict=True):
        place = {tuple(r): i for i, r in enumerate(turn.responses)}
        for pair in pairs:
            found[id(pair)] = sums[place[tuple(pair.chosen)]], sums[place[tuple(pair.rejected)]]
    return [found[id(e)] for e in examples]


def summarise(
    examples: Sequence[Example], policy: Sequence[tuple[float, float]], base: Sequence[tuple[float, float]], beta: float
) -> dict[str, Any]:
    """The figures of one adapter."""
    margins = [beta * ((p[0] - b[0]) - (p[1] - b[1])) for p, b in zip(policy, base, strict=True)]
    count = len(margins)
    if not count:
        raise TrainerError("the file holds no pair that could be evaluated")
    return {
        "n": count,
        "prompts": len({tuple(e.prompt) for e in examples}),
        "accuracy": sum(map(gate.half, margins)) / count,
        "log_loss": sum(math.log1p(math.exp(-abs(m))) + max(-m, 0.0) for m in margins) / count,
        "margin": sum(margins) / count,
        "longer_wins": sum(gate.half(len(e.chosen) - len(e.rejected)) for e in examples) / count,
        "beta": beta,
    }


def evaluate(
    store: Store,
    gguf: Path,
    cache_dir: Path,
    file: Path,
    *,
    format: str = "trl-preference",
    adapter: str = "live",
    per_pair: bool = False,
    beta: float = 0.1,
    max_prompt: int = 1024,
    max_response: int = 1024,
    budget: int = 1024,
    train_base: Path | None = None,
    fp32: bool = False,
) -> list[dict[str, Any]]:
    """The figures of the named adapter ("base", "live", "all", an id or v3), one object each.

    fp32: exact rather than quick: log-probabilities agree with other programs to 1e-4.
    """
    import torch

    skipped = Skipped()
    with Vocab.open(gguf) as vocab:
        records = read(file, format, skipped=skipped)
        examples, too_long = read_examples(records, vocab, max_prompt=max_prompt, max_response=max_response)
    if not examples:
        first = "; line {}: {}".format(*skipped.reasons[0]) if skipped.count else ""
        raise RecordError(f"{file.name} holds no pair that could be evaluated{first}")
    base = load_base(gguf, cache_dir, train_base=train_base, dtype=torch.float32 if fp32 else None)
    reference: list[tuple[float, float]] | None = None
    results = []
    for name, folder in _adapters(store, base, adapter):
        lora = Lora.of(base.model, folder) if folder else Lora(base.model, rank=1, alpha=1, seed=0)
        if reference is None:
            with lora.disabled():
                reference = summed_logps(lora, examples, budget)
        policy = reference
        if folder:
            policy = summed_logps(lora, examples, budget)
        base.model = lora.remove()
        result = {"adapter": name, **summarise(examples, policy, reference, beta)}
        result["skipped"] = [{"line": line, "why": why} for line, why in skipped.reasons]
        result["skipped"] += [
            {"line": line, "why": f"the prompt is over {max_prompt} tokens"} for line in too_long[:REASONS]
        ]
        result["skipped_count"] = skipped.count + len(too_long)
        if per_pair:
            result["pairs"] = [
                {
                    "line": e.line,
                    "chosen_logp": p[0],
                    "rejected_logp": p[1],
                    "base_chosen_logp": b[0],
                    "base_rejected_logp": b[1],
                    "prompt_tokens": len(e.prompt),
                    "chosen_tokens": len(e.chosen),
                    "rejected_tokens": len(e.rejected),
                }
                for e, p, b in zip(examples, policy, reference, strict=True)
            ]
        results.append(result)
    return results


def _adapters(store: Store, base: BaseModel, wanted: str) -> list[tuple[str, Path | None]]:
    def named(adapter: Adapter) -> tuple[str, Path | None]:
        store.adapters.need(adapter)
        return adapter.name, store.adapters.dir(adapter)

    if wanted == "base":
        return [("base", None)]
    if wanted == "all":
        return [("base", None), *(named(a) for a in store.adapters.list(base.hash) if store.adapters.there(a))]
    if wanted == "live":
        live = store.adapters.live(base.hash)
        return [named(live) if live else ("base", None)]
    adapter = store.adapters.get(wanted, base.hash)
    if adapter.model_hash != base.hash:
        raise TrainerError(f"{adapter.name} was trained for another model ({adapter.model_hash[:12]})")
    return [named(adapter)]
