"""What judgments say of words: features, the fit against its own optimality, and when it knows nothing."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
import torch

from trainer.dataset import PairRef, SingleRef, Turn
from trainer.taste import Read, Seen, Taste, _Table, features

WORDS = ["the", "cat", "sat", "on", "a", "mat", "saw", "one", "more", "bird", "fly", "over", "grey", "roofs", "rain"]


def texts_of(answers: list[str]) -> list[list[int]]:
    return [list(text.encode()) for text in answers]


def seen(text: str) -> Seen:
    """Words alone."""
    return Seen(features(text, True), torch.zeros(0))


def read(ids: list[int]) -> Seen:
    return seen(bytes(ids).decode())


def embedded(ids: list[int]) -> Seen:
    """With a mean embedding too: the share of a's and of b's among the letters, and two numbers that are the text's."""
    text = bytes(ids).decode()
    draw = random.Random(text)
    mean = torch.tensor([text.count("a") / len(text), text.count("b") / len(text), draw.random(), draw.random()])
    return Seen(features(text, True), mean)


def turn(number: int, answers: list[str], pairs: list[tuple[int, int]], weight: float = 1.0) -> Turn:
    found = Turn(str(number), "train", [], [1], texts_of(answers))
    found.pairs = [PairRef(a, b, weight / len(pairs)) for a, b in pairs]
    return found


def rankings(count: int, seed: int, judge: str) -> list[Turn]:
    """Four answers of random words to each prompt; "rain": who has more of it is better; "dice": nobody knows."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        answers = [" ".join(draw.choices(WORDS, k=20)) for _ in range(4)]
        score = [a.split().count("rain") if judge == "rain" else draw.random() for a in answers]
        pairs = [(i, j) for i in range(4) for j in range(4) if score[i] > score[j]]
        if pairs:
            found.append(turn(number, answers, pairs))
    return found


def test_words_marks_digits_lines_and_lengths_are_counted() -> None:
    found = features("Don’t stop:\n\n1. Stop IT", False)
    assert found == {
        "don't": 1, "stop": 2, "it": 1, ":": 1, "\n\n": 1, "1": 1, ".": 1,
        "letters 5": 1, "letters 4": 2, "letters 2": 1, "cut off": 1,
    }  # fmt: skip
    assert features("", True) == {"the end": 1}
    assert features("x" * 40, True)["letters 12"] == 1


def test_a_word_that_he_likes_is_found_among_others() -> None:
    taste = Taste.learn(rankings(32, 1, "rain"), read)
    assert max(taste.weights, key=lambda word: taste.weights[word]) == "rain"
    assert taste.accuracy > 0.85
    assert taste.certain
    assert taste.score(seen("rain and rain")) > taste.score(seen("a cat and a mat"))


def test_with_a_known_ridge_the_same_is_learned() -> None:
    turns = rankings(32, 1, "rain")
    first = Taste.learn(turns, read)
    again = Taste.again(turns, read, first.ridge)
    assert again.weights == first.weights
    assert not again.certain  # nobody looked
    assert Taste.again([], read, first.ridge).weights == {}


def test_dice_teach_nothing() -> None:
    """The share of right guesses on prompts that were left out stays near a half."""
    found = [Taste.learn(rankings(32, seed, "dice"), read) for seed in range(20)]
    assert sum(t.accuracy for t in found) / len(found) == pytest.approx(0.5, abs=0.06)
    assert sum(t.certain for t in found) <= 8


@pytest.mark.parametrize("look", [read, embedded])
def test_the_weights_are_where_the_loss_is_flat(look: Read) -> None:
    """d/dw [sum_c v_c log(1 + exp(-d_c w)) + r s w^2 / 2] = 0, by a loop over comparisons and words."""
    turns = rankings(6, 3, "rain")
    table = _Table.of(turns, look)
    ridge = 0.1
    weights = table.fit(torch.ones(len(table.weights), dtype=torch.bool), ridge)
    dense = torch.zeros(len(table.weights), len(table.words))
    dense[table.row, table.word] = table.value / table.norm
    dense = torch.cat([dense, table.dense], 1)
    size = float((dense**2).sum()) / len(dense)
    assert size == pytest.approx(table.size, rel=1e-5)
    for word in range(len(weights)):
        slope = ridge * size * float(weights[word])
        for row, weight in zip(dense, table.weights, strict=True):
            slope -= float(weight * row[word]) / (1 + math.exp(float(row @ weights)))
        assert slope == pytest.approx(0.0, abs=2e-3)


def test_a_pair_is_the_difference_of_the_roots_of_counts() -> None:
    table = _Table.of([turn(0, ["aa aa aa aa", "bb"], [(0, 1)])], read)
    row = {table.words[word]: value for word, value in zip(table.word.tolist(), table.value.tolist(), strict=True)}
    assert row == {"aa": 2.0, "letters 2": 2.0 - 1.0, "bb": -1.0, "the end": 0.0}


def test_what_words_do_not_say_embeddings_may() -> None:
    """He likes letters a; each word is one that was never judged, so that words alone tell nothing."""
    draw = random.Random(4)
    turns = []
    for number in range(40):
        answers = ["".join(draw.choices("ab", weights=[share, 1 - share], k=24)) for share in (0.7, 0.6, 0.4, 0.3)]
        score = [answer.count("a") for answer in answers]
        turns.append(turn(number, answers, [(i, j) for i in range(4) for j in range(4) if score[i] > score[j]]))
    words, both = Taste.learn(turns, read), Taste.learn(turns, embedded)
    assert words.accuracy == pytest.approx(0.5, abs=0.1)
    assert both.accuracy > 0.85
    more, fewer = ("".join(draw.choices("ab", weights=[w, 1 - w], k=24)) for w in (0.8, 0.2))
    assert both.score(embedded(list(more.encode()))) > both.score(embedded(list(fewer.encode())))


def test_single_answers_are_compared_with_all_of_them() -> None:
    turns = []
    for number in range(24):
        good = number % 2 == 0
        text = "mat grey rain" if good else "mat grey roofs"
        turns.append(Turn(str(number), "train", [], [1], texts_of([text]), singles=[SingleRef(0, good, 1.0)]))
    taste = Taste.learn(turns, read)
    assert taste.weights["rain"] > 0 > taste.weights["roofs"]
    assert taste.weights["mat"] == pytest.approx(0.0, abs=1e-3)
    assert taste.certain


def test_what_weighs_little_says_little_of_how_sure_it_is() -> None:
    """Thirty-two rankings of one's own beside two hundred of dice at a hundredth each: 32 + 2 by weight."""
    own = rankings(32, 1, "rain")
    dice = rankings(200, 2, "dice")
    for turn in dice:
        turn.key = f"dice {turn.key}"
        turn.pairs = [replace(pair, weight=pair.weight / 100) for pair in turn.pairs]
    taste = Taste.learn([*own, *dice], read)
    assert taste.certain
    assert taste.accuracy > 0.85
    total = sum(pair.weight for turn in [*own, *dice] for pair in turn.pairs)
    assert taste.prompts == pytest.approx(total**2 / (len(own) + len(dice) / 100**2))


def test_too_little_to_learn_from_is_no_taste() -> None:
    assert not Taste.learn([], read).certain
    alone = Taste.learn([turn(0, ["rain", "sun"], [(0, 1)])], read)  # nothing left to test it on
    assert not alone.certain
    assert alone.weights["rain"] > alone.weights["sun"]
