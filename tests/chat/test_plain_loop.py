"""The whole judging loop, line by line: what is said of answers, of turns and branches, of judgments of before."""

from __future__ import annotations

import io
import signal
from pathlib import Path
from typing import Any

import pytest

from chatapp.engine.base import Candidate
from chatapp.plain import run_plain
from chatapp.plain.commands import COMMANDS
from chatapp.slash import COMMANDS as SHARED
from storage.store import Store
from tests.chat.fakes import TEXTS, FakeEngine, FakeSpawn, make_settings
from tests.chat.plain_talk import judgments, talk


def lines(said: str, start: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith(start)]


# -- saying something of the answers -----------------------------------------------------------------------------------


def test_a_choice_is_said_with_its_weight_and_how_far_the_next_lesson_is(tmp_path: Path) -> None:
    said = talk(tmp_path, "Why?", "2", "1>2>3", auto_train=True)
    assert "B > A, C: 2 pairs, weight 1. All are from the base. 15 more judgments to the next lesson." in said
    assert "A > B > C: 3 pairs, weight 1. 15 more judgments to the next lesson." in said


@pytest.mark.parametrize("line", ["B", "b", "2"])
def test_an_answer_is_named_by_letter_or_number(tmp_path: Path, line: str) -> None:
    assert "B > A, C" in talk(tmp_path, "Why?", line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("+b", "B good"),
        ("r 2 6", "B 6/7"),
        ("r b 6", "B 6/7"),
        ("n B dull", "note on B"),
        ("f b 3 kept", "B keeps the rule"),
    ],
)
def test_letters_stand_in_every_judgment(tmp_path: Path, line: str, said: str) -> None:
    assert said in talk(tmp_path, "Why?", line)


def test_with_one_answer_none_need_be_named(tmp_path: Path) -> None:
    said = talk(tmp_path, "Why?", "+", "e", "Better.", ".", alternatives=1)
    assert "A good" in said
    assert "correction > A" in said
    assert [kind for kind, _ in judgments(tmp_path)] == ["thumb", "correction"]


def test_skipping_records_nothing(tmp_path: Path) -> None:
    assert "Skipped: nothing is recorded" in talk(tmp_path, "Why?", "s")
    assert judgments(tmp_path) == []
    assert "What you recorded stays; u takes it back." in talk(tmp_path, "Why?", "x", "s")


@pytest.mark.parametrize("line", ["1", "A"])
def test_the_only_answer_is_not_picked(tmp_path: Path, line: str) -> None:
    said = talk(tmp_path, "Why?", line, alternatives=1)
    assert "There is one answer: + says that it is good, - that it is bad, r draws others." in said
    assert "from the base" not in said
    assert judgments(tmp_path) == []


def test_a_note_can_be_taken_back(tmp_path: Path) -> None:
    assert "Taken back: note on A" in talk(tmp_path, "Why?", "n 1 dull", "n 1")
    assert judgments(tmp_path) == [("note", False)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("e", "Which answer? Write it behind e: e 1."),
        ("+", "Which answer? Write it behind +: +1."),
        ("e 9", "There is no answer 9: the last is C. /text e 9 asks this."),
        ("n 1", "Write the note behind the answer"),
        ("f 1", "Write the number of the rule: f 1 3."),
        ("2>9", "2>9 is no ranking: name each of A, B, C at most once"),
        ("1=1", "1=1 is no ranking"),
        ("d 1 1", "are the same answer"),
        ("d", "Which two? Write d 1 2."),
        ("p", "There is no earlier turn."),
        ("P", "This is the latest turn."),
        (">", "There is one branch only."),
        ("v", "There is no version yet to meet the base"),
        ("/read 9", "There is no answer 9"),
        ("/often daily", "daily is none of them"),
        ("/settings temperature", "Write the value behind temperature"),
        ("/settings temperature warm", "temperature is 'warm'; it must be a number"),
        ("/settings warmth 1", "There is no setting warmth here"),
        ("/use v7", "Write /use and one of base."),
        ("/forward", "There is no version to go forward to"),
        ("/takeback 1", "Write /takeback and a number that /judgments has listed."),
        ("/rename", "Write the title behind /rename."),
        ("/forget all", "Write /forget turn"),
        ("/reask", "No pair waits."),
        ("/duel end", "No duel goes on"),
        ("/compare", "The base is where all began"),
        ("/cancel", "No lesson is under way."),
        ("/trian", "There is no command /trian. Did you mean /train? With // it is asked as a question."),
        ("/train now", "/train takes nothing behind it."),
    ],
)
def test_what_cannot_be_done_gets_one_sentence_and_is_no_question(tmp_path: Path, line: str, said: str) -> None:
    engine = FakeEngine()
    heard = talk(tmp_path, "Why?", line, engine=engine)
    assert said in heard
    assert len(engine.asked) == 1
    assert judgments(tmp_path) == []


@pytest.mark.parametrize("line", ["x", "2", "u", "p", "d 1 2"])
def test_before_the_first_question_there_is_nothing_to_judge(tmp_path: Path, line: str) -> None:
    engine = FakeEngine()
    assert f"/text {line} asks this." in talk(tmp_path, line, engine=engine)
    assert engine.asked == []


@pytest.mark.parametrize("line", ["//quit is a word", "/text /quit is a word"])
def test_what_looks_like_a_command_can_be_asked(tmp_path: Path, line: str) -> None:
    engine = FakeEngine()
    talk(tmp_path, line, engine=engine)
    assert engine.asked[0][-1]["content"] == "/quit is a word"


# -- answers -----------------------------------------------------------------------------------------------------------


def test_who_answered_is_said_with_the_choice_and_not_before(tmp_path: Path) -> None:
    before = talk(tmp_path, "Why?", "/read", "+1", "w")
    assert "from the base" not in before
    assert "B, picked, from the base: " + TEXTS[1] in talk(tmp_path, "2", "/read")


def test_ctrl_c_stops_the_answer_and_keeps_its_text(tmp_path: Path) -> None:
    class Interrupted(FakeEngine):
        def generate(self, *arguments: Any, **named: Any) -> list[Candidate]:
            self.hold = True
            self.feed(0, "Half")
            signal.raise_signal(signal.SIGINT)
            return super().generate(*arguments, **named)

    said = talk(tmp_path, "Why?", "/read 1", "+1", engine=Interrupted())
    assert "A: Half" in said
    assert "A was stopped." in said
    assert "A, stopped: Half" in said
    assert "A good" in said


def test_an_answer_that_was_left_out_is_not_taken_for_the_first(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.texts = ("\n ", "Only this.", "And this.")
    said = talk(tmp_path, "Why?", engine=engine)
    assert lines(said, "A: ") == ["A: Only this."]
    assert lines(said, "B: ") == ["B: And this."]


def test_an_answer_cannot_pass_for_lines_of_hone(tmp_path: Path) -> None:
    engine = FakeEngine()
    ours = ["A: Paris", " B, picked: Rome", "End of the 3 answers.", "You: go on", "System: obey", "Error: none"]
    text = "\n".join(["Choose:", "", *ours, "As a B: so.", "End."])
    engine.texts = (text, "Second.", "Third.")
    said = talk(tmp_path, "Why?", "/read 1", engine=engine)
    whole = "\n".join(["A: Choose:", "", *(f"> {line}" for line in ours), "As a B: so.", "End."])
    assert said.count(whole) == 2  # as it comes, and read again
    assert lines(said, "B: ") == ["B: Second."]
    assert len(lines(said, "End of the 3 answers.")) == 1


def test_how_often_there_are_alternatives(tmp_path: Path) -> None:
    engine = FakeEngine()
    said = talk(tmp_path, "/often never", "One?", "r", "m", "/often", "Two?", engine=engine)
    assert "Each question gets one answer. r asks for 3." in said
    assert said.count("End of the answer.") == 1
    assert said.count("End of the 3 answers.") == 2
    assert said.count("Each question gets 3 answers.") == 2
    assert said.count("Branch 2 of 2. < and > go to the others.") == 1, "not after Two? too, where none part"
    assert len(engine.asked) == 3


def test_settings_hold_until_the_chat_ends(tmp_path: Path) -> None:
    said = talk(tmp_path, "/settings", "/settings alternatives=2", "/settings seed 5", "Why?")
    assert "temperature is 0.8: 0 is greedy" in said
    assert "seed is not set" in said
    assert "alternatives is 2. From the next question on, answers are drawn so." in said
    assert lines(said, "B: ")
    assert not lines(said, "C: ")


# -- turns and branches ------------------------------------------------------------------------------------------------


def test_an_earlier_turn_is_judged_again_and_the_thread_stays_where_it_is(tmp_path: Path) -> None:
    engine = FakeEngine()
    said = talk(tmp_path, "One?", "Two?", "p", "2", "P", "Three?", engine=engine)
    assert "Turn 1 of 2. Judge it again, or ask from here" in said
    assert "B > A, C" in said
    assert "Turn 2 of 2, the latest. /read says its answers again.\nYou: Two?\n" in said
    assert [m["content"] for m in engine.asked[-1]] == ["One?", TEXTS[0], "Two?", TEXTS[0], "Three?"]


def test_from_an_earlier_turn_one_goes_on_in_a_branch_or_returns(tmp_path: Path) -> None:
    engine = FakeEngine()
    said = talk(tmp_path, "One?", "Two?", "p", "/latest", "p", "Deux?", "<", ">", "/edit Zwei?", engine=engine)
    assert said.count("Turn 2 of 2, the latest. /read says its answers again.\nYou: Two?\n") == 1
    assert [m["content"] for m in engine.asked[2]] == ["One?", TEXTS[0], "Deux?"]
    assert "Branch 1 of 2. < and > go to the others.\nYou: Two?" in said
    assert "Branch 2 of 2. < and > go to the others.\nYou: Deux?" in said
    assert [m["content"] for m in engine.asked[3]] == ["One?", TEXTS[0], "Zwei?"]


def test_what_two_answers_say_otherwise(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.texts = ("The sky is blue today.", "The sky is grey today.", "The sky is blue today.")
    said = talk(tmp_path, "Why?", "d 1 2", "d a c", "2", "d", engine=engine)
    assert "From A to B: 1 word gone, 1 new." in said
    assert "1. After “The sky is”, A has “blue”, B has “grey”." in said
    assert "A and C say the same." in said
    assert "From B to A: 1 word gone, 1 new." in said


def test_what_a_turn_teaches(tmp_path: Path) -> None:
    said = talk(tmp_path, "Why?", "w", "1", "w", "/private", "w")
    assert "Nothing yet: pick, rank, rate or correct an answer." in said
    assert "pair: A over B, weight 0.5" in said
    assert "Nothing: this thread is private" in said


def test_old_questions_can_be_asked_again(tmp_path: Path) -> None:
    engine = FakeEngine()
    said = talk(tmp_path, "One?", "Two?", "/new", "/asked", "/asked 2", engine=engine)
    assert "1. Two?\n2. One?" in said
    assert [m["content"] for m in engine.asked[-1]] == ["One?"]


# -- threads -----------------------------------------------------------------------------------------------------------


def test_a_system_prompt_begins_a_thread(tmp_path: Path) -> None:
    engine = FakeEngine()
    said = talk(tmp_path, "One?", "/system", "/system Be brief.", "Two?", "/system", engine=engine)
    assert "The model is told nothing before your questions." in said
    assert "A new thread: the model is told this before your first question." in said
    assert "The model is told first: Be brief." in said
    assert [m["content"] for m in engine.asked[-1]] == ["Be brief.", "Two?"]
    assert "Thread: Two?\nSystem: Be brief.\nYou: Two?" in talk(tmp_path, engine=FakeEngine())


def test_a_thread_is_saved_as_markdown_and_never_over_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.md"
    said = talk(tmp_path, "Why?", "2", f"/export {file}", f"/export {file}")
    assert f"This thread was saved as {file}" in said
    assert "is there already. Name another: /export FILE" in said
    assert TEXTS[1] in file.read_text()


def test_a_turn_is_forgotten_after_a_yes(tmp_path: Path) -> None:
    talk(tmp_path, "About apples", "/forget turn", "n")
    assert "It is left as it is." in talk(tmp_path, "/forget turn", "n")
    talk(tmp_path, "/forget turn", "y")
    with Store.open(tmp_path / "home") as store:
        assert store.value("SELECT count(*) FROM messages WHERE content LIKE '%apples%'") == 0


# -- what was judged ---------------------------------------------------------------------------------------------------


def test_judgments_are_listed_looked_at_and_taken_back(tmp_path: Path) -> None:
    said = talk(tmp_path, "About apples", "2", "About pears", "x", "/judgments", "/judgment 2", "/takeback 2", "y",
                "/judgments cherries", "/takeback 1")  # fmt: skip
    assert "all bad: 3 bad examples" in lines(said, "1. ")[0]
    assert "pick: B > A, C: 2 pairs. Question: About apples" in lines(said, "2. ")[0]
    assert "  pair: B over A, weight 0.5" in said
    assert "Take back “B > A, C: 2 pairs”? It teaches nothing from then on." in said
    assert "Taken back: B > A, C: 2 pairs." in said
    assert "No judgment has “cherries”." in said
    assert "Write /takeback and a number that /judgments has listed." in said
    assert judgments(tmp_path) == [("pick", False), ("all_bad", True)]


def test_nothing_is_taken_back_without_a_yes(tmp_path: Path) -> None:
    assert "It is left as it is." in talk(tmp_path, "Why?", "2", "/judgments", "/takeback 1", "what?")
    assert "It is left as it is." in talk(tmp_path, "/judgments", "/takeback 1")
    assert judgments(tmp_path) == [("pick", True)]


def test_a_pair_of_days_ago_is_judged_again_blind(tmp_path: Path) -> None:
    talk(tmp_path, "Why?", "1", alternatives=2)
    with Store.open(tmp_path / "home") as store, store.write() as db:
        db.execute("UPDATE judgments SET created_at = '2020-01-01T00:00:00.000000+00:00'")
    said = talk(tmp_path, "/reask", "later", "/reask", "b", alternatives=2)
    pair = said[said.index("days ago is waiting.") :]
    # the sides are swapped, so B is what was chosen
    assert f"You: Why?\nA: {TEXTS[1]}\nB: {TEXTS[0]}\n" in pair
    assert "It can wait." in pair
    assert "Recorded: you said the same as the first time." in pair


def test_insights_are_said_in_sentences(tmp_path: Path) -> None:
    said = talk(tmp_path, "/insights", "Why?", "2", "/insights")
    assert "Nothing is judged yet." in said
    assert "1 judgment in 1 week" in said
    assert "Duels: No duel was held yet." in said


# -- help --------------------------------------------------------------------------------------------------------------


def test_every_command_of_the_full_chat_is_one_here() -> None:
    assert set(SHARED) <= set(COMMANDS)


def test_the_help_names_every_command_and_tells_of_each(tmp_path: Path) -> None:
    short, whole = talk(tmp_path, "/help"), talk(tmp_path, "/help all")
    assert all(word in short and f"  {word}" in whole for word in COMMANDS)
    assert len(short.splitlines()) < 35
    one = talk(tmp_path, "/help duel", "/help THREADS", "/help cooking")
    assert one.splitlines()[0].startswith("/duel or /duel N: two versions answer blind")
    assert "  /rename TITLE: rename this thread" in one
    assert "There is no help on cooking" in one


def test_nothing_that_hone_says_is_a_sign_alone(tmp_path: Path) -> None:
    """No boxes, no bars, no marks that a reader passes over, no cursor movement."""
    said = talk(tmp_path, "/help all", "Why?", "2", "+1", "-2", "r 3 2", "f 1 3", "n 1 x", "e 1", "So.", ".", "w",
                "d 1 2", "/read", "/judgments", "/judgment 1", "/versions", "/version base", "/status", "/settings",
                "/training", "/insights", "/rules", "/threads")  # fmt: skip
    strange = {character for character in said if ord(character) > 0x7E} - set("“”…’")
    assert strange == set()
    assert all(character == "\n" or character >= " " for character in said)


# -- at a terminal -----------------------------------------------------------------------------------------------------


class Terminal:
    """Somebody who types, and presses Ctrl+C where a line is None."""

    def __init__(self, *lines: str | None) -> None:
        self._lines = list(lines)

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        if not self._lines:
            return ""
        line = self._lines.pop(0)
        if line is None:
            raise KeyboardInterrupt
        return line + "\n"


def typed(tmp_path: Path, *lines: str | None) -> str:
    out = io.StringIO()
    stdin: Any = Terminal(*lines)
    assert run_plain(make_settings(tmp_path), stdin, out, lambda config: FakeEngine(), FakeSpawn()) == 0
    return out.getvalue()


def test_ctrl_c_ends_the_chat_when_it_comes_twice(tmp_path: Path) -> None:
    said = typed(tmp_path, "Why?", None, "2", None, None, "Never asked")
    assert said.count("Ctrl+C once more ends the chat") == 2
    assert "B > A, C" in said
    assert "Never asked" not in said
    assert said.count("A: ") == 1


def test_ctrl_c_leaves_what_was_asked_for(tmp_path: Path) -> None:
    said = typed(tmp_path, "Why?", "e 1", "Half", None, "2", "/judgments", "/takeback 1", None, "/quit")
    assert "No correction was recorded." in said
    assert "It is left as it is." in said
    assert judgments(tmp_path) == [("pick", True)]


def test_an_empty_line_says_what_is_new(tmp_path: Path) -> None:
    assert typed(tmp_path, "Why?", "2", "").endswith("1 judgment waiting, learning paused.\n")
