"""Finds the models that are on this disk already: ours, Ollama's, the Hub's, LM Studio's and in folders of one's own.

Names and headers are read, and nothing more: no file is hashed, loaded or fetched. What cannot be chatted with is left
out with the reason, and so is a folder that cannot be read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatapp.engine.base import ModelFileError
from chatapp.engine.model_files import (
    bundled,
    hub_caches,
    hub_file,
    known_hash,
    ollama_blob,
    ollama_stores,
    read_json,
    read_metadata,
)

#: what --model takes for the bundled model, whatever the settings say
BUNDLED = "none"
#: mean KL(llama.cpp || torch) in nats per token up to which a model counts as trainable; llama.cpp's 4-bit kernels
#: round activations to 8 bits as well
MAX_KL = 0.02
#: general.file_type of a GGUF, by number; "-": never used, or no longer
_QUANTISATIONS = """\
F32 F16 Q4_0 Q4_1 - - - Q8_0 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K IQ2_XXS IQ2_XS Q2_K_S
IQ3_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ3_M IQ2_S IQ2_M IQ4_XS IQ1_M BF16 - - - TQ1_0 TQ2_0 MXFP4_MOE NVFP4 Q1_0"""
_LM_STUDIO = ("~/.lmstudio/models", "~/.cache/lm-studio/models")
#: general.type of files that belong to a model and are none
_BESIDE = {"adapter": "an adapter", "mmproj": "the eyes or ears of a model", "imatrix": "a quantisation's statistics"}
_PART = re.compile(r"-(\d{5})-of-(\d{5})(?=\.gguf$)", re.I)
_SHA256 = re.compile(r"(?:sha256-)?([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model on this disk that may be chatted with."""

    spec: str  #: what --model takes
    name: str
    path: Path
    source: str  #: "bundled", "ollama", "hf", "lmstudio", "folder" or "path"
    bytes: int  #: of all its files
    files: int
    architecture: str
    quantisation: str  #: "" where the file does not say
    parameters: str  #: as the file says it, "135M"; "" where it does not
    template: bool  #: whether it says how a chat is written; a plain form is used where not
    hash: str | None  #: None: it was never read as a whole


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or a folder that is not in the list."""

    path: Path
    why: str


@dataclass(frozen=True, slots=True)
class _Candidate:
    spec: str
    name: str
    path: Path
    source: str


def find(
    cache_dir: Path, folders: Sequence[Path] = (), configured: _Candidate | None = None
) -> tuple[list[FoundModel], list[LeftOut]]:
    """All that is there, by source and name, and what was left out. A file that several know is listed once."""
    left: list[LeftOut] = []
    found: list[FoundModel] = []
    seen: set[str] = set()
    for candidate in _candidates(cache_dir, folders, configured, left):
        if _goes_with_another(candidate.path):
            continue
        real = os.path.realpath(candidate.path)
        # tags of Ollama's share a file; each is a name that its user knows
        key = candidate.spec if candidate.source == "ollama" else real
        if key in seen or (candidate.source == "path" and real in seen):
            continue
        seen |= {key, real}
        try:
            found.append(_look(candidate, cache_dir))
        except (ModelFileError, OSError, RecursionError) as error:
            left.append(LeftOut(candidate.path, str(error) or type(error).__name__))
    return found, left


def named(spec: str, path: Path) -> _Candidate:
    """The model of the settings, for `find`: it is listed wherever it lies."""
    return _Candidate(spec, path.stem, path, "path")


def trainable(model: FoundModel, cache_dir: Path) -> tuple[str, str]:
    """("yes", "no" or "unknown", why), as the trainer measured it once for the file: see trainer/base_model.py."""
    if model.files > 1:
        return "no", f"it lies in {model.files} files, and the trainer reads a single one"
    kl = read_json(cache_dir / "models" / (model.hash or "-") / "check.json").get("kl")
    if not isinstance(kl, int | float):
        return "unknown", "not tried yet"
    if kl > MAX_KL:
        return "no", f"torch and llama.cpp compute different models from it (mean KL {kl:.3f}, at most {MAX_KL})"
    return "yes", f"torch computes what llama.cpp does (mean KL {kl:.3f} nats a token)"


# -- where models lie --------------------------------------------------------------------------------------------------


def _candidates(
    cache_dir: Path, folders: Sequence[Path], configured: _Candidate | None, left: list[LeftOut]
) -> Iterator[_Candidate]:
    try:
        yield _Candidate(BUNDLED, bundled().stem, bundled(), "bundled")
    except ModelFileError as error:
        left.append(LeftOut(Path(BUNDLED), str(error)))
    for store in ollama_stores():
        yield from _ollama(store, left)
    for cache in hub_caches(cache_dir):
        yield from _hub(cache, cache_dir, left)
    for root in _LM_STUDIO:
        yield from _folder(Path(root).expanduser(), "lmstudio", left)
    for folder in folders:
        if not os.path.lexists(folder):
            left.append(LeftOut(folder, "there is no such folder; model_dirs names it"))
        yield from _folder(folder, "folder", left)
    if configured is not None:
        yield configured


def _ollama(store: Path, left: list[LeftOut]) -> Iterator[_Candidate]:
    root = store / "manifests"
    for manifest in _files(root, left):
        parts = manifest.relative_to(root).parts
        if len(parts) != 4 or parts[-1].startswith("."):
            continue  # host/owner/name/tag, or none of Ollama's
        *where, name, tag = parts
        if where[0] == "registry.ollama.ai":
            where = [part for part in where[1:] if part != "library"]
        spec = f"{'/'.join([*where, name])}:{tag}"
        try:
            yield _Candidate(f"ollama:{spec}", spec, ollama_blob(store, manifest), "ollama")
        except (ModelFileError, OSError) as error:
            left.append(LeftOut(manifest, str(error)))


def _hub(cache: Path, cache_dir: Path, left: list[LeftOut]) -> Iterator[_Candidate]:
    for folder in _inside(cache, left):
        kind, _, repo = folder.name.partition("--")
        if kind != "models":
            continue
        snapshots = folder / "snapshots"
        for path in _ggufs(snapshots, left):
            file = Path(*path.relative_to(snapshots).parts[1:]).as_posix()
            owner, _, name = repo.partition("--")
            spec = str(path)
            if name and hub_file(f"{owner}/{name}", file, cache_dir) == path:
                spec = f"hf:{owner}/{name}/{file}"
            yield _Candidate(spec, path.stem, path, "hf")


def _folder(root: Path, source: str, left: list[LeftOut]) -> Iterator[_Candidate]:
    for path in _ggufs(root, left):
        yield _Candidate(str(path), path.stem, path, source)


def _inside(folder: Path, left: list[LeftOut]) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        left.append(LeftOut(folder, f"the folder cannot be read: {error.strerror or error}"))
        return []


def _ggufs(root: Path, left: list[LeftOut]) -> Iterator[Path]:
    return (path for path in _files(root, left) if path.suffix.lower() == ".gguf")


def _files(root: Path, left: list[LeftOut]) -> Iterator[Path]:
    """All files below root, through links too; folders that cannot be read are left out by name."""

    def unreadable(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            left.append(LeftOut(Path(error.filename), f"the folder cannot be read: {error.strerror or error}"))

    seen: set[str] = set()
    for folder, inside, names in os.walk(root, onerror=unreadable, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a folder above it
            inside.clear()
            continue
        seen.add(real)
        inside.sort()
        yield from (Path(folder, name) for name in sorted(names))


# -- what a file is ----------------------------------------------------------------------------------------------------


def _look(candidate: _Candidate, cache_dir: Path) -> FoundModel:
    """Raises ModelFileError where it is no model to chat with, and says why."""
    path = candidate.path
    if not os.path.exists(path):
        gone = "a link to a file that is gone" if path.is_symlink() else f"its file {path} is gone"
        raise ModelFileError(f"{gone}; download the model again, or remove what is left of it")
    parts = _parts(path)
    header = read_metadata(path)
    architecture = str(header.get("general.architecture", ""))
    if why := _no_chat(header, architecture):
        raise ModelFileError(why)
    return FoundModel(
        spec=candidate.spec,
        name=_PART.sub("", path.name).removesuffix(".gguf") if len(parts) > 1 else candidate.name,
        path=path,
        source=candidate.source,
        bytes=sum(part.stat().st_size for part in parts),
        files=len(parts),
        architecture=architecture,
        quantisation=_quantisation(header.get("general.file_type")),
        parameters=str(header.get("general.size_label", "")),
        template="tokenizer.chat_template" in header,
        hash=_hash(path, cache_dir) if len(parts) == 1 else None,
    )


def _parts(path: Path) -> list[Path]:
    """The files of a model that was split into several; llama.cpp is given the first."""
    match = _PART.search(path.name)
    if match is None:
        return [path]
    count = int(match[2])
    parts = [_part(path, n, count) for n in range(1, min(count, 999) + 1)]
    missing = [str(n) for n, part in enumerate(parts, 1) if not os.path.exists(part)]
    if missing:
        which = f"part {missing[0]} of {count} is" if len(missing) == 1 else f"{len(missing)} of {count} parts are"
        raise ModelFileError(f"{which} missing beside it; download the model again")
    return parts


def _part(path: Path, number: int, count: int) -> Path:
    return path.with_name(_PART.sub(f"-{number:05}-of-{count:05}", path.name))


def _goes_with_another(path: Path) -> bool:
    """Whether it is a further part of a model whose first part is there, and stands for all."""
    match = _PART.search(path.name)
    return match is not None and int(match[1]) > 1 and os.path.exists(_part(path, 1, int(match[2])))


def _no_chat(header: dict[str, Any], architecture: str) -> str | None:
    kind = str(header.get("general.type", "model"))
    if kind in _BESIDE:
        return f"{_BESIDE[kind]}, and no model by itself"
    if architecture == "clip":
        return "the eyes of a model, and no model by itself"
    if "bert" in architecture or header.get(f"{architecture}.pooling_type"):
        return f"an embedding model ({architecture}): it makes numbers of a text, and no answers"
    if architecture.startswith("t5"):
        return f"it has an encoder ({architecture}) and cannot chat"
    if "tokenizer.ggml.model" not in header:
        return f"no language model ({architecture or 'of no architecture'}): it has no vocabulary"
    return None


def _quantisation(kind: Any) -> str:
    if not isinstance(kind, int) or kind < 0:
        return ""
    names = _QUANTISATIONS.split()
    name = names[kind] if kind < len(names) else "-"
    return f"type {kind}" if name == "-" else name


def _hash(path: Path, cache_dir: Path) -> str | None:
    """As far as it is known: Ollama and the Hub's cache name a file of weights by its sha256."""
    real = Path(os.path.realpath(path))
    match = _SHA256.fullmatch(real.name)
    return match[1] if match and real.parent.name == "blobs" else known_hash(path, cache_dir)
