"""The page of the lessons: what it says of each, that it lives, and its keys."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from textual.widgets import OptionList

from chatapp.screens.dialogs import Confirm
from chatapp.screens.training import TrainingPage
from chatapp.watching import span
from chatapp.widgets.metric_plots import MetricPlot, MetricPlots
from storage.runs import Run
from storage.store import Store
from tests.chat.conftest import SMALL

Open = Callable[..., Any]


async def lesson(chat: Any, state: str = "done", **result: Any) -> Run:
    """A run that another process did, with ten steps."""

    def work() -> Run:
        with Store.open(chat.store.home) as store:
            run = begin(store, chat.screen.session.model.hash)
            steps(store, run, 10)
            store.runs.metrics(run.id, 10, {"neutral.kl": 0.02, "neutral.rise": 0.004})
            error = result.pop("error", None)
            return store.runs.finish(run.id, state, result, error)

    return await chat.screen.jobs.call(work)


def begin(store: Store, model: str) -> Run:
    run = store.runs.queue("dpo", {}, model)
    assert store.runs.claim(run.id)
    return run


def steps(store: Store, run: Run, count: int, total: int = 20) -> None:
    for step in range(1, count + 1):
        values = {"train.loss": 0.7 - step / 50, "train.margin": step / 10, "train.step_seconds": 6.0}
        store.runs.metrics(run.id, step, {**values, "progress.step": step, "progress.total": total})


async def training(chat: Any) -> TrainingPage:
    await chat.press("f3")
    await chat.until(lambda: isinstance(chat.app.screen, TrainingPage))
    page: TrainingPage = chat.app.screen
    await chat.until(lambda: text(page))
    return page


def text(page: TrainingPage) -> str:
    return " ".join(str(page.query_one("#run-text").render()).split())


def said(page: TrainingPage) -> str:
    return str(page.query_one("#page-said").render())


def shown(page: TrainingPage) -> list[str]:
    return [plot.curve.name for plot in page.query(MetricPlot) if plot.display and plot.curve]


async def test_each_lesson_is_told_with_its_verdict_and_curves(open_chat: Open) -> None:
    async with open_chat() as chat:
        await lesson(chat, verdict="Better on 8 held-out prompts: log-loss 0.6.", adapter_state="live")
        await lesson(chat, "rejected", verdict="Not better.\x1b[31m [b]It[/b] was no good.")
        await lesson(chat, "failed", error="the disk is full; free some space")
        page = await training(chat)
        await chat.until(lambda: "What went wrong: the disk is full; free some space" in text(page))
        rows = page.query_one("#runs", OptionList)
        said_of = [" ".join(str(rows.get_option_at_index(at).prompt).split()[:5]) for at in range(3)]
        assert [line.rsplit(" ", 1)[0] for line in said_of] == [
            "! 3 lesson failed", "✗ 2 lesson not", "✓ 1 lesson adopted",
        ]  # fmt: skip
        await chat.press("down")
        await chat.until(lambda: "Not better.␛[31m [b]It[/b] was no good." in text(page))
        assert "Drift from the base: 0.020 nats a token (KL); neutral text is 0.4% harder to foretell." in text(page)
        await chat.until(lambda: shown(page) == ["loss", "margin", "KL"])
        await chat.press("down")
        await chat.until(lambda: "Verdict: Better on 8 held-out prompts" in text(page))
        assert text(page).startswith("Lesson 1 · adopted · ")
        await chat.press("escape")
        await chat.until(lambda: chat.app.screen is chat.screen)


async def test_the_curve_of_agreement_is_of_the_new_versions_and_the_one_before_is_named(open_chat: Open) -> None:
    """Who takes the curve for how well it learns is right: it does not fall because an earlier version was wrong."""
    async with open_chat() as chat:

        def work() -> None:
            with Store.open(chat.store.home) as store:
                for new, live in ((0.6, 0.5), (0.75, 0.0667)):
                    run = begin(store, chat.screen.session.model.hash)
                    figures = {"gate.accuracy": new, "gate.live_accuracy": live}
                    store.runs.metrics(
                        run.id, 1, {**figures, "prequential.accuracy": live, "prequential.longer_wins": 0.5}
                    )
                    store.runs.finish(run.id, "done", {"verdict": "Better."}, None)

        await chat.screen.jobs.call(work)
        page = await training(chat)
        await chat.until(lambda: shown(page) == ["agreement"])
        (curve,) = [plot.curve for plot in page.query(MetricPlot) if plot.display and plot.curve]
        assert curve.points == ((1.0, 0.6), (2.0, 0.75))
        assert "Of the judgments that it was tested on, it agrees with 75%, the version before with 7%." in text(page)
        assert "the version before was right in 7%; taking the longer answer is in 50%." in text(page)


async def test_a_lesson_under_way_is_followed_and_the_cursor_stays(open_chat: Open, monkeypatch: Any) -> None:
    monkeypatch.setattr(TrainingPage, "POLL", 0.05)
    async with open_chat() as chat:
        await lesson(chat, verdict="Good.")
        await lesson(chat, verdict="Better.")
        page = await training(chat)
        await chat.press("down")
        await chat.until(lambda: "Verdict: Good." in text(page))
        with Store.open(chat.store.home) as other:
            run = begin(other, chat.screen.session.model.hash)
            await chat.until(lambda: page.query_one("#runs", OptionList).option_count == 3)
            assert "Verdict: Good." in text(page), "what begins does not take the place of what is read"
            await chat.press("up", "up")
            await chat.until(lambda: "reading judgments" in text(page))
            steps(other, run, 5)
            await chat.until(lambda: "learning 5/20" in text(page))
            assert "25% · about 90 s left, then a test" in text(page) or "about 2 min left, then a test" in text(page)
            first = next(plot for plot in page.query(MetricPlot) if plot.display)
            assert first.curve is not None
            assert len(first.curve.points) == 5
            steps(other, run, 8)
            await chat.until(lambda: first.curve is not None and len(first.curve.points) == 8)
            other.runs.metrics(run.id, 21, {"progress.second_look": 20, "progress.step": 21, "progress.total": 30})
            other.runs.metrics(run.id, 22, {"train.loss": 9.0})
            await chat.until(lambda: "testing 1/10" in text(page))
            assert len(first.curve.points) == 8, "the second look begins anew: its steps are of another curve"
            other.runs.finish(run.id, "cancelled", error="the run was cancelled; nothing was changed")
            await chat.until(lambda: "Cancelled: the run was cancelled; nothing was changed" in text(page))


async def test_a_lesson_is_started_and_cancelled(open_chat: Open) -> None:
    async with open_chat() as chat:
        page = await training(chat)
        assert "No lesson yet" in text(page)
        await chat.press("c")
        await chat.until(lambda: said(page) == "No lesson is under way.")
        await chat.press("l")
        await chat.until(lambda: "nothing new to learn from yet" in said(page))
        await chat.press("escape")
        await chat.ask()
        await chat.press("1")
        await chat.says("A > B")
        page = await training(chat)
        await chat.press("l")
        await chat.until(lambda: "Lesson 1 begins, with 1 new judgment. " in said(page))
        await chat.until(lambda: "waiting for its turn" in text(page))
        assert len(chat.spawn.commands) == 1
        await chat.press("c")
        await chat.until(lambda: isinstance(chat.app.screen, Confirm))
        await chat.press("escape")
        await chat.until(lambda: chat.app.screen is page)
        assert chat.store.runs.active() is not None
        await chat.press("c")
        await chat.until(lambda: isinstance(chat.app.screen, Confirm))
        assert chat.app.screen.question.startswith("End lesson 1?")
        await chat.press("y")
        await chat.until(lambda: "cancelled" in text(page))
        assert chat.store.runs.active() is None


async def test_where_curves_have_no_room_they_are_told_in_words(open_chat: Open) -> None:
    async with open_chat((40, 12)) as chat:
        await lesson(chat, verdict="Good.")
        page = await training(chat)
        await chat.until(lambda: "loss: 0.68, then 0.5 (by step · lower is better)" in text(page))
        assert not page.query_one(MetricPlots).display
    async with open_chat(SMALL) as chat:
        page = await training(chat)
        await chat.until(lambda: page.query_one(MetricPlots).display)


def marks(chat: Any, plot: MetricPlot) -> list[float]:
    """What is written beside a plot, from the top."""
    x, y, _, height = plot.region
    beside = [line[x : x + 7].strip() for line in chat.drawn[y + 2 : y + height]]
    return [float(mark) for mark in beside if mark]


@pytest.mark.parametrize(
    "values",
    [
        (0.0, 7.9),
        (0.0, 5.0),
        (0.1, 0.74),
        (0.69, 0.7),
        (-0.02, 0.0004),
        (12.0, 940.0),
        (0.5, 0.5),
        (0.0, 0.0),
        (0.04368, 0.04372),
    ],
)
async def test_the_marks_of_a_plot_are_round_and_evenly_apart(open_chat: Open, values: tuple[float, float]) -> None:
    async with open_chat() as chat:
        run = await lesson(chat, verdict="Good.")
        with Store.open(chat.store.home) as store:
            for step in range(1, 11):
                low, high = values
                store.runs.metrics(run.id, step, {"train.loss": low + (high - low) * (step - 1) / 9})
        page = await training(chat)
        await chat.until(lambda: shown(page)[:1] == ["loss"])
        plot = next(plot for plot in page.query(MetricPlot) if plot.display)
        await chat.until(lambda: marks(chat, plot))
        found = marks(chat, plot)
        apart = [above - below for above, below in pairwise(found)]
        assert 2 <= len(found) <= 5, found
        assert apart == pytest.approx([apart[0]] * len(apart)), "a mark is where it says, and none is left out"
        assert f"{apart[0]:.0e}"[0] in "125", apart
        if high - low < 1e-3 * high:
            assert found[0] - found[-1] > 0.05 * high, "what does not change is not drawn from corner to corner"


def test_time_in_words() -> None:
    assert [span(seconds) for seconds in (0.2, 40, 100, 3600, 9000)] == ["1 s", "40 s", "2 min", "60 min", "2 h 30 min"]
