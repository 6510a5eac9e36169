"""Answers of the base to everyday requests of our own (assets/practice.jsonl), to practise a user's taste on.

A gradient of the model learns a taste from hundreds of compared answers and nobody ranks that many. taste.py tells
from a few dozen judgments, well enough, which of the base's answers to another request he would rather have; the
clearest of those pairs are learned beside the judgments. Nothing of the user's is in them, so they are kept outside the
home, by the model's hash. Those of the bundled model come with Hone; of another model a run writes some, as many as
PATIENCE allows, until there are enough: a model so slow that it would never be done is left alone.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chatapp.engine.base import EngineConfig, Message, PromptTooLong, Sampling
from chatapp.engine.vocab import Vocab
from storage.assets import asset
from trainer import gate
from trainer.config import TrainConfig
from trainer.dataset import PairRef, Turn
from trainer.features import Callbacks
from trainer.served import served
from trainer.taste import Taste, features

EACH = 4  #: answers to a request
MAX_TOKENS = 256  #: of an answer
TOKENS = 2 * MAX_TOKENS + 32  #: of a request and the two answers that are taken, at most
TEMPERATURE = 0.8
CONTEXT = 2048  #: tokens of the engine that writes them
PATIENCE = 120.0  #: seconds of a run that go into writing them
MOST = 400  #: judged turns that a taste is learned from, drawn at random; more cost seconds and tell little
LEAST = 16  #: requests with answers, below which nothing is practised
#: seconds of one request beyond which all of them would take many runs: then a run writes one and no more
SLOWEST = 20.0


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
    with suppress(FileNotFoundError):
        data += gzip.decompress(asset(f"practice/{model_hash[:16]}.jsonl.gz").read_bytes())
    with suppress(FileNotFoundError):
        data += b"\n" + written(cache_dir, model_hash).read_bytes()
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
    gguf: Path, cache_dir: Path, model_hash: str, wanted: int, calls: Callbacks, told: Callable[[int], object]
) -> list[Drill]:
    """Drills for a run that wants so many; where there are fewer, some are written now. Raises as `write` does."""
    known = drills(cache_dir, model_hash) if wanted else []
    if wanted and len(known) < max(wanted, LEAST):
        with suppress(OSError):  # a full disk: what there is will do
            return write(gguf, cache_dir, model_hash, known, calls, told)
    return known


def written(cache_dir: Path, model_hash: str) -> Path:
    """Where a run writes what this model answers."""
    return cache_dir / "practice" / f"{model_hash[:16]}.jsonl"


def write(
    gguf: Path,
    cache_dir: Path,
    model_hash: str,
    known: Sequence[Drill],
    calls: Callbacks,
    told: Callable[[int], object] = lambda count: None,
) -> list[Drill]:
    """Have the base answer requests that it has not, for at most PATIENCE seconds; returns all there are now.

    told: how many are answered, each time. Raises Cancelled between two requests; EngineError when the engine does not
    start.
    """
    left = [prompt for prompt in requests() if prompt not in {drill.prompt for drill in known}]
    if not left:
        return list(known)
    path = written(cache_dir, model_hash)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = list(known)
    started = time.monotonic()
    with served(EngineConfig(gguf, context_size=CONTEXT)) as engine, path.open("ab") as file:
        for prompt in left:
            if time.monotonic() - started > PATIENCE:
                break
            calls.before_batch()
            asked = time.monotonic()
            try:
                batch = engine.generate([Message(role="user", content=prompt)], EACH, sampling(prompt))
            except PromptTooLong:
                continue
            drill = Drill(prompt, [list(c.token_ids) for c in batch if c.token_ids])
            if len(drill.answers) > 1:
                found.append(drill)
                file.write(line(drill))
                file.flush()
            told(len(found))
            if time.monotonic() - asked > SLOWEST:
                break
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

    def __init__(self, known: Sequence[Drill], judged: Sequence[Turn], vocab: Vocab) -> None:
        """judged: those to train on, with all of their pairs. Texts are read here, so vocab may be closed after."""
        self._judged = judged = random.Random(0).sample(list(judged), min(len(judged), MOST)) if known else []
        self._drills = [(drill, [Message(role="user", content=drill.prompt)]) for drill in known]
        self._prompts = [vocab.prompt_ids(messages) for _, messages in self._drills]
        self._features = {
            tuple(ids): features(vocab.detokenize(ids), vocab.is_eog(ids[-1]))
            for answers in [*(drill.answers for drill in known), *(turn.responses for turn in judged)]
            for ids in answers
        }
        self.taste = Taste.learn(self._judged, self._read)

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
        for at, ((drill, messages), prompt) in enumerate(zip(self._drills, self._prompts, strict=True)):
            scores = [taste.score(self._read(ids)) for ids in drill.answers]
            least, most = min(scores), max(scores)
            if least == most:
                continue
            best, worst = scores.index(most), scores.index(least)
            ends, pair = [drill.answers[best], drill.answers[worst]], PairRef(0, 1, 1.0)
            key = f"practice:{at}:{best}:{worst}"
            found.append(
                (least - most, at, Turn(key, "train", messages, prompt, ends, [pair], temperature=TEMPERATURE))
            )
        return [turn for _, _, turn in sorted(found, key=lambda each: each[:2])[:count]]

    def _read(self, ids: Sequence[int]) -> Mapping[str, int]:
        return self._features[tuple(ids)]

    def figures(self) -> dict[str, float]:
        """For the run's metrics: requests at hand, and how many of the judgments left out the taste tells."""
        return {"practice.requests": len(self._drills), "practice.accuracy": self.taste.accuracy}


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
