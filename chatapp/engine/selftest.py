"""Does this build of llama.cpp run this model on this machine? Tried in a child process, as the answer may be a crash.

Success is remembered by the library's files, the model's hash and the CPU, so it costs a second only after a change.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import platform
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chatapp.engine.base import EngineConfig, EngineError, Message, Sampling, SelfTestResult
from chatapp.engine.model_files import file_hash, read_json, write_json
from chatapp.engine.native import REBUILD, REBUILD_WITHOUT_AMX
from chatapp.engine.process import child_environment

_CACHE = "self-test.json"
_TIMEOUT = 120.0  #: seconds; a cold 8 GB file on a slow disk takes most of it


def self_test(model_path: Path, cache_dir: Path, *, force: bool = False, timeout: float = _TIMEOUT) -> SelfTestResult:
    """Decode a few tokens, alone and as a batch. A remembered success is given back unless force."""
    try:
        key = _key(model_path, cache_dir)
    except OSError as error:
        return SelfTestResult(False, f"The model file {model_path} cannot be read: {error.strerror}.")
    known = read_json(cache_dir / _CACHE).get(key)
    if isinstance(known, dict) and not force:
        return SelfTestResult(**known)
    result = _run(model_path, timeout)
    if result.ok:
        write_json(cache_dir / _CACHE, {key: asdict(result)})
    return result


def _run(model_path: Path, timeout: float) -> SelfTestResult:
    command = [sys.executable, "-P", "-m", "chatapp.engine.selftest", str(model_path)]
    try:
        child = subprocess.run(
            command, capture_output=True, timeout=timeout, env=child_environment(), stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return SelfTestResult(
            False,
            f"llama.cpp gave no answer within {timeout:.0f} seconds. Try a smaller model, or build it again: {REBUILD}",
        )
    said = child.stderr.decode("utf-8", "replace").strip().splitlines()[-20:]
    if child.returncode < 0:
        return SelfTestResult(False, crash_advice(-child.returncode), {"signal": -child.returncode, "stderr": said})
    try:
        return SelfTestResult(**json.loads(child.stdout.splitlines()[-1]))
    except (ValueError, IndexError, TypeError):
        last = said[-1] if said else "nothing was printed"
        return SelfTestResult(
            False,
            f"llama.cpp's test ended with exit code {child.returncode}: {last}. Build it again: {REBUILD}",
            {"stderr": said},
        )


def crash_advice(number: int) -> str:
    """What to do about a library that dies with this signal."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    why = "it was built for another CPU" if number == signal.SIGILL else "some compilers break llama.cpp's AMX code"
    return (
        f"llama.cpp crashed ({name}) while it decoded a few tokens; often {why}. Build it again for this machine:\n"
        f"  {REBUILD}\nIf that crashes too, leave AMX out:\n  {REBUILD_WITHOUT_AMX}"
    )


def _key(model_path: Path, cache_dir: Path) -> str:
    digest = hashlib.sha256(file_hash(model_path, cache_dir).encode())
    spec = importlib.util.find_spec("llama_cpp")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder, "lib").glob("*")):
            status = file.stat()
            digest.update(f"{file}|{status.st_size}|{status.st_mtime_ns}\n".encode())
    digest.update(_cpu().encode())
    return digest.hexdigest()


def _cpu() -> str:
    """What the build may depend on: a home folder can be shared by unequal machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def decode_a_little(model_path: Path) -> SelfTestResult:
    """The test itself, in this process: a prompt, one answer, and a batch of two."""
    from chatapp.engine import native
    from chatapp.engine.llama import LlamaEngine

    details: dict[str, Any] = {"llama_cpp_python": _version(), "model": str(model_path)}
    try:
        details["system"] = native.library().llama_print_system_info().decode()
        details["llama_cpp"] = native.library().llama_version().decode()
        with LlamaEngine(EngineConfig(model_path, context_size=256)) as engine:
            ids = engine.vocab.tokenize("The quick brown fox jumps over the lazy dog.")
            if not bool((abs(engine.logits(ids)) < 1e6).all()):
                return SelfTestResult(
                    False,
                    f"llama.cpp computes nonsense here (logits are not finite). Build it again: {REBUILD}",
                    details,
                )
            greeting = [Message(role="user", content="Hello!")]
            engine.generate(greeting, 1, Sampling(temperature=0, max_tokens=4))
            started = time.perf_counter()
            answers = engine.generate(greeting, 2, Sampling(seed=1, max_tokens=16))
            tokens = sum(len(answer.token_ids) for answer in answers)
            details["tokens_per_second"] = round(tokens / (time.perf_counter() - started), 1)
    except EngineError as error:
        return SelfTestResult(False, str(error), details)
    return SelfTestResult(True, f"llama.cpp runs this model ({details['tokens_per_second']} tokens/s).", details)


def _version() -> str:
    try:
        return importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


if __name__ == "__main__":
    print(json.dumps(asdict(decode_a_little(Path(sys.argv[1])))))
