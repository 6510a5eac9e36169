"""What the gate found, as the chat and the pages say it: the same thing everywhere, and in plain words first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chatapp.gate_words import as_sentence, told
from chatapp.lineage import Looked, Row, details
from chatapp.watching import watch
from storage.store import Store
from tests.chat.plain_talk import talk
from trainer.gate import Answers, Bound, Evidence, decide

Open = Callable[..., Any]


def evidence(**about: Any) -> Evidence:
    usual: dict[str, Any] = {
        "gain": Bound(-0.01, -0.023, 0.95, 12), "new_loss": 0.703, "live_loss": 0.693, "live_name": "the base",
        "pooled": True, "neutral_rise": 0.004, "kl": 0.02,
    }  # fmt: skip
    return Evidence(**{**usual, **about})


REFUSED = decide(evidence()).sentence
METRICS = {
    "gate.gain": -0.01, "gate.bound": -0.023, "gate.prompts": 12.0, "gate.new_loss": 0.703, "gate.live_loss": 0.693,
    "data.prompts": 12.0, "data.held_out_prompts": 2.0,
}  # fmt: skip


def test_a_refusal_is_said_in_plain_words_and_figures_after() -> None:
    assert REFUSED.startswith("Refused: it is not surely better on 12 judged prompts (each left out in turn): ")
    plain = (
        "on 12 judged prompts, each left out in turn, it was not surely better (gain -0.010, perhaps as low as -0.023 "
        "at 95 % certainty; log-loss 0.703 against 0.693 of the base)"
    )
    assert told(REFUSED) == f"{plain}."
    assert as_sentence(f"{REFUSED} Some were left out.") == f"O{plain[1:]}. Some were left out. More judgments help."
    both = decide(evidence(kl=0.2)).sentence
    assert told(both) == f"{plain}; it drifted 0.200 nats a token from the base (at most 0.1)."
    likeness = decide(evidence(likeness=True, pooled=False)).sentence
    assert told(likeness).startswith("on 12 held-out prompts, it was not surely better (gain -0.010, perhaps as low")
    assert "Refused" not in told(likeness)


@pytest.mark.parametrize(
    "sentence",
    [
        decide(evidence(gain=Bound(0.1, 0.05, 0.95, 12), answers=Answers(40, 0.0, 8))).sentence,
        "Lost, [b]all[/b] of it.",
        "",
    ],
)
def test_other_verdicts_stay_as_they_are(sentence: str) -> None:
    assert told(sentence) == as_sentence(sentence) == sentence


def test_a_guard_that_refused_is_not_helped_by_more_judgments() -> None:
    refused = decide(evidence(gain=Bound(0.1, 0.05, 0.95, 12), neutral_rise=0.05)).sentence
    assert as_sentence(refused) == "Ordinary text became 5.0 % harder for it (at most 2 %)."


def lesson(store: Store, model: str, **metrics: float) -> str:
    """A refused one that learned from ten judgments and kept two aside; its id."""
    answers = "INSERT INTO run_judgments(run_id, judgment_id, split) VALUES (?, ?, ?)"
    run = store.runs.queue("dpo", {}, model)
    assert store.runs.claim(run.id)
    prompt, ids = _turn(store)
    made = [store.judgments.thumb(prompt, ids[0], 1).id for _ in range(12)]
    with store.write() as db:
        for at, id in enumerate(made):
            db.execute(answers, [run.id, id, "train" if at < 10 else "held_out"])
    store.runs.metrics(run.id, 20, {**METRICS, **metrics})
    store.runs.finish(run.id, "rejected", {"verdict": REFUSED, "metrics": {**METRICS, **metrics}})
    return run.id


def _turn(store: Store) -> tuple[str, list[str]]:
    from tests.chat.test_judgments_page import turn

    return turn(store, "Why?", "x", "y")


def test_what_it_was_tested_on_agrees_with_the_verdict(store: Store) -> None:
    seen = watch(store, lesson(store, "m"))
    assert seen.learned == "Learned from 10 judgments and was tested on all 12 judged prompts, each left out in turn."
    assert seen.figures[0] == ("Log-loss on what it was tested on: 0.703, before 0.693, gain perhaps as low as -0.023.")
    seen = watch(store, lesson(store, "m", **{"gate.prompts": 2.0, "gate.bound": 0.012}))
    assert seen.learned == "Learned from 10 judgments and was tested on 2 held out."
    assert seen.figures[0].endswith("gain at least +0.012.")


def test_a_version_tells_the_same(store: Store) -> None:
    store.adapters.register(
        "a", model_hash="m", files={}, state="rejected", verdict=REFUSED, report={"metrics": METRICS}
    )
    adapter = store.adapters.get("a")
    said = "\n".join(head + text for head, text in details(Looked(Row(adapter, "", False, True), "base", 1, 0, [], [])))
    assert "Tested on all 12 judged prompts, each left out in turn." in said
    assert "Verdict: On 12 judged prompts, each left out in turn, it was not surely better" in said


def test_a_refused_version_that_is_used_is_told_apart(store: Store) -> None:
    store.adapters.register("a", model_hash="m", files={}, state="rejected", verdict=REFUSED)
    store.adapters.register("b", model_hash="m", files={}, state="live", verdict=REFUSED)
    store.adapters.register("c", model_hash="m", files={}, state="retired", verdict=REFUSED)
    store.adapters.register("d", model_hash="m", files={}, state="retired", verdict="Better on 40 held-out prompts.")
    rows = [Row(store.adapters.get(id), "", False, True) for id in "abcd"]
    assert [row.state for row in rows] == ["not adopted", "answers, by hand", "was used by hand", "was in use"]
    told_of = ["\n".join(head + text for head, text in details(Looked(row, "base", 1, 0, [], []))) for row in rows]
    assert ["It was refused, and put in use by hand." in text for text in told_of] == [False, True, True, False]


async def test_the_chat_says_it_with_the_next_step(open_chat: Open) -> None:
    async with open_chat(auto_train=True, train_after=30) as chat:
        with Store.open(chat.store.home) as other:
            lesson(other, chat.screen.session.model.hash)
        await chat.says("Lesson 1 is not used: on 12 judged prompts, each left out in turn, it was not surely better (")
        await chat.says("). More judgments help: the next lesson comes after ")
        assert not [note for note in chat.notes if "Refused" in note or "not adopted" in note]


def test_the_plain_chat_too(tmp_path: Any) -> None:
    talk(tmp_path, "Why?")
    with Store.open(tmp_path / "home") as store:
        lesson(store, "m")
    said = talk(tmp_path, "/training")
    assert "not adopted. On 12 judged prompts, each left out in turn, it was not surely better" in said
    assert "Refused" not in said
