"""Answers of the base to everyday requests of our own (assets/practice.jsonl), to practise a user's taste on.

A gradient of the model learns a taste from hundreds of compared answers and nobody ranks that many. taste.py tells
from a few dozen judgments, well enough, which of the base's answers to another request he would rather have; the
clearest of those pairs are learned beside the judgments. Nothing of the user's is in them, so they are kept outside the
home, by the model's hash. Those of the bundled model come with Hone; of another model a run writes as many as PATIENCE
allows, where it has fewer than it wants. A model so slow that it would never be done is asked once.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import time
import zlib
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from chatapp.engine.base import EngineConfig, EngineCrashed, Message, PromptTooLong, Sampling
from chatapp.engine.vocab import Vocab
from storage.assets import asset
from trainer import gate
from trainer.config import TrainConfig
from trainer.dataset import PairRef, Turn
from trainer.errors import Cancelled
from trainer.features import Callbacks
from trainer.served import served
from trainer.taste import Seen, Taste, features

EACH = 4  #: answers to a request
MAX_TOKENS = 256  #: of an answer
TOKENS = 2 * MAX_TOKENS + 32  #: of a request and the two answers that are taken, at most
TEMPERATURE = 0.8
CONTEXT = 2048  #: tokens of the engine that writes them
PATIENCE = 120.0  #: seconds of a run that go into writing them
MOST = 400  #: judged turns that a taste is learned from, those that weigh most; more cost seconds and tell little
LEAST = 16  #: requests with answers, below which nothing is practised
SLOWEST = 20.0  #: seconds of one request beyond which all of them would take many runs
_TOO_SLOW = b'\n{"too_slow": true}\n'  #: a line of a file whose model is not asked again


@dataclass(frozen=True, slots=True)
class Drill:
    """A request and what the base answers."""

    prompt: str
    answers: list[list[int]]  #: token ids, with the end of the turn where an answer ended by itself


def requests() -> list[str]:
    """In the order in which they are answered."""
    lines = asset("practice.jsonl").read_text(encoding="utf-8").splitlines()
    return [str(json.loads(line)["prompt"]) for line in lines]


def drills(cache_dir: Path, model_hash: str) -> list[Drill]:
    """What is there: shipped, or written by earlier runs. A broken line counts as none."""
    found: dict[str, Drill] = {}
    data = b""
    with suppress(OSError, EOFError, zlib.error):
        data += gzip.decompress(asset(f"practice/{model_hash[:16]}.jsonl.gz").read_bytes())
    data += b"\n" + _read(written(cache_dir, model_hash))
    asked = set(requests())
    for line in data.splitlines():
        try:
            row = json.loads(line)
            answers = [[int(token) for token in ids] for ids in row["answers"]]
            prompt = str(row["prompt"])
        except (ValueError, KeyError, TypeError):
            continue
        if prompt in asked and len(answers) > 1 and all(answers):
            found[prompt] = Drill(prompt, answers)
    return list(found.values())


def ready(
    gguf: Path,
    cache_dir: Path,
    model_hash: str,
    wanted: int,
    calls: Callbacks,
    told: Callable[[int], object],
    *,
    more: bool = True,
) -> list[Drill]:
    """Drills for a run that wants so many; where there are fewer, some are written now. Raises as `write` does.

    told: how many are answered, each time, and 0 when no more will be. more: whether any may be written.
    """
    known = drills(cache_dir, model_hash)
    few = len(known) < max(wanted, LEAST)
    if few and more and _TOO_SLOW not in _read(written(cache_dir, model_hash)):
        with suppress(OSError):  # a full disk: what there is will do
            known = write(gguf, cache_dir, model_hash, known, calls, told)
        told(0)
    return known


def written(cache_dir: Path, model_hash: str) -> Path:
    """Where a run writes what this model answers."""
    return cache_dir / "practice" / f"{model_hash[:16]}.jsonl"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


class _TooSlow(Exception):
    """A request takes longer than SLOWEST."""


def write(
    gguf: Path,
    cache_dir: Path,
    model_hash: str,
    known: Sequence[Drill],
    calls: Callbacks,
    told: Callable[[int], object] = lambda count: None,
) -> list[Drill]:
    """Have the base answer requests that it has not, for at most PATIENCE seconds; returns all there are now.

    told: how many are answered, each time. Raises Cancelled at any token; EngineError when the engine does not start.
    """
    left = [prompt for prompt in requests() if prompt not in {drill.prompt for drill in known}]
    if not left:
        return list(known)
    path = written(cache_dir, model_hash)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = list(known)
    started = asked = time.monotonic()

    def watch(*_: object) -> None:
        if calls.cancelled():
            raise Cancelled("the run was cancelled")
        if time.monotonic() - asked > SLOWEST:
            raise _TooSlow

    with served(EngineConfig(gguf, context_size=CONTEXT)) as engine, path.open("ab") as file:
        for prompt in left:
            asked = time.monotonic()
            if asked - started > PATIENCE:
                break
            calls.before_batch()
            try:
                batch = engine.generate([Message(role="user", content=prompt)], EACH, sampling(prompt), watch)
            except PromptTooLong:
                continue
            except EngineCrashed:  # what was answered will do
                break
            except _TooSlow:
                if len(found) < LEAST:
                    file.write(_TOO_SLOW)
                break
            drill = Drill(prompt, [list(c.token_ids) for c in batch if c.text.strip()])
            if len(drill.answers) > 1:
                found.append(drill)
                file.write(line(drill))
                file.flush()
            told(len(found))
    return found


def sampling(prompt: str) -> Sampling:
    """The chat's defaults, with a seed of this request's own."""
    seed = int.from_bytes(hashlib.sha256(f"practice1:{prompt}".encode()).digest()[:4], "big") & ~0xF
    return Sampling(temperature=TEMPERATURE, max_tokens=MAX_TOKENS, seed=seed)


def line(drill: Drill) -> bytes:
    """As `drills` reads it, on a line of its own even after one that was cut off."""
    return b"\n" + json.dumps({"prompt": drill.prompt, "answers": drill.answers}).encode() + b"\n"


class Practice:
    """What one run practises on: drills, ordered by what the turns that it learns from say of words."""

    def __init__(
        self, judged: Sequence[Turn], config: TrainConfig, vocab: Vocab, embeddings: Tensor | None = None
    ) -> None:
        """judged: those to train on, with all of their pairs. Texts are read here and in `take`, not later.

        embeddings: (V, D) of the model's tokens.
        """
        self._config = config
        said = [turn for turn in judged if turn.pairs or turn.singles] if config.practice_share else []
        drawn = sorted(random.Random(0).sample(said, len(said)), key=lambda turn: -round(_weight(turn), 6))
        self._judged = drawn[:MOST]
        self._drills: list[tuple[Drill, list[Message], list[int]]] = []
        self._features: dict[tuple[int, ...], Seen] = {}
        self._embeddings = embeddings
        self._see([ids for turn in self._judged for ids in turn.responses], vocab)
        self.taste = Taste.learn(self._judged, self._read)
        # no more than a judged turn does: the judgments of others may each weigh a hundredth
        mean = sum(map(_weight, self._judged)) / len(self._judged) if self._judged else 1.0
        self.weight = min(1.0, round(mean, 6))  #: of a practised turn
        self.wanted = config.practised(len(judged)) if self.taste.certain else 0  #: drills

    @classmethod
    def begin(
        cls,
        judged: Sequence[Turn],
        config: TrainConfig,
        vocab: Vocab,
        fetch: Callable[[int], Sequence[Drill]],
        embeddings: Tensor | None = None,
    ) -> Practice:
        """With what `fetch` gives when so many drills are wanted; it is asked only where there is a taste."""
        found = cls(judged, config, vocab, embeddings)
        if found.wanted:
            found.take(fetch(found.wanted), vocab)
        return found

    def take(self, known: Sequence[Drill], vocab: Vocab) -> None:
        """Practise on these. An answer without a word is none."""
        for drill in known:
            texts = [ids for ids in drill.answers if vocab.detokenize(ids).strip()]
            if len(texts) > 1:
                messages = [Message(role="user", content=drill.prompt)]
                self._drills.append((Drill(drill.prompt, texts), messages, vocab.prompt_ids(messages)))
                self._see(texts, vocab)

    def _see(self, answers: Sequence[Sequence[int]], vocab: Vocab) -> None:
        for ids in answers:
            mean = torch.zeros(0)
            if self._embeddings is not None:
                mean = self._embeddings[torch.tensor(ids, device=self._embeddings.device)].float().mean(0).cpu()
            self._features[tuple(ids)] = Seen(features(vocab.detokenize(ids), vocab.is_eog(ids[-1])), mean)

    def turns(self, count: int, without: Collection[str] = ()) -> list[Turn]:
        """At most `count`: of a request the answers that he would like best and least, where that is clearest.

        None where the judgments say nothing of words, or there are fewer than LEAST requests. without: keys of turns
        that it must not have learned from.
        """
        if count <= 0 or len(self._drills) < LEAST or not self.taste.certain:
            return []
        taste = self.taste
        if without:
            rest = [turn for turn in self._judged if turn.key not in without]
            taste = Taste.again(rest, self._read, taste.ridge)
        found: list[tuple[float, int, Turn]] = []
        temperature = self._config.temperature or TEMPERATURE
        for at, (drill, messages, prompt) in enumerate(self._drills):
            scores = [taste.score(self._read(ids)) for ids in drill.answers]
            least, most = min(scores), max(scores)
            if least == most:
                continue
            best, worst = scores.index(most), scores.index(least)
            ends, pair = [drill.answers[best], drill.answers[worst]], PairRef(0, 1, self.weight)
            key = f"practice:{at}:{best}:{worst}"
            found.append(
                (least - most, at, Turn(key, "train", messages, prompt, ends, [pair], temperature=temperature))
            )
        return [turn for _, _, turn in sorted(found, key=lambda each: each[:2])[:count]]

    def _read(self, ids: Sequence[int]) -> Seen:
        return self._features[tuple(ids)]

    def figures(self) -> dict[str, float]:
        """For the run's metrics: requests at hand, and how many of the judgments left out the taste tells."""
        return {"practice.requests": len(self._drills), "practice.accuracy": self.taste.accuracy}


def _weight(turn: Turn) -> float:
    """Of what it says of answers."""
    return sum(pair.weight for pair in turn.pairs) + sum(single.weight for single in turn.singles)


@dataclass(frozen=True, slots=True)
class Fold:
    """Turns to be predicted, and the keys of those that the prediction learns from."""

    left_out: list[Turn]
    learned: list[str]
    practised: list[Turn]  #: of those learned from, by the judgments that are not left out


@dataclass(frozen=True, slots=True)
class SecondLook:
    """A K-fold of one run, planned before anything is computed: what it practises on must be among the run's words."""

    folds: list[Fold]

    @classmethod
    def plan(cls, practice: Practice, train: Sequence[Turn], tested: Sequence[Turn], config: TrainConfig) -> SecondLook:
        """train: what the run learns from; tested: those that are predicted."""
        found = []
        for part in gate.folds(len(tested), seed=config.seed):
            left_out = [tested[i] for i in part]
            keys = {turn.key for turn in left_out}
            rest = [turn.key for turn in train if turn.key not in keys]
            practised = practice.turns(config.practised(len(rest)), without=keys)
            found.append(Fold(left_out, [*rest, *(turn.key for turn in practised)], practised))
        return cls(found)

    def practised(self, but: Sequence[Turn]) -> list[Turn]:
        """What the folds practise on beyond these turns."""
        known = {turn.key for turn in but}
        more = {turn.key: turn for fold in self.folds for turn in fold.practised if turn.key not in known}
        return list(more.values())


if __name__ == "__main__":
    # FOLDER [MODEL]: all that a model answers, as it is shipped for the bundled one
    import sys

    from chatapp.engine.model_files import file_hash, resolve

    PATIENCE = SLOWEST = float("inf")
    folder = Path(sys.argv[1])  # where they go
    model = resolve(sys.argv[2] if len(sys.argv) > 2 else None, folder).path
    name = file_hash(model, folder)
    rows = write(model, folder, name, [], Callbacks(), lambda count: print(count, file=sys.stderr))
    (folder / f"{name[:16]}.jsonl.gz").write_bytes(gzip.compress(b"".join(map(line, rows)), mtime=0))
