"""The page of insights: what it says of the judgments, how honest it is about few of them, and a pair judged again."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from textual.widgets import Static

from chatapp.insights import Bar, drawn, in_all, panels, weeks
from chatapp.screens.insights import InsightsPage
from chatapp.screens.reask import Reask
from chatapp.widgets.insight import Insight
from chatapp.widgets.prose import Prose
from chatapp.widgets.weeks import WEEK
from storage.statistics import statistics
from storage.store import Store
from storage.threads import NewAnswer
from tests.chat.conftest import SMALL, WIDE, Chat

MODEL = "f" * 64


def turn(store: Store, *texts: str, adapters: tuple[str | None, ...] = (None,) * 9) -> tuple[str, list[str]]:
    store.add_model(MODEL, "tiny", "llama", "t", "x")
    thread = store.threads.new("About apples")
    prompt = store.threads.add_message(thread.id, None, "user", "Why apples?")
    new = [NewAnswer(text, at, MODEL, adapters[at], {}, 1, [1], 1, "stop") for at, text in enumerate(texts)]
    return prompt.id, [answer.id for answer in store.threads.add_answers(thread.id, prompt.id, new)]


def age(store: Store, days: int) -> None:
    """All judgments were given so many days ago."""
    time = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="microseconds")
    with store.write() as db:
        db.execute("UPDATE judgments SET created_at = ?", [time])


def says(store: Store) -> dict[str, str]:
    return {panel.id: " ".join(panel.says) for panel in panels(statistics(store))}


async def opened(chat: Chat) -> InsightsPage:
    chat.screen.action_page("insights")
    await chat.until(lambda: isinstance(chat.app.screen, InsightsPage) and chat.app.screen.has_class("-counted"))
    page = chat.app.screen
    assert isinstance(page, InsightsPage)
    return page


def shown(page: InsightsPage, id: str) -> str:
    return str(page.query_one(f"#{id}", Static).render())


# -- what it says ------------------------------------------------------------------------------------------------------


def test_with_few_cases_it_concludes_nothing(store: Store) -> None:
    store.adapters.register("adapter-1", model_hash=MODEL, files={}, state="live")
    for _ in range(3):
        prompt, ids = turn(store, "a longer answer", "short", adapters=("adapter-1", None))
        store.judgments.pick(prompt, ids[0], ids)
    prompt, ids = turn(store, "x", "y")
    store.judgments.flag(prompt, ids[0], "rule-insult", True)
    said = says(store)
    assert said["versions"] == "No two versions met in 10 pairs yet: too few to tell."
    assert said["length"].startswith("The longer answer won 100% of 3 pairs (44% to 100%): too few to tell.")
    assert said["position"] == "3 turns: too few to tell."
    assert said["rules"] == "Most often broken: “insults”, in 1 of 1 flag (too few to tell how often in general)."


def test_with_many_it_says_what_the_interval_allows(store: Store) -> None:
    """20 of 20 for the newer version, which answers longer and stands left."""
    store.adapters.register("adapter-1", model_hash=MODEL, files={}, state="live")
    for _ in range(20):
        prompt, ids = turn(store, "a longer answer", "short", adapters=("adapter-1", None))
        store.judgments.pick(prompt, ids[0], ids)
    said = says(store)
    assert said["versions"] == "v1 won 100% of 20 pairs against base (84% to 100%): v1 pleases you more."
    assert "you tend to like longer answers" in said["length"]
    assert said["position"] == (
        "A wins more often than by chance; B wins less often than by chance: where an answer stands may sway you."
    )


def test_halves_are_no_difference(store: Store) -> None:
    for best in (0, 1) * 20:
        prompt, ids = turn(store, "a longer answer", "short")
        store.judgments.pick(prompt, ids[best], ids)
    said = says(store)
    assert "The longer answer won 50% of 40 pairs (35% to 65%): no clear taste for length." in said["length"]
    assert said["position"] == "No sign that it matters to you where an answer stands."


def test_weeks_without_a_judgment_are_there_too(store: Store) -> None:
    for time in ("2026-10-14", "2026-10-15", "2026-11-03"):
        prompt, ids = turn(store, "x", "y")
        judgment = store.judgments.pick(prompt, ids[0], ids)
        with store.write() as db:
            created = f"{time}T10:00:00.000000+00:00"
            db.execute("UPDATE judgments SET created_at = ? WHERE id = ?", [created, judgment.id])
    report = statistics(store)
    assert weeks(report, 26) == [("12 Oct", 2), ("19 Oct", 0), ("26 Oct", 0), ("2 Nov", 1)]
    assert weeks(report, 2) == [("26 Oct", 0), ("2 Nov", 1)]
    assert in_all(report) == "3 judgments in 2 weeks, most (2) in the week of 12 October 2026."


def test_a_bar_shows_share_interval_and_mark() -> None:
    assert drawn(Bar("", 0.6, 0.3, 0.8, 0.5, ""), 11) == "···├─┊●─┤··"
    assert drawn(Bar("", 0.0, 0.0, 1.0, 0.5, ""), 11) == "●────┊────┤"


# -- the page ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [WIDE, SMALL, (40, 12)])
async def test_the_page_shows_them(open_chat: Any, size: tuple[int, int]) -> None:
    async with open_chat(size=size) as chat:
        for best in (0, 1, 2) * 8:
            prompt, ids = turn(chat.store, "a longer answer", "short", "[b]medium[/b]")
            chat.store.judgments.pick(prompt, ids[best], ids)
        page = await opened(chat)
        assert "24 judgments" in shown(page, "in-all")
        assert "24 judgments" in str(page.query_one(".title", Static).render())
        assert "No sign that it matters" in shown(page, "insight-position")
        for panel in page.query(Insight):
            assert panel.content_size.width <= size[0]
        if size[0] >= 50:
            drawn = "\n".join(chat.drawn)
            assert "By week" in drawn
            assert "█" in drawn
            assert "█" * (WEEK + 1) not in drawn, "one week is one bar of many, not the whole"
        await chat.press("escape")
        await chat.until(lambda: chat.app.screen is chat.screen)


async def test_nothing_judged_yet_says_what_to_do(open_chat: Any) -> None:
    async with open_chat(size=SMALL) as chat:
        page = await opened(chat)
        assert "Nothing is judged yet. Esc goes to the chat" in shown(page, "in-all")
        await chat.press("a")
        await chat.until(lambda: "No pair waits." in shown(page, "page-said"))


async def test_the_counting_ends_when_the_page_is_left(open_chat: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(store: Store, progress: Any) -> Any:
        begun.set()
        go_on.wait(20)
        try:
            progress(400)
        finally:
            ended.set()
        pytest.fail("it went on counting")

    monkeypatch.setattr("storage.statistics.statistics", slow)
    async with open_chat(size=SMALL) as chat:
        chat.screen.action_page("insights")
        await chat.until(begun.is_set)
        assert "Counting…" in str(chat.app.screen.query_one("#counting", Static).render())
        await chat.press("escape")
        await chat.until(lambda: chat.app.screen is chat.screen)
        go_on.set()
        await chat.until(ended.is_set)


async def test_the_chat_judges_while_it_counts(open_chat: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's thread is free."""
    go_on = threading.Event()
    monkeypatch.setattr("storage.statistics.statistics", lambda store, progress: go_on.wait(20) and statistics(store))
    async with open_chat() as chat:
        chat.screen.action_page("insights")
        await chat.until(lambda: isinstance(chat.app.screen, InsightsPage))
        assert await chat.screen.jobs.call(chat.store.value, "SELECT 1") == 1
        go_on.set()
        await chat.until(lambda: chat.app.screen.has_class("-counted"))


# -- a pair again ------------------------------------------------------------------------------------------------------


@pytest.fixture
def old_pair(open_chat: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(Reask, "GUARD", 0.0)
    return open_chat


def judged(chat: Chat) -> tuple[str, list[str]]:
    """The first of two was picked, five days ago."""
    prompt, ids = turn(chat.store, "They [b]keep[/b].", "They are red.")
    first = chat.store.judgments.pick(prompt, ids[0], ids)
    age(chat.store, 5)
    return first.id, ids


async def asked_again(chat: Chat) -> tuple[InsightsPage, Reask]:
    page = await opened(chat)
    await chat.until(lambda: "A pair from 5 days ago is waiting: press a to judge it again." in shown(page, "waiting"))
    await chat.press("a")
    await chat.until(lambda: isinstance(chat.app.screen, Reask) and chat.app.screen.is_mounted)
    reask = chat.app.screen
    assert isinstance(reask, Reask)
    return page, reask


@pytest.mark.parametrize(
    ("key", "said", "share"),
    [
        ("2", "you said the same as the first time", "100%"),
        ("1", "the other way round", "0%"),
        ("equals_sign", "one of the two times you saw no difference", "50%"),
    ],
)
async def test_a_pair_is_judged_again(old_pair: Any, key: str, said: str, share: str) -> None:
    async with old_pair() as chat:
        first, ids = judged(chat)
        page, reask = await asked_again(chat)
        texts = [answer.text for answer in reask.query(".answer").results(Prose)]
        assert texts == ["They are red.", "They [b]keep[/b]."]  # the sides are swapped
        await chat.press(key)
        await chat.until(lambda: said in shown(page, "page-said"))
        (second,) = [j for j in chat.store.judgments.live() if j.id != first]
        assert second.payload == {"reasked": first}
        assert {item.message_id for item in second.items} == set(ids)
        await chat.until(lambda: f"yourself in {share} of 1 pair: too few to tell" in shown(page, "insight-agreement"))
        assert not page.query_one("#waiting").has_class("-shown")


async def test_esc_leaves_it_for_another_day(old_pair: Any) -> None:
    async with old_pair(size=SMALL) as chat:
        judged(chat)
        page, _ = await asked_again(chat)
        await chat.press("escape")
        await chat.until(lambda: chat.app.screen is page)
        assert chat.store.value("SELECT count(*) FROM judgments") == 1
        assert page.query_one("#waiting").has_class("-shown")


async def test_a_key_that_was_on_its_way_judges_nothing(old_pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reask, "GUARD", 60.0)
    async with old_pair() as chat:
        judged(chat)
        _, reask = await asked_again(chat)
        await chat.press("1", "2", "equals_sign")
        assert chat.app.screen is reask
        assert chat.store.value("SELECT count(*) FROM judgments") == 1


async def test_long_answers_scroll_and_the_keys_stay_in_sight(old_pair: Any) -> None:
    async with old_pair(size=SMALL) as chat:
        prompt, ids = turn(chat.store, "word " * 600, "short")
        chat.store.judgments.pick(prompt, ids[0], ids)
        age(chat.store, 5)
        await asked_again(chat)
        await chat.until(lambda: any("Esc: not now" in line for line in chat.drawn))
        assert any("Which answer is better?" in line for line in chat.drawn)
