"""The engine in its child process: the same answers, and a death on either side is survived."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatapp.engine.base import (
    AdapterFileError,
    EngineConfig,
    EngineCrashed,
    EngineError,
    EngineInfo,
    ModelFileError,
    Sampling,
)
from chatapp.engine.llama import LlamaEngine
from chatapp.engine.process import EngineProcess
from tests.engine.conftest import user
from tests.engine.waiting import wait_until

pytestmark = pytest.mark.real

STORY = user("Tell a long story about a lighthouse and a dragon.")


@pytest.fixture(scope="module")
def process(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    log = tmp_path_factory.mktemp("log") / "engine.log"
    with EngineProcess(EngineConfig(model_path, context_size=2048, log_path=log)) as started:
        yield started


def test_it_says_what_the_engine_says(process: EngineProcess, engine: LlamaEngine, adapters: tuple[Path, Path]) -> None:
    for path in (None, adapters[0], None):
        assert process.swap(path) < 1000
        engine.swap(path)
        assert process.info == engine.info
        streamed = ["", ""]

        def on_token(index: int, text: str, into: list[str] = streamed) -> None:
            assert threading.current_thread() is threading.main_thread()
            into[index] += text

        sampling = Sampling(seed=9, max_tokens=12)
        there, here = process.generate(STORY, 2, sampling, on_token), engine.generate(STORY, 2, sampling)
        assert [(a.token_ids, a.text, a.seed, a.finish_reason) for a in there] == [
            (a.token_ids, a.text, a.seed, a.finish_reason) for a in here
        ]
        assert streamed == [answer.text for answer in there]
        assert process.score(STORY, "A dragon.") == pytest.approx(engine.score(STORY, "A dragon."), abs=0.05)


def test_stop_from_another_thread(process: EngineProcess) -> None:
    first = threading.Event()
    helper = threading.Thread(target=lambda: (first.wait(20), process.stop()))
    helper.start()
    answers = process.generate(STORY, 2, Sampling(max_tokens=1500, seed=1), lambda *_: first.set())
    helper.join()
    assert {answer.finish_reason for answer in answers} == {"cancelled"}
    assert sum(len(answer.token_ids) for answer in answers) < 1000
    process.stop()  # nothing to stop


def test_errors_keep_their_class(process: EngineProcess, tmp_path: Path) -> None:
    with pytest.raises(AdapterFileError, match=r"none\.gguf"):
        process.swap(tmp_path / "none.gguf")
    with pytest.raises(EngineError, match="must be 1 to 16"):
        process.generate(STORY, 99, Sampling())
    with pytest.raises(KeyError):
        process.generate(STORY, 1, Sampling(max_tokens=1500), lambda *_: {}["callback"])
    assert process.generate(STORY, 1, Sampling(max_tokens=2))[0].token_ids


def test_a_killed_child_costs_one_answer(process: EngineProcess, adapters: tuple[Path, Path]) -> None:
    process.swap(adapters[0])
    expected = process.generate(STORY, 1, Sampling(temperature=0, max_tokens=6))[0].token_ids
    before = process.pid
    assert before

    def kill(index: int, text: str) -> None:
        os.kill(before, signal.SIGKILL)

    with pytest.raises(EngineCrashed, match=r"SIGKILL \(signal 9\) during an answer.*engine\.log"):
        process.generate(STORY, 2, Sampling(max_tokens=1500), kill)
    assert process.generate(STORY, 1, Sampling(temperature=0, max_tokens=6))[0].token_ids == expected
    assert process.pid != before
    assert process.info.adapter_path == str(adapters[0])
    os.kill(process.pid or 0, signal.SIGSEGV)  # while nobody asks for anything
    wait_until(lambda: process.pid is None)
    assert process.score(STORY, "x")
    process.swap(None)


def test_loading_in_the_background(model_path: Path, tmp_path: Path) -> None:
    ready: list[EngineInfo] = []
    failed: list[EngineError] = []
    with EngineProcess(EngineConfig(model_path, context_size=256)) as good:
        good.start(ready.append, failed.append)
        wait_until(lambda: ready)
        assert good.info is ready[0]
    with EngineProcess(EngineConfig(tmp_path / "none.gguf")) as bad:
        bad.start(ready.append, failed.append)
        wait_until(lambda: failed)
        assert isinstance(failed[0], ModelFileError)
        with pytest.raises(ModelFileError, match="There is no model file"):
            _ = bad.info
    with pytest.raises(EngineError, match="closed"):
        good.generate(STORY, 1, Sampling())


def test_a_stop_while_the_model_loads_counts(model_path: Path) -> None:
    with EngineProcess(EngineConfig(model_path, context_size=2048)) as process:
        threading.Timer(0.05, process.stop).start()
        answer = process.generate(STORY, 1, Sampling(max_tokens=1500))[0]
        assert answer.finish_reason == "cancelled"


def test_ctrl_c_does_not_reach_the_child(process: EngineProcess) -> None:
    process.info  # noqa: B018 (loads it)
    before = process.pid
    assert before
    assert os.getpgid(before) != os.getpgid(0)
    os.kill(before, signal.SIGINT)
    assert process.generate(STORY, 1, Sampling(max_tokens=2))
    assert process.pid == before
    assert os.getpriority(os.PRIO_PROCESS, before) == os.getpriority(os.PRIO_PROCESS, 0)


ORPHAN = """
import sys
from pathlib import Path
from chatapp.engine.base import EngineConfig, Message, Sampling
from chatapp.engine.process import EngineProcess
engine = EngineProcess(EngineConfig(Path(sys.argv[1]), context_size=2048))
engine.info
chat = [Message(role="user", content="Tell a long story.")]
say = lambda index, text: print(engine.pid, flush=True)
engine.generate(chat, 4, Sampling(max_tokens=400, temperature=2.0, min_p=0), say)
"""


def test_a_killed_parent_leaves_no_orphan(model_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN, str(model_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())  # said at a token: it is in mid-answer
    os.kill(child, 0)
    parent.kill()
    parent.wait()
    parent.stdout.close()

    def gone() -> bool:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return True
        return Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"  # nobody reaps it here

    wait_until(gone, 3)


def test_importing_it_is_quick_and_native_free() -> None:
    heavy = [
        "llama_cpp",
        "numpy",
        "torch",
        "transformers",
        "textual",
        "storage",
        "trainer",
        "jinja2",
        "huggingface_hub",
    ]
    code = (
        "import sys, chatapp.engine.process, chatapp.engine.model_files, chatapp.engine.selftest\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
