"""llama.cpp loaded once: its log, and opening a model file with a reason when that fails.

The rest of the engine calls llama_cpp's low-level functions directly; only what is global to the process is here.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from pathlib import Path
from typing import IO, Any

from chatapp.engine.base import EngineError, ModelFileError
from chatapp.engine.model_files import check_gguf

_DEBUG, _WARN, _ERROR, _CONTINUED = 1, 3, 4, 5
_lock = threading.Lock()
_library: Any = None
_callback: Any = None  #: llama.cpp keeps only the bare pointer: collecting this object would crash the process
_log_file: IO[str] | None = None
_errors: deque[str] = deque(maxlen=20)
_level = 0


def library() -> Any:
    """llama_cpp's low-level module, ready and with its log redirected."""
    global _library, _callback
    with _lock:
        if _library is None:
            # Before libgomp reads it: a thread that waits spins a moment, then sleeps. libgomp's own default spins for
            # milliseconds, which gains nothing on idle cores and, on cores that others want too, costs nearly all.
            os.environ.setdefault("GOMP_SPINCOUNT", "1000")
            try:
                import llama_cpp.llama_cpp as loaded  # seconds of native code: only where a model is opened
            except (ImportError, OSError, RuntimeError) as error:
                raise EngineError(f"llama-cpp-python cannot be loaded: {error}. Install it again: {REBUILD}") from error
            _callback = loaded.llama_log_callback(_on_log)
            loaded.llama_log_set(_callback, ctypes.c_void_p(0))
            loaded.llama_backend_init()
            _library = loaded
    return _library


REBUILD = (
    'CXXFLAGS="-fno-tree-dse -fno-dse" CMAKE_ARGS="-DLLAMA_BUILD_TOOLS=OFF" pip install --no-cache-dir '
    "--force-reinstall --no-binary llama-cpp-python llama-cpp-python"
)
#: For a compiler that miscompiles AMX even so (DESIGN section 8): slower, but it runs.
REBUILD_WITHOUT_AMX = REBUILD.replace("-fno-dse", "-fno-dse -mno-amx-tile -mno-amx-int8 -mno-amx-bf16")


def log_to(path: Path | None) -> None:
    """Append llama.cpp's messages to path (the newest call wins: the log is global to the process)."""
    global _log_file
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise EngineError(
            f"The engine's log {path} cannot be written: {error.strerror}. Use another folder."
        ) from error
    with _lock:
        old, _log_file = _log_file, opened
    if old is not None:
        old.close()


def note(line: str) -> None:
    """One line of our own into the log."""
    if _log_file is not None:
        _log_file.write(f"hone: {line}\n")


def _on_log(level: int, text: bytes, _data: Any) -> None:
    global _level
    _level = _level if level == _CONTINUED else level
    if _level == _DEBUG:
        return  # llama.cpp's debug lines may quote tokens
    try:
        line = text.decode("utf-8", "replace")
        if _level >= _ERROR and line.strip(". \n"):
            _errors.append(line.strip())
        if _log_file is not None:
            _log_file.write(line)
    except Exception:  # an exception here would go through C++ frames
        pass


def take_errors() -> str:
    """What llama.cpp complained about since the last call, without its function names."""
    seen: list[str] = []
    for line in _errors:
        reason = line.split(": ", 1)[-1] if line.split(":", 1)[0].replace("_", "").isalnum() else line
        if reason not in seen:
            seen.append(reason)
    _errors.clear()
    return "; ".join(seen)


def load_model(path: Path, *, vocab_only: bool, gpu_layers: int = 0) -> Any:
    """A llama_model pointer. ModelFileError quotes llama.cpp's reason."""
    check_gguf(path)
    lib = library()
    params = lib.llama_model_default_params()
    params.vocab_only = vocab_only
    params.n_gpu_layers = gpu_layers
    take_errors()
    model = lib.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        reason = take_errors() or "no reason given"
        raise ModelFileError(
            f"llama.cpp cannot load {path}: {reason}. The file may be incomplete, or newer than this llama.cpp: "
            "download it again, choose another model, or update llama-cpp-python."
        )
    return model
