"""What scripted users say of answers, and how versions are compared in their eyes."""

from __future__ import annotations

import pytest

from chatapp.engine.base import Message
from tests.trainer.simulated import FakeEngine
from trainer.simulation.answers import sampling
from trainer.simulation.comparing import spread, win_rate
from trainer.simulation.judging import Correction, Judge, Ranking, Said, Thumbs
from trainer.simulation.prompts import drawn
from trainer.users import USERS, User

LENGTH = User("short", "fewer letters", True, lambda text: -float(len(text)))
PAD = "one two three four five six seven eight nine ten eleven twelve"


def texts(*lengths: int) -> list[str]:
    return [PAD + " " + "x" * n for n in lengths]


def test_a_ranking_has_ties_and_none_is_made_where_all_are_tied() -> None:
    judge = Judge(LENGTH)
    assert judge.judge("a", texts(3, 1, 3, 2)) == Ranking([[1], [3], [0, 2]])
    assert judge.judge("b", texts(2, 2, 2, 2)) is None
    assert judge.judge("c", ["", "no", *texts(1, 9)]) == Ranking([[2], [3], [0, 1]])


def test_thumbs_compare_with_the_median_so_far() -> None:
    judge = Judge(LENGTH, "thumbs")
    # scores -1 -2 -3 -4: the lower middle is -3
    assert judge.judge("a", texts(1, 2, 3, 4)) == Thumbs({0: 1, 1: 1, 3: -1})
    # with five, six, seven, eight more the lower middle of the eight is -5
    assert judge.judge("b", texts(5, 6, 7, 8)) == Thumbs({1: -1, 2: -1, 3: -1})


def test_a_correction_is_an_edit_or_the_best_in_place_of_the_worst() -> None:
    without = Judge(LENGTH, "corrections")
    given = [*texts(3, 1, 2), PAD + ". And it was cut"]
    assert without.judge("a", given) == Correction(3, given[1], [2, 0, 3])
    assert without.judge("b", texts(1, 1, 1, 1)) is None
    cut = [PAD + ". And then it was cut", *texts(70, 80, 90)]
    assert without.judge("c", cut) == Correction(3, PAD + ".", [1, 2, 3])  # what is written does not break off
    edited = User("short", "", True, LENGTH.taste_of, lambda text: text.replace(" twelve", " 12"))
    best = texts(1)[0]
    assert Judge(edited, "corrections").judge("d", texts(3, 1, 2, 2)) == Correction(
        1, best.replace(" twelve", " 12"), [0, 1, 2, 3]
    )


def said(judge: Judge, count: int) -> list[Said | None]:
    engine = FakeEngine()
    found = []
    for prompt in drawn("pool", 0)[:count]:
        batch = engine.generate([Message(role="user", content=prompt)], 4, sampling(prompt, "judged"))
        found.append(judge.judge(prompt, [c.text for c in batch]))
    return found


@pytest.mark.parametrize("kinds", ["rankings", "thumbs", "corrections", "mixed"])
def test_the_first_ten_of_forty_are_the_ten(kinds: str) -> None:
    user = USERS["plain-words"]
    assert said(Judge(user, kinds, flip=0.2), 40)[:10] == said(Judge(user, kinds, flip=0.2), 10)


def test_mixed_takes_the_kinds_in_turn() -> None:
    kinds = [type(s) for s in said(Judge(USERS["plain-words"], "mixed"), 12) if s is not None]
    assert kinds == [Ranking, Thumbs, Correction] * (len(kinds) // 3) + [Ranking, Thumbs][: len(kinds) % 3]


def test_flips_turn_the_same_judgments_round_whatever_the_kind() -> None:
    user = USERS["plain-words"]
    plain, flipped = said(Judge(user), 200), said(Judge(user, flip=0.2), 200)
    turned = []
    for at, (a, b) in enumerate(zip(plain, flipped, strict=True)):
        if a != b:
            assert isinstance(a, Ranking)
            assert b == Ranking(a.groups[::-1])
            turned.append(at)
    assert 0.12 * 200 <= len(turned) <= 0.28 * 200
    up, down = said(Judge(user, "thumbs"), 200), said(Judge(user, "thumbs", flip=0.2), 200)
    for at, (a, b) in enumerate(zip(up, down, strict=True)):
        if isinstance(a, Thumbs):
            assert isinstance(b, Thumbs)
            assert b.values == ({i: -v for i, v in a.values.items()} if at in turned else a.values)
    wrong = said(Judge(user, "corrections", flip=1.0), 3)[0]
    right = said(Judge(user, "corrections"), 3)[0]
    assert isinstance(wrong, Correction)
    assert isinstance(right, Correction)
    assert user.score(wrong.text) < user.score(right.text)


def test_the_win_rate_counts_ties_half_and_resamples_prompts() -> None:
    # 2 x 2 meetings each: 4 won; 1 won, 1 lost, 2 tied
    found = win_rate([[5, 6], [1, 2]], [[1, 2], [1, 2]])
    assert (found.rate, found.meetings) == (0.75, 8)
    assert (found.low, found.high) == (0.5, 1.0)
    sure = win_rate([[1.0]] * 30 + [[0.0]] * 10, [[0.5]] * 40)
    # 30 of 40: the normal approximation says 0.616 to 0.884
    assert sure.low == pytest.approx(0.616, abs=0.03)
    assert sure.high == pytest.approx(0.884, abs=0.03)
    with pytest.raises(ValueError, match="same prompts"):
        win_rate([], [])
    assert spread([[1, 1, 1], [1, 1, 2]]) == {"tied_turns": 0.5, "tied_pairs": 4 / 6}
