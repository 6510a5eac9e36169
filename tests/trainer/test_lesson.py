"""Whole runs on the tiny model: gone on with after a kill, begun at the base or the version in use."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from chatapp.engine.model_files import file_hash
from storage import paths
from storage.store import Store
from tests.trainer import tiny_runs
from tests.trainer.tiny_runs import killed, learn
from trainer import checkpoint, expected, gate, lesson, lineage, needs
from trainer.config import TrainConfig
from trainer.dataset import SingleRef, Turn
from trainer.errors import Cancelled
from trainer.expected import Ratios
from trainer.features import Callbacks
from trainer.outcome import Outcome
from trainer.trial import Trial
from trainer.trunk import Trunk


@pytest.fixture
def gguf(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny model, with little neutral text and no engine in the gate: those have tests of their own."""
    tiny_runs.calm(monkeypatch)
    return tiny_runs.tiny_gguf(tmp_path_factory.getbasetemp())


@pytest.fixture
def judged(store: Store, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A gate that decides nothing, so without cross-validation: the test says what is in use."""
    monkeypatch.setattr(gate, "MIN_HELD_OUT", 1)
    monkeypatch.setattr(gate, "wants_second_look", lambda _: False)
    monkeypatch.setattr(gate, "decide", lambda _: gate.Verdict(False, False, "Refused."))
    tiny_runs.judge(store, gguf, 12)
    return store


def test_the_next_version_is_measured_against_the_one_in_use(store: Store, gguf: Path) -> None:
    """On what was judged since; one timid step is no gain, also in the cross-validation that losing calls for."""
    model_hash = file_hash(gguf, store.home)
    tiny_runs.judge(store, gguf, 20)
    first = learn(store, gguf)
    assert first.metrics["gate.bound"] > 0  # a guard may refuse it: the tiny model's other texts suffer
    assert store.judgments.waiting(model_hash) == 0
    live = store.adapters.get(first.adapter or "")
    store.adapters.use(live.id, model_hash)
    tiny_runs.judge(store, gguf, 8, first=100)
    timid = learn(store, gguf, epochs=1, turns_per_step=32, learning_rate=1e-6, rank=2)
    assert timid.metrics["prequential.pairs"] == 24  # eight rankings of three
    assert timid.metrics["prequential.accuracy"] > 0.9
    assert timid.metrics["gate.live_loss"] < timid.metrics["gate.new_loss"]
    assert (timid.state, timid.adapter_state) == ("rejected", "rejected")
    assert f"of {live.name}, gain -" in (timid.verdict or "")
    assert "judged prompts (each left out in turn)" in (timid.verdict or "")
    assert store.runs.checking(timid.run)
    steps, of = store.runs.progress(timid.run) or (0, 0)
    assert 0 < steps == of, "of the second look alone"
    assert not store.runs.checking(store.runs.queue().id)
    assert store.adapters.live(model_hash) == store.adapters.get(live.id)


def test_answers_of_a_version_are_measured_by_what_it_might_have_said(
    judged: Store, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when another version is in use; one whose files are gone counts as the base."""
    model_hash = file_hash(gguf, judged.home)
    first = judged.adapters.get(learn(judged, gguf).adapter or "")
    second = judged.adapters.get(learn(judged, gguf, seed=1).adapter or "")
    judged.adapters.use(second.id, model_hash)
    tiny_runs.judge(judged, gguf, 8, first=100, adapter_id=first.id)
    tiny_runs.judge(judged, gguf, 8, first=200, adapter_id=second.id)
    seen: list[Trial] = []
    meet = Trial.meet
    monkeypatch.setattr(Trial, "meet", lambda self, *rest: (seen.append(self), meet(self, *rest))[1])

    def drew() -> dict[str, int]:
        """How many tested answers of each version are measured by what that version might have said."""
        learn(judged, gguf)
        trial = seen[-1]
        places = [
            (t.drawers[at], (t.key, tuple(r)) in trial.drew)
            for t in [*trial.held_out, *trial.unseen]
            for at, r in enumerate(t.responses)
            if at in t.drawers
        ]
        return {id: sum(found for drawer, found in places if drawer == id) for id in (first.id, second.id)}

    there = drew()
    assert min(there.values()) > 0

    def cancelled(_: Any, drawer: str, *__: Any, **___: Any) -> None:
        if drawer == first.id:
            raise Cancelled("the run was cancelled")

    with monkeypatch.context() as patch:
        patch.setattr(expected, "look", cancelled)
        assert learn(judged, gguf).state == "cancelled"
    weights = judged.adapters.dir(first) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert drew() == {first.id: 0, second.id: there[second.id]}
    judged.adapters.remove(first.id)
    assert drew() == {first.id: 0, second.id: there[second.id]}


def test_thumbs_on_answers_of_their_own_teach_and_are_tested(judged: Store, gguf: Path, tmp_path: Path) -> None:
    """Answers to prompts of their own, so that no pair comes of them: what was called bad loses more."""
    with Store.open(tmp_path / "thumbs") as store:
        tiny_runs.thumb(store, gguf, 40)
        learned = learn(store, gguf, epochs=6)
        assert learned.metrics["data.unpaired"] == 40
        assert "data.pairs" not in learned.metrics or learned.metrics["data.pairs"] == 0
        assert learned.metrics["gate.live_loss"] == pytest.approx(math.log(2))
        assert learned.metrics["gate.gain"] > 0.01


def test_a_version_that_meets_itself_gains_nothing(store: Store) -> None:
    """Also where good and bad are dealt unevenly over what it is tested on."""
    held_out = [made(i, [SingleRef(0, True, 1.0)]) for i in range(8)]
    unseen = [made(i, [SingleRef(0, i % 2 == 0, 1.0)], "train") for i in range(8, 24)]
    trial = Trial(store, TrainConfig(), None, "m", Callbacks(), held_out, unseen)
    trial.live_ratios = {t.key: Ratios([-float(i % 7), 1.0], [0.5, 0.0]) for i, t in enumerate([*held_out, *unseen])}
    for tested in (held_out, [*held_out, *unseen], unseen[:5]):
        gain = trial.gain({t.key: trial.live_ratios[t.key] for t in tested}, certain=True)
        assert (gain.mean, gain.low, gain.prompts) == (0.0, 0.0, len(tested))


def made(number: int, singles: list[SingleRef], split: str = "held_out") -> Turn:
    return Turn(str(number), split, [], [1], [[2] * (1 + number % 3), [3]], [], [], singles)


def test_a_killed_run_ends_as_if_it_had_not_been(judged: Store, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = learn(judged, gguf)
    id = killed(judged, gguf, monkeypatch, 7)
    again = learn(judged, gguf, id)
    assert again.metrics["resume.step"] == 6  # the checkpoint is written after the step is told
    assert (again.verdict or "").endswith("It went on from step 6, after an interruption.")
    one, two = tiny_runs.weights(judged, whole), tiny_runs.weights(judged, again)
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    assert again.metrics["gate.gain"] == pytest.approx(whole.metrics["gate.gain"], abs=1e-4)
    assert judged.runs.checkpoints(id) == []
    assert not list(paths.run_dir(judged.home, id).parent.rglob("*.safetensors"))


def test_a_second_look_goes_on_where_it_was_killed(judged: Store, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "wants_second_look", lambda _: True)
    begun: list[int] = []
    fitted = lesson.fit

    def noted(*args: Any, checkpoint: checkpoint.Checkpoint, **others: Any) -> Any:
        last = fitted(*args, checkpoint=checkpoint, **others)
        begun.append(checkpoint.resumed_at or 0)
        return last

    whole = learn(judged, gguf, turns_per_step=2)
    steps, of = judged.runs.progress(whole.run) or (0, 0)
    assert steps == of
    first = int(judged.runs.read_metrics(whole.run, "progress.second_look")[-1][2])
    id = killed(judged, gguf, monkeypatch, first + of // 3 + 2, turns_per_step=2)  # in the second of three folds
    monkeypatch.setattr(lesson, "fit", noted)
    again = learn(judged, gguf, id)
    assert [at > 0 for at in begun] == [True, True, True, False]
    for name in ("gate.gain", "gate.bound", "gate.new_loss"):
        assert again.metrics[name] == pytest.approx(whole.metrics[name], abs=1e-4)


def test_other_judgments_begin_anew(judged: Store, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    id = killed(judged, gguf, monkeypatch, 5)
    for judgment in judged.judgments.live()[:3]:  # of five prompts in a row one is held out, so one is trained on
        judged.judgments.retract(judgment.id)
    again = learn(judged, gguf, id)
    assert again.metrics["resume.step"] == 0
    assert "It began anew: judgments or settings had changed since it was interrupted." in (again.verdict or "")


def test_a_newer_run_takes_over_from_an_interrupted_one(
    judged: Store, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = killed(judged, gguf, monkeypatch, 3)
    newer = learn(judged, gguf)
    assert newer.adapter
    old = judged.runs.get(id)
    assert (old.state, old.error) == ("failed", "it was interrupted, and run 2 took over")
    assert judged.runs.checkpoints(id) == []


def test_a_version_lists_what_it_learned_from_and_a_retraction_reaches_it(
    judged: Store, gguf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refit, then warm, then a retraction, which a warm start could not undo."""
    model_hash = file_hash(gguf, judged.home)

    def behind(outcome: Outcome) -> set[str]:
        found = judged.adapters.learned_from(judged.adapters.get(outcome.adapter or ""))
        assert not set(found["train"]) & set(found["held_out"])
        return set(found["train"])

    def use(outcome: Outcome) -> None:
        judged.adapters.use(outcome.adapter, model_hash)

    first = learn(judged, gguf)
    assert first.metrics["start.warm"] == 0
    assert first.metrics["prequential.pairs"] == 36  # every pair, also of what is trained on; the base prefers nothing
    assert first.metrics["prequential.accuracy"] == 0.5
    assert first.metrics["gate.live_accuracy"] == 0.5 < first.metrics["gate.accuracy"]
    use(first)
    tiny_runs.judge(judged, gguf, 10, first=50)
    warm = learn(judged, gguf, start="warm", epochs=1, min_steps=1)
    assert warm.metrics["start.warm"] == 1
    new = warm.metrics["start.new_turns"]
    assert 7 <= new <= 9  # of five new prompts one is held out
    assert warm.metrics["start.replayed_turns"] == new
    assert warm.metrics["gate.live_accuracy"] > 0.5  # on what it did not learn from
    assert warm.metrics["prequential.accuracy"] > 0.9  # of the first version, on what was judged since
    report = judged.adapters.get(warm.adapter or "").report
    assert report["start"] == {"from": first.adapter, "why": "a warm start was asked for"}
    assert behind(first) < behind(warm)  # its own and its ancestor's
    assert len(behind(warm)) == len(behind(first)) + new
    # it begins at the version in use: after one pass it is nearer to it than to a fresh adapter
    one, two = tiny_runs.weights(judged, first), tiny_runs.weights(judged, warm)
    for name in one:
        assert torch.cosine_similarity(one[name].flatten(), two[name].flatten(), 0) > 0.8

    use(warm)
    gone = sorted(behind(first))[0]
    judged.judgments.retract(gone)
    tiny_runs.judge(judged, gguf, 4, first=90)
    third = learn(judged, gguf, start="warm", epochs=1, min_steps=1)
    assert third.metrics["start.warm"] == 0
    why = judged.adapters.get(third.adapter or "").report["start"]["why"]
    assert why == f"1 of the {len(behind(warm))} judgments that v2 learned from no longer count"
    assert gone not in behind(third)
    assert gone in behind(warm)

    from chatapp.cli import main

    about = ["--home", str(judged.home), "--model", str(gguf)]
    assert main(["adapters", "show", third.adapter or "", "--json", *about]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown["judgments"]["train"]) == behind(third)
    assert main(["adapters", "show", third.adapter or "", *about]) == 0
    text = capsys.readouterr().out
    assert gone not in text
    assert f"learned from {len(behind(third))} judgments:" in text


def test_auto_refits_while_that_is_quick(judged: Store, gguf: Path) -> None:
    model_hash = file_hash(gguf, judged.home)
    first = learn(judged, gguf)
    assert first.metrics[lineage.SPEED] > 0
    judged.adapters.use(first.adapter, model_hash)
    tiny_runs.judge(judged, gguf, 10, first=50)
    found = {}
    for seconds in (1e9, 0.0):  # neither gets in use
        outcome = learn(judged, gguf, refit_seconds=seconds, epochs=1, min_steps=1)
        found[seconds] = outcome.metrics["start.warm"]
        why = judged.adapters.get(outcome.adapter or "").report["start"]["why"]
        assert why.startswith("a refit would take about ")
    assert found == {1e9: 0, 0.0: 1}
    other = learn(judged, gguf, start="warm", rank=2, epochs=1, min_steps=1)
    more = learn(judged, gguf, start="warm", modules=(), epochs=1, min_steps=1)
    for refit in (other, more):
        why = judged.adapters.get(refit.adapter or "").report["start"]["why"]
        assert why == "v1 has another rank, or other layers or maps"


def test_too_little_memory_or_disk_is_said_before_anything_is_loaded(
    judged: Store, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("trainer.lesson.load_base", never)
    with monkeypatch.context() as patch:
        patch.setattr(needs, "available_memory", lambda: 500_000_000)
        outcome = learn(judged, gguf)
    assert outcome.state == "failed"
    assert (outcome.error or "").startswith("training this model needs about 1.")
    assert "of memory and 0.5 GB is free" in (outcome.error or "")
    assert "lower micro_tokens (now " in (outcome.error or "")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    outcome = learn(judged, gguf)
    assert outcome.state == "failed"
    assert "and 0 MB is free there; free some space" in (outcome.error or "")
    assert not list(judged.home.rglob("error.log"))


def test_what_a_run_computed_of_judged_answers_is_there_for_the_next(
    judged: Store, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[Any] = []
    compute = Trunk._compute
    monkeypatch.setattr(Trunk, "_compute", lambda self, turns: (computed.extend(turns), compute(self, turns))[1])

    def run() -> list[str]:
        """What was computed, by its tokens."""
        computed.clear()
        learn(judged, gguf)
        return sorted({repr((turn.prompt, turn.responses)) for turn in computed})

    first, again = run(), run()
    assert len(first) >= 12
    assert len(set(first) & set(again)) <= 1, "no more than the trunk's look at itself"
    tiny_runs.judge(judged, gguf, 1, first=50)
    assert len(run()) == len(again) + 1
    assert len(list(paths.cache_dir(judged.home).glob("lower-*"))) == 1


def test_nothing_is_kept_of_what_was_forgotten_meanwhile(
    judged: Store, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = Trunk.keep

    def forgets(self: Trunk, path: Path, turns: Any) -> None:
        keep(self, path, turns)
        assert path.exists()
        with judged.write() as db:
            db.execute("UPDATE messages SET forgotten_at = 'now', content = NULL WHERE role = 'user'")

    monkeypatch.setattr(Trunk, "keep", forgets)
    learn(judged, gguf)
    assert not list(paths.cache_dir(judged.home).glob("lower-*"))
