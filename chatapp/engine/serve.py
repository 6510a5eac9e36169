"""The engine's own process: `python -m chatapp.engine.serve`, started by process.py and by nobody else.

Requests come as JSON lines on stdin, replies go as JSON lines to what was stdout; native code that prints does so into
the log. The end of stdin is the end of this process, at once and whatever it is doing, so a killed chat leaves nothing.
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from chatapp.engine.base import EngineConfig, EngineError, Sampling

CONFIG_PATHS = ("model_path", "adapter_path", "lock_path", "log_path")


class Server:
    """Runs requests one after the other; only "stop" is heeded in between."""

    def __init__(self, requests: IO[bytes], replies: IO[bytes]) -> None:
        self._requests = requests
        self._replies = replies
        self._waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._engine: Any = None
        self._lock = threading.Lock()
        self._current = -1  #: the request being run
        self._stopped = -1  #: the newest request to be stopped: it may not have begun yet

    def run(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            request = self._waiting.get()
            with self._lock:
                self._current = request["id"]
            try:
                reply = {"ok": self._answer(request)}
            except EngineError as error:
                reply = {"error": [type(error).__name__, str(error)]}
            except Exception as error:  # a bug of ours must not look like a crash of llama.cpp
                reply = {"error": ["EngineError", f"{type(error).__name__}: {error}"]}
            self._send({"id": request["id"], **reply})

    def _read(self) -> None:
        for line in self._requests:
            request = json.loads(line)
            if request["op"] != "stop":
                self._waiting.put(request)
                continue
            with self._lock:
                self._stopped = request["id"]
                if self._engine is not None and self._current == self._stopped:
                    self._engine.stop()
        os._exit(0)  # the parent is gone or wants no more; waiting for native code would leave an orphan

    def _answer(self, request: dict[str, Any]) -> Any:
        op = request["op"]
        if op == "load":
            from chatapp.engine.llama import LlamaEngine  # the native library: its crash is told as one of loading

            config = request["config"]
            for name in CONFIG_PATHS:
                config[name] = Path(config[name]) if config[name] is not None else None
            engine = LlamaEngine(EngineConfig(**config))
            engine.on_begin = self._on_begin
            with self._lock:
                self._engine = engine
            return asdict(engine.info)
        if op == "generate":
            index = request["id"]

            def on_token(candidate: int, text: str) -> None:
                self._send({"id": index, "token": [candidate, text]})

            sampling = Sampling(**request["sampling"])
            return [asdict(x) for x in self._engine.generate(request["messages"], request["n"], sampling, on_token)]
        if op == "draw":
            index = request["id"]
            return self._engine.draw(
                request["prompts"],
                request["n"],
                Sampling(**request["sampling"]),
                lambda ended: self._send({"id": index, "token": [ended, ""]}),
            )
        if op == "score":
            return self._engine.score(request["messages"], request["response"])
        if op == "swap":
            path = request["adapter_path"]
            milliseconds = self._engine.swap(Path(path) if path is not None else None)
            return {"milliseconds": milliseconds, "info": asdict(self._engine.info)}
        raise EngineError(f"The engine process does not know the request {op!r}.")

    def _on_begin(self) -> None:
        """Heed a stop that came before generate() had begun, which begins by forgetting old ones."""
        if self._stopped == self._current:
            self._engine.stop()

    def _send(self, reply: dict[str, Any]) -> None:
        try:
            self._replies.write(json.dumps(reply).encode() + b"\n")
            self._replies.flush()
        except (BrokenPipeError, ValueError):
            os._exit(0)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the chat's affair
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # stderr is the log already
    faulthandler.enable(file=sys.stderr)
    Server(requests, replies).run()


if __name__ == "__main__":
    main()
