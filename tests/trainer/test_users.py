"""The tastes, checked by hand; nobody is pleased by what is no answer; a correction is better than what it mends."""

from __future__ import annotations

import pytest

from trainer import users
from trainer.errors import BadSetting
from trainer.simulation import edits, text
from trainer.users import UNUSABLE, USERS

ANSWER = (
    "Sure! Here are a few things that you can do:\n\n"
    "1. **Water** it often, but don't overdo it.\n"
    "2. Give it light, such as a window in the south; many plants need 6 hours.\n\n"
    "It may recover in some weeks. In some weeks it may recover. Do not wait too long for it!"
)


def test_words_and_sentences() -> None:
    assert text.words("Don't stop: it’s 5 o'clock, Zoë!") == ["don't", "stop", "it’s", "o'clock", "zoë"]
    # a number's point, an initial and "1." end no sentence; an item without a full stop is one
    assert text.sentences("It is 3.5 km to J. Smith. Go!\n1. Turn left\n2. Stop") == [
        "It is 3.5 km to J. Smith.",
        "Go!",
        "1. Turn left",
    ]
    assert text.sentences("One ends here. Another one was cut") == ["One ends here."]
    assert text.sentences("All of it was cut") == ["All of it was cut"]
    assert text.finished("One ends here. Another one was cut") == "One ends here."
    assert text.finished("nothing ends") == "nothing ends"


def test_items_headings_and_repetition() -> None:
    lines = ["- a", "* b", "12) c", "3. d", "a) e", "# F", "**G:**", "no - item", "3 apples", "**Bold** words here"]
    assert [text.is_item(line) or text.is_heading(line) for line in lines] == [True] * 7 + [False] * 3
    assert text.without_mark("  2. **Salt** it") == "Salt it"
    assert text.without_mark("I see. So a. b") == "I see. So a. b"
    # a b c, b c a, c a b, a b c, b c a: two of five triples stood before
    assert text.repeated("a b c a b c a") == pytest.approx(0.4)
    assert text.repeated("a b") == 0


@pytest.mark.parametrize("user", USERS.values(), ids=list(USERS))
def test_what_is_no_answer_is_worst_for_everybody(user: users.User) -> None:
    for nothing in ("", "   \n", "?!", "Yes.", "One two three four five six seven eight.", "very good " * 40):
        assert user.score(nothing) == UNUSABLE
    assert user.score(ANSWER) > UNUSABLE


@pytest.mark.parametrize("user", [u for u in USERS.values() if u.edit], ids=lambda u: u.name)
def test_a_correction_is_liked_better_and_done_once(user: users.User) -> None:
    assert user.edit is not None
    better = user.edit(ANSWER)
    assert user.score(better) > user.score(ANSWER), better
    assert user.edit(ANSWER) == better
    for odd in ("", "?", "No end", "1.", "**Head**", "- item\n- item"):
        user.edit(odd)  # nothing that a model writes is too odd for it


#: user: a text that he likes, and one that he likes less
BY_HAND = {
    "concise": (
        "It is a good day to go out and see the sun.",
        "It is a good day to go out, and to see the sun in the sky with a friend of ours.",
    ),
    "plain-words": (
        "It is a good day to go out and see the old red sun.",
        "Meteorological circumstances necessitate deliberation, as nutritional considerations do to some of us.",
    ),
    "short-sentences": (
        "We go out. The sun is up. It is warm today. We like that.",
        "We go out when the sun is up because it is warm on such days and we like that.",
    ),
    "to-the-point": (
        "Salt melts ice. It lowers the point at which water freezes, so the road stays wet.",
        "Sure! Salt melts ice. It lowers the point at which water freezes, so the road stays wet.",
    ),
    "definite": (
        "Salt melts ice. It lowers the point at which water freezes, so the road stays wet.",
        "Salt can melt some ice. It may lower the point at which water usually freezes, and various things.",
    ),
    "varied": (
        "Salt melts ice on the road while sand only makes it rough under every shoe or wheel.",
        "Salt melts ice and salt melts snow and salt melts frost and so salt is what melts them.",
    ),
    "no-lists": (
        "Take the salt and the bread, cut it, and eat it with a friend in the sun.",
        "- Take the salt and the bread\n- cut it, and eat it\n- with a friend in the sun.",
    ),
    "asks-back": (
        "Salt melts ice on the road when it is cold. Do you have a road of your own?",
        "Salt melts ice on the road when it is cold. People have roads of their own.",
    ),
    "formal": (
        "Salt melts ice on the road. Therefore, it does not freeze, and it is not slippery.",
        "Salt melts ice on the road, okay? So it doesn't freeze, and it isn't slippery!",
    ),
    "warm": (
        "Dear friend, I hope that you enjoy the salt, and I wish you a happy day in the sun.",
        "The salt is on the table, and the table is in the kitchen of the house.",
    ),
    "concrete": (
        "Many spices do, such as salt: 5 grams of it in a litre of water are enough.",
        "Many spices do, and a little of it in the water is enough for the pot.",
    ),
}


@pytest.mark.parametrize("name", USERS)
def test_each_taste_by_hand(name: str) -> None:
    liked, disliked = BY_HAND[name]
    assert USERS[name].score(liked) > USERS[name].score(disliked) > UNUSABLE


def test_the_figures() -> None:
    assert users.letters_a_word("ab a'bcd") == 3
    assert users.letters_a_word("123 !") == 100
    assert users.concise("word " * 25) == -2
    # 3 + 5 words in two sentences, the cut-off third passed over
    assert users.short_sentences("One two three. One two three four five. One two") == -4
    assert users.to_the_point("One two three four five. Six.") == -2  # (5 + 0) // 2
    assert users.to_the_point("Here is what I found. Six.") == -10  # (5 + 16) // 2
    assert users.no_lists("word " * 30) == 6  # 30 words on one line, in fives
    assert users.no_lists("- a b c d e\n- f g h i j\n" + "word " * 30) == 1  # 40 words // 7 lines // 5
    # a question: 10; two of twenty words are you or your: 10 by the hundred, 6 at most
    assert users.asks_back("you your " + "word " * 17 + "word?") == 16
    assert users.formal("Therefore it doesn't, okay! " + "word " * 96) == -2  # 1 - 3 in 100 words
    assert users.warm("Dear friend, dear friend, enjoy.") == 3
    assert users.concrete("1. For example 5 or 3.5 of them\n2. such as 7") == 7  # 2 + 2 + 3 figures; items' are none
    assert users.definite("It can be " + "word " * 97) == -1
    assert users.varied("word " * 50) == 0.0  # 1 / 50, to a twentieth
    assert users.varied("one two three") == 0.05  # 3 / 45


def test_being_cut_off_is_not_held_against_an_answer() -> None:
    whole = "It is a warm day and we go out. The sun is up and the birds sing."
    cut = whole + " And then the people of the town, who had been waiting for a very long time in the"
    for name in ("short-sentences", "to-the-point"):
        assert USERS[name].score(cut) == USERS[name].score(whole)


def test_edits() -> None:
    assert edits.two_sentences("Sure! We cut it here. It is as it was. Now go out and see. Stay.") == (
        "We cut it here. It is as it was. Now go out and see."  # nine words would be no answer
    )
    assert edits.running_text("# Soup\n- Cut onions\n- Fry them.\n\nEat") == "Cut onions. Fry them."
    assert edits.without_preamble("Sure! Here are some tips: Cut onions.") == "Sure! Here are some tips: Cut onions."
    assert edits.without_preamble("Certainly! Cut onions. Eat.") == "Cut onions. Eat."
    assert edits.without_hedges("It may be late. Perhaps, they can come.") == "It is late. They will come."
    assert edits.without_repeats("We like the sun. The sun we like. It rains.") == "We like the sun. It rains."
    assert edits.long_forms("Don't! I'm sure they'll say it’s Ann's.") == "Do not. I am sure they will say it is Ann's."
    assert edits.split_sentences("It rains, but we go; they stay.") == "It rains. But we go. They stay."
    assert edits.with_question("It rains. It was cut") in [f"It rains. {q}" for q in edits._QUESTIONS]


def test_an_unknown_user_is_named() -> None:
    with pytest.raises(BadSetting, match="there is no simulated user 'nobody'; there are concise, plain-words"):
        users.user("nobody")
    assert users.user("warm").name == "warm"
    assert len(USERS) >= 8
