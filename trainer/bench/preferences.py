"""Real people's preferences as `bench people` uses them: read, tokenised, split by prompt.

The files are not ours and lie outside the repository; docs/recipes.md says what is in them. The split is a
function of the file and of SEED alone: the same test pairs for everyone, training sets of which each holds the
smaller ones. Pairs whose conversations begin with the same message never lie on both sides.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from chatapp.engine.base import Message
from chatapp.engine.vocab import Vocab
from storage.formats.files import Skipped
from storage.formats.pairs import Record, read
from trainer.dataset import PairRef, Turn, fit_prompt
from trainer.errors import TrainerError
from trainer.evaluate import Example, grouped, read_examples

SEED = 7
TEST_PAIRS = 300
FILES = {"hh": "hh-harmless-test.jsonl.gz", "qa": "finegrained-qa-dev-feedback.json"}
WHAT = {"hh": "HH-RLHF harmless", "qa": "fine-grained QA feedback, four answers"}


@dataclass(slots=True)
class Split:
    """Pairs as tokens. `test_keys` names the prompt of each test pair, for a bootstrap over prompts."""

    train: list[Example]
    test: list[Example]
    test_keys: list[str]


def find(folder: Path, source: str) -> Path:
    """The file of a source. Raises TrainerError when it is not there."""
    path = folder / FILES[source]
    if not path.is_file():
        raise TrainerError(f"{path} is not there: give the folder that holds {' and '.join(FILES.values())} as --data")
    return path


def records(path: Path, source: str) -> Iterator[Record]:
    """The pairs of a file; what cannot be read is left out."""
    if source == "hh":
        return read(path, "hh-rlhf", skipped=Skipped())
    return _verdicts(path)


def _verdicts(path: Path) -> Iterator[Record]:
    """Six verdicts on each two of four answers: docs/recipes.md. The passages belong to the prompt."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        for place, row in enumerate(rows, 1):
            passages = "\n\n".join(" ".join(sentences) for _, *sentences in row["passages"])
            prompt = [{"role": "user", "content": f"{passages}\n\n{row['question']}"}]
            answers = [row[f"prediction {number}"] for number in (1, 2, 3, 4)]
            for (first, second), verdict in zip(combinations(answers, 2), row["preference"], strict=True):
                if verdict and first != second:
                    better, worse = (first, second) if verdict == 1 else (second, first)
                    yield Record(place, prompt, better, worse)
    except (ValueError, KeyError, TypeError) as error:
        raise TrainerError(f"{path.name} is not the fine-grained feedback that docs/recipes.md describes") from error


def split(
    path: Path,
    source: str,
    vocab: Vocab,
    *,
    test_pairs: int = TEST_PAIRS,
    train_pairs: int,
    max_prompt: int,
    max_response: int,
) -> Split:
    """The test pairs and the first train_pairs of the others, prompt by prompt in a fixed random order.

    max_prompt, max_response: tokens. A longer dialogue loses its oldest turns; what does not fit even so is left out.
    The test set is whole prompts, of at least test_pairs pairs. Raises TrainerError when there are too few pairs.
    """
    groups: dict[str, list[Record]] = {}
    for record in records(path, source):
        opening = next((m["content"] for m in record.prompt if m["role"] == "user"), "")
        groups.setdefault(opening, []).append(record)
    order = sorted(groups)
    random.Random(SEED).shuffle(order)
    test: list[Record] = []
    train: list[Record] = []
    for key in order:
        usable = [r for r in groups[key] if _fits(r, vocab, max_prompt)]
        if len(test) < test_pairs:
            test += usable
        elif len(train) < train_pairs:
            train += usable
        else:
            break
    if len(test) < test_pairs or len(train) < train_pairs:
        raise TrainerError(
            f"{path.name} holds {len(test) + len(train)} pairs that fit; {test_pairs} for the test and {train_pairs} "
            "to learn from are wanted"
        )

    def tokens(chosen: Sequence[Record]) -> list[Example]:
        return read_examples(chosen, vocab, max_prompt=max_prompt, max_response=max_response)[0]

    keys = [next((m["content"] for m in r.prompt if m["role"] == "user"), "") for r in test]
    return Split(tokens(train[:train_pairs]), tokens(test), keys)


def _fits(record: Record, vocab: Vocab, max_prompt: int) -> bool:
    """Whether the prompt can be made short enough, and both answers say something."""
    prompt = [Message(role=m["role"], content=m["content"]) for m in record.prompt]
    says = record.chosen.strip() and record.rejected.strip()
    return bool(says) and fit_prompt(vocab, prompt, max_prompt) is not None


def turns(examples: Sequence[Example]) -> list[Turn]:
    """What a run would learn from: the pairs of one prompt as one turn, each of weight 1, each distinct answer once."""
    result = []
    for place, (tokens, pairs) in enumerate(grouped(examples)):
        turn = Turn(str(place), "train", [], list(tokens.prompt), [list(r) for r in tokens.responses])
        for pair in pairs:
            chosen, rejected = turn.index(pair.chosen), turn.index(pair.rejected)
            if chosen != rejected:
                turn.pairs.append(PairRef(chosen, rejected, 1.0))
        result.append(turn)
    return [t for t in result if t.pairs]
