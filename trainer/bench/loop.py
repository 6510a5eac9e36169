"""The whole loop on the real model: answers, a rule's rankings, training, and the win rate on unseen prompts.

The simulated user wants plain words: of two answers the one with fewer letters a word is better. 40 prompts with
4 answers each are ranked by that, a worker trains in a temporary home, and on 40 other prompts fresh answers of the
live version meet fresh answers of the base, ties counting half.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chatapp.config import Settings
from chatapp.engine.base import Candidate, EngineConfig, Sampling
from chatapp.engine.model_files import file_hash, resolve
from chatapp.engine.process import EngineProcess
from chatapp.engine.vocab import Vocab
from storage.store import Store
from storage.threads import NewAnswer
from trainer.bench.prompts import PROMPTS
from trainer.gate import half
from trainer.served import served

Rule = Callable[[str], float]


def letters_a_word(text: str) -> float:
    """Mean letters a word; an empty answer is worst."""
    words = re.findall(r"[^\W\d_]+", text)
    return sum(map(len, words)) / len(words) if words else 100.0


def sampling(max_tokens: int, seed: int) -> Sampling:
    return Sampling(temperature=0.8, max_tokens=max_tokens, seed=seed)


def record_rankings(
    store: Store, gguf: Path, model_hash: str, answered: Sequence[tuple[str, Sequence[Candidate]]], rule: Rule
) -> int:
    """Store prompts with their answers and rank each by the rule, smaller first. Returns the pairs that gives."""
    with Vocab.open(gguf) as vocab:
        store.add_model(model_hash, vocab.name, vocab.architecture, vocab.chat_template_hash, str(gguf))
    for prompt, candidates in answered:
        thread = store.threads.new(prompt[:60], origin="judge")
        message = store.threads.add_message(thread.id, None, "user", prompt)
        rows = [
            NewAnswer(
                c.text, c.index, model_hash, None, {"temperature": 0.8}, c.seed, c.token_ids, c.prompt_tokens,
                c.finish_reason, asdict(c.timings),
            )
            for c in candidates
        ]  # fmt: skip
        answers = store.threads.add_answers(thread.id, message.id, rows)
        groups: dict[float, list[str]] = {}
        for answer in answers:
            groups.setdefault(round(rule(answer.text), 6), []).append(answer.id)
        store.judgments.rank(message.id, [groups[score] for score in sorted(groups)], source="judge")
    return len(store.judgments.derived().pairs)


def compare(
    engine: EngineProcess, adapter: Path, prompts: Sequence[str], max_tokens: int, each: int, rule: Rule
) -> Any:
    """Share of (adapter's answer, base's answer) meetings that the adapter wins, and mean lengths."""
    found: dict[str, list[list[Candidate]]] = {}
    for name, path in (("base", None), ("adapter", adapter)):
        engine.swap(path)
        found[name] = [
            engine.generate([{"role": "user", "content": p}], each, sampling(max_tokens, 90_000 + i * 16))
            for i, p in enumerate(prompts)
        ]
    meetings = [
        half(rule(b.text) - rule(a.text))
        for mine, theirs in zip(found["adapter"], found["base"], strict=True)
        for a in mine
        for b in theirs
    ]

    def mean_tokens(name: str) -> float:
        answers = [c for answers in found[name] for c in answers]
        return sum(len(c.token_ids) for c in answers) / len(answers)

    return {
        "win_rate": sum(meetings) / len(meetings),
        "comparisons": len(meetings),
        "tokens_adapter": mean_tokens("adapter"),
        "tokens_base": mean_tokens("base"),
    }


def measure(settings: Settings, *, quick: bool = False) -> dict[str, Any]:
    """Run the loop; quick: 10 prompts and answers of 48 tokens."""
    from trainer.worker import work

    judged, unseen, max_tokens = (10, 4, 48) if quick else (40, 40, 256)
    gguf = resolve(settings.model, settings.cache_dir).path
    model_hash = file_hash(gguf, settings.cache_dir)
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="hone-loop-") as folder:
        home = Path(folder)
        with served(EngineConfig(gguf, context_size=4096)) as engine:
            started = time.perf_counter()
            answered = [
                (prompt, engine.generate([{"role": "user", "content": prompt}], 4, sampling(max_tokens, 1000 + i * 10)))
                for i, prompt in enumerate(PROMPTS[:judged])
            ]
            seconds["answers"] = time.perf_counter() - started
            with Store.open(home) as store:
                pairs = record_rankings(store, gguf, model_hash, answered, letters_a_word)
                outcome = work(home, settings.cache_dir, settings.model)
                seconds |= {f"train.{name}": value for name, value in outcome.seconds.items()}
                result: dict[str, Any] = {"judged_prompts": judged, "pairs": pairs, "run": outcome.as_dict()}
                if outcome.adapter is None:
                    return {"ok": False, **result, "seconds": seconds}
                path = store.adapters.gguf(store.adapters.get(outcome.adapter))
                started = time.perf_counter()
                prompts = PROMPTS[judged : judged + unseen]
                result |= compare(engine, path, prompts, max_tokens, 2, letters_a_word)
                seconds["comparison"] = time.perf_counter() - started
    result["neutral_rise"] = outcome.metrics["neutral.rise"]
    result["kl"] = outcome.metrics["neutral.kl"]
    result["unseen_prompts"] = unseen
    result["seconds"] = {name: round(value, 2) for name, value in seconds.items()}
    result["ok"] = quick or (outcome.adapter_state == "live" and result["win_rate"] >= 0.8)
    return result
