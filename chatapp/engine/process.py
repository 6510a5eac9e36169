"""The engine in a child process: the same protocol over a pipe, so that a crash of native code costs one answer.

Neither llama_cpp nor numpy is imported on this side. The child starts at the first call, or in the background with
`start`; after a crash the next call starts another with the adapter that was in use.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from chatapp.engine import base
from chatapp.engine.base import (
    Candidate,
    EngineConfig,
    EngineCrashed,
    EngineError,
    EngineInfo,
    Message,
    OnToken,
    Sampling,
    Timings,
)

_LOG_LIMIT = 1 << 20  #: bytes; a longer log is begun anew


class EngineProcess:
    """`Engine` (see base.py) in a process of its own. Calls from several threads run one after the other."""

    def __init__(self, config: EngineConfig) -> None:
        """Returns at once; nothing is started or checked yet."""
        self._config = config
        self._adapter = config.adapter_path  #: what a restarted child loads
        self._call_lock = threading.RLock()  # one call at a time
        self._pipe_lock = threading.Lock()  # one line at a time into the pipe, stop() included
        self._child: _Child | None = None
        self._info: EngineInfo | None = None
        self._next_id = 0
        self._current: int | None = None  #: id of the running generate()
        self._stop_wanted = False  #: since the newest generate() began, if only by loading the model
        self._closed = False

    def start(
        self,
        on_ready: Callable[[EngineInfo], None] | None = None,
        on_error: Callable[[EngineError], None] | None = None,
    ) -> None:
        """Load in the background. One of the two is called in that thread when it is done."""

        def load() -> None:
            try:
                info = self.info
            except EngineError as error:
                if on_error is not None:
                    on_error(error)
            else:
                if on_ready is not None:
                    on_ready(info)

        threading.Thread(target=load, name="engine-start", daemon=True).start()

    @property
    def info(self) -> EngineInfo:
        """Blocks until the model is loaded; raises what kept it from loading."""
        known = self._info  # a running generate() must not hold up a status line
        if known is not None and self._child is not None and self._child.alive:
            return known
        with self._call_lock:
            self._ready()
            assert self._info is not None
            return self._info

    @property
    def pid(self) -> int | None:
        """Of the running child."""
        child = self._child
        return child.process.pid if child is not None and child.alive else None

    def generate(
        self, messages: Sequence[Message], n: int, sampling: Sampling, on_token: OnToken | None = None
    ) -> list[Candidate]:
        """See base.Engine. EngineCrashed when the child dies meanwhile."""
        with self._call_lock:
            self._stop_wanted = False
            self._ready()
            found = self._call(
                "an answer",
                {"op": "generate", "messages": [dict(m) for m in messages], "n": n, "sampling": asdict(sampling)},
                on_token,
            )
        return [Candidate(**{**fields, "timings": Timings(**fields["timings"])}) for fields in found]

    def draw(
        self,
        prompts: Sequence[Sequence[int]],
        n: int,
        sampling: Sampling,
        on_answer: Callable[[int], None] | None = None,
    ) -> list[list[list[int]]]:
        """Token ids of n answers to each prompt (token ids too), as many at one time as the engine has streams.

        For rollouts: what counts are tokens a second, not the first token. on_answer is told how many answers have
        ended, as one does and once a second. A prompt with no room for an answer has none. After stop() it raises
        EngineError.
        """
        with self._call_lock:
            self._stop_wanted = False
            self._ready()
            request = {"op": "draw", "prompts": [list(p) for p in prompts], "n": n, "sampling": asdict(sampling)}

            def told(ended: int, _text: str) -> None:
                if on_answer is not None:
                    on_answer(ended)

            found: list[list[list[int]]] = self._call("rollouts", request, told)
            return found

    def score(self, messages: Sequence[Message], response: str | Sequence[int]) -> list[float]:
        """See base.Engine."""
        with self._call_lock:
            self._ready()
            given = response if isinstance(response, str) else list(response)
            request = {"op": "score", "messages": [dict(m) for m in messages], "response": given}
            return [float(value) for value in self._call("scoring", request)]

    def swap(self, adapter_path: Path | None) -> float:
        """See base.Engine. A child started later has this adapter too."""
        with self._call_lock:
            self._ready()
            request = {"op": "swap", "adapter_path": str(adapter_path) if adapter_path is not None else None}
            found = self._call("an adapter swap", request)
            self._adapter = adapter_path
            self._info = EngineInfo(**found["info"])
            return float(found["milliseconds"])

    def stop(self) -> None:
        """End the running generate(), from any thread."""
        self._stop_wanted = True
        current, child = self._current, self._child
        if current is not None and child is not None:
            self._send(child, {"id": current, "op": "stop"})

    def close(self) -> None:
        """End the child; a running call raises EngineCrashed. Closing twice is fine."""
        self._closed = True
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ready(self) -> None:
        """Start a child and load the model, unless one is there."""
        if self._closed:
            raise EngineError("The engine is closed; make a new one.")
        if self._child is not None and self._child.alive:
            return
        if self._child is not None:
            self._child.end()
        config = replace(self._config, adapter_path=self._adapter)
        self._child = _Child(config.log_path)
        try:
            fields = {name: str(v) if isinstance(v, Path) else v for name, v in asdict(config).items()}
            self._info = EngineInfo(**self._call("loading the model", {"op": "load", "config": fields}))
            if self._closed:
                raise EngineError("The engine was closed while it loaded.")
        except BaseException:
            child, self._child = self._child, None
            if child is not None:
                child.end()
            raise

    def _call(self, what: str, request: dict[str, Any], on_token: OnToken | None = None) -> Any:
        child = self._child
        if child is None:
            raise EngineError("The engine is closed; make a new one.")
        self._next_id += 1
        number = self._next_id
        try:
            self._send(child, {"id": number, **request})
            if request["op"] in ("generate", "draw"):
                self._current = number
                if self._stop_wanted:
                    self.stop()
            while True:
                reply = child.replies.get()
                if reply is None:
                    raise child.crash(what)
                if reply["id"] != number:
                    continue  # left over from a call whose on_token raised
                if "token" in reply:
                    if on_token is not None:
                        on_token(*reply["token"])
                elif "error" in reply:
                    kind, text = reply["error"]
                    raise getattr(base, kind, EngineError)(text)
                else:
                    return reply["ok"]
        except EngineError:
            raise
        except BaseException:
            self.stop()  # whatever on_token raised, or Ctrl+C: nobody waits for this answer any more
            raise
        finally:
            self._current = None

    def _send(self, child: _Child, request: dict[str, Any]) -> None:
        line = json.dumps(request).encode() + b"\n"
        with self._pipe_lock, contextlib.suppress(OSError, ValueError):  # a lost child is told by its replies' end
            assert child.process.stdin is not None
            child.process.stdin.write(line)
            child.process.stdin.flush()


class _Child:
    """One started process and the thread that reads its replies. None in `replies` says that it is gone."""

    def __init__(self, log_path: Path | None) -> None:
        self.log_path = log_path
        self.replies: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        log = _open_log(log_path)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "chatapp.engine.serve"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=child_environment(),
                start_new_session=True,  # Ctrl+C and Ctrl+Z in the terminal do not reach it
            )
        except OSError as error:
            raise EngineError(f"The engine process cannot be started: {error.strerror}. Free some memory.") from error
        finally:
            os.close(log)
        threading.Thread(target=self._read, name="engine-replies", daemon=True).start()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def _read(self) -> None:
        assert self.process.stdout is not None
        try:
            for line in self.process.stdout:
                if line.endswith(b"\n"):  # a line without its end is where the child died
                    self.replies.put(json.loads(line))
        except (OSError, ValueError):
            pass
        self.replies.put(None)

    def crash(self, what: str) -> EngineCrashed:
        """The error for a call during which the child went."""
        try:
            code = self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if code < 0:
            how = f"was ended by {_signal_name(-code)}"
        else:
            how = f"ended with exit code {code}"
        log = f" Its log: {self.log_path}." if self.log_path is not None else ""
        return EngineCrashed(f"The engine process {how} during {what}. Try again: a new one starts by itself.{log}")

    def end(self) -> None:
        """Close the pipe, on which the child leaves at once; kill it if it does not."""
        with contextlib.suppress(OSError, ValueError):
            if self.process.stdin is not None:
                self.process.stdin.close()
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def child_environment() -> dict[str, str]:
    """This environment, with our packages on the path however this process found them."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


def _open_log(path: Path | None) -> int:
    if path is None:
        return os.open(os.devnull, os.O_WRONLY)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        begin_anew = os.O_TRUNC if path.exists() and path.stat().st_size > _LOG_LIMIT else 0
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | begin_anew, 0o600)
    except OSError as error:
        raise EngineError(
            f"The engine's log {path} cannot be written: {error.strerror}. Use another folder."
        ) from error


def _signal_name(number: int) -> str:
    try:
        return f"{signal.Signals(number).name} (signal {number})"
    except ValueError:
        return f"signal {number}"
