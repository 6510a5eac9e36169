"""A version, taken elsewhere: what each format holds, where it goes, and the child process that merges.

`prepare` reads the store and says at once what is wrong; `write` needs no store, so it can be called in any thread.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from chatapp import trainer_process
from chatapp.clean import clean, one_line
from chatapp.config import Settings
from chatapp.engine.model_files import read_metadata
from chatapp.lineage import by_kind
from chatapp.view import Model
from storage import version_files
from storage.adapters import GGUF, Adapter
from storage.errors import StorageError
from storage.store import Store
from storage.version_files import Kept
from storage.versions import learned

#: what each is, and what begins to use it
FORMATS = {
    "peft": "a folder for Python: PEFT's files and a README",
    "gguf": "the adapter alone, one file for llama.cpp's --lora",
    "ollama": "a folder with the adapter and a Modelfile",
    "merged": "one GGUF of the whole model, for any program",
}
WEIGHTS, CONFIG, CARD, MODELFILE = "adapter_model.safetensors", "adapter_config.json", "README.md", "Modelfile"
#: `general.architecture` of the models that Ollama's import page names for adapters: Llama and Mistral, Gemma 1 and 2
OLLAMA = ("llama", "gemma", "gemma2")
#: the first Ollama whose `create` takes no adapter
OLLAMA_WITHOUT = "0.34.1"
#: told the bytes written so far, and all of them
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    version: str
    id: str
    format: str
    path: Path
    files: dict[str, int]  #: bytes by name
    notes: tuple[str, ...]  #: what has to be known of it

    @property
    def bytes(self) -> int:
        return sum(self.files.values())


def default_target(format: str, model: Model, adapter: Adapter) -> Path:
    """A name in the current folder: SmolLM2-135M-Instruct.Q4_1-v3-peft."""
    name = re.sub(r"[^\w.+-]+", "-", model.name, flags=re.ASCII).strip("-.")[:80] or "model"
    end = {"peft": "peft", "gguf": "adapter.gguf", "ollama": "ollama", "merged": "merged.gguf"}[format]
    return Path(f"{name}-{adapter.name}-{end}")


class Export:
    """One version on its way to one place."""

    def __init__(
        self,
        settings: Settings,
        adapter: Adapter,
        format: str,
        target: Path,
        force: bool,
        files: Mapping[str, Kept | str],
        notes: tuple[str, ...],
    ) -> None:
        self.adapter, self.format, self.target = adapter, format, target
        self._settings, self._force, self._files, self._notes = settings, force, files, notes
        self._child: subprocess.Popen[bytes] | None = None
        self.cancelled = False

    def write(self, progress: Progress | None = None) -> Exported:
        """Write it, whole or not at all. Raises StorageError; `merged` alone can be cancelled and tells progress."""
        home = self._settings.home
        if self.format == "merged":
            self._merge(progress)
        elif self.format == "gguf":
            (kept,) = self._files.values()
            assert isinstance(kept, Kept)
            version_files.write_file(home, self.target, kept, self._force)
        else:
            version_files.write_folder(home, self.target, self._files, self._force)
        files = sorted(self.target.iterdir()) if self.target.is_dir() else [self.target]
        sizes = {file.name: file.stat().st_size for file in files}
        return Exported(self.adapter.name, self.adapter.id, self.format, self.target, sizes, self._notes)

    def cancel(self) -> None:
        """End the child, from any thread: `write` raises StorageError, and nothing is left."""
        self.cancelled = True
        if self._child is not None:
            self._child.terminate()

    def _merge(self, progress: Progress | None) -> None:
        """Let the trainer, which has what reads and writes tensors, write it."""
        asked = trainer_process.command(
            self._settings, "merge", self.adapter.id, "-o", str(self.target), "--json", *["--force"] * self._force
        )
        with tempfile.TemporaryFile() as errors:
            self._child = child = subprocess.Popen(
                asked,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **trainer_process.environment(self._settings)},
                start_new_session=True,  # Ctrl+C in the terminal is ours to hand on
            )
            if self.cancelled:  # before there was a child
                child.terminate()
            try:
                assert child.stdout is not None
                for line in child.stdout:
                    said = json.loads(line)
                    if progress is not None and "of" in said:
                        progress(said["done"], said["of"])
                child.wait()
            finally:
                if child.poll() is None:
                    child.terminate()
                    child.wait()
                child.stdout.close()  # type: ignore[union-attr]
            if child.returncode:
                errors.seek(0)
                raise StorageError(self._said(errors.read().decode(errors="replace"), child.returncode))

    def _said(self, told: str, code: int) -> str:
        """Why the child wrote nothing."""
        if self.cancelled:
            return "Cancelled; nothing was written."
        lines = [line for line in told.splitlines() if line.startswith("trainer: ")]
        return lines[-1].removeprefix("trainer: ") if lines else f"the process that merges ended with code {code}"


def prepare(
    store: Store, settings: Settings, model: Model, adapter: Adapter, format: str, target: Path, force: bool = False
) -> Export:
    """Look at all that could be in the way. Raises StorageError and EngineError."""
    target = Path(os.path.abspath(target.expanduser()))
    files: dict[str, Kept | str] = {GGUF: version_files.kept(store, adapter, GGUF)}
    notes: list[str] = []
    if format in ("peft", "ollama"):
        architecture = str(read_metadata(Path(model.path)).get("general.architecture", ""))
        if format == "peft":
            files = {name: version_files.kept(store, adapter, name) for name in (CONFIG, WEIGHTS)}
            files[CARD] = card(store, model, adapter)
        else:
            files[MODELFILE] = modelfile(settings, model, adapter)
            notes += about_ollama(adapter, architecture)
    if adapter.forgotten:
        many = "a judgment" if adapter.forgotten == 1 else f"{adapter.forgotten} judgments"
        notes.append(f"{adapter.name} learned from {many} forgotten since, and may still remember.")
    folder = list(files) if format in ("peft", "ollama") else None
    version_files.check_target(store.home, target, folder, force)
    if target.exists() and target.samefile(model.path):
        raise StorageError(f"{target} is the base model itself, which is not replaced: choose another name")
    return Export(settings, adapter, format, target, force, files, tuple(notes))


# -- in words ----------------------------------------------------------------------------------------------------------


def about_ollama(adapter: Adapter, architecture: str) -> list[str]:
    """What Ollama makes of an adapter, as far as its documentation and releases say."""
    merged = f"`hone adapters export {adapter.name} merged` works with any"
    notes = [f"Ollama {OLLAMA_WITHOUT} and newer take no adapters: {merged}."]
    if architecture not in OLLAMA:
        named = one_line(architecture) or "this model's kind"
        notes.append(
            f"Ollama's documentation names Llama, Mistral and Gemma for adapters, not {named}: its older releases may "
            "refuse this one too."
        )
    return notes


def modelfile(settings: Settings, model: Model, adapter: Adapter) -> str:
    """What `ollama create` reads. Raises StorageError where a path cannot stand in it."""
    source = (settings.model or "").removeprefix("ollama:") if (settings.model or "").startswith("ollama:") else ""
    source = source or os.path.abspath(model.path)
    if not source.isprintable() or source != source.strip():
        raise StorageError(f"the path {source!r} cannot stand in a Modelfile: give the model file a plain name")
    name = f"hone-{adapter.name}"
    return f"""# This makes a model of it: ollama create {name} -f {MODELFILE}
# Ollama {OLLAMA_WITHOUT} and newer take no ADAPTER. There, put the whole model beside this file by
# `hone adapters export {adapter.name} merged -o {name}.gguf`, write FROM ./{name}.gguf, and leave ADAPTER out.
FROM {source}
ADAPTER ./{GGUF}
PARAMETER temperature {settings.temperature:g}
PARAMETER top_p {settings.top_p:g}
PARAMETER min_p {settings.min_p:g}
# Hone has no top_k; Ollama's would be 40
PARAMETER top_k 0
PARAMETER repeat_penalty {settings.repeat_penalty:g}
PARAMETER num_ctx {settings.context_size}
"""


def card(store: Store, model: Model, adapter: Adapter) -> str:
    """The README of a PEFT folder. Nothing of the chats stands in it, and no path of this machine."""
    metadata = read_metadata(Path(model.path))
    name = _plain(str(metadata.get("general.name") or model.name))
    architecture = _plain(str(metadata.get("general.architecture") or "unknown"))
    file = _plain(Path(model.path).name)
    behind = learned(store, adapter.run_id)
    train = [one for one in behind if one.split == "train"]
    tested = len(behind) - len(train)
    many = f"{len(train)} judgment{'' if len(train) == 1 else 's'}"
    kinds = f": {by_kind(train)}" if train else ""
    gone = f" {adapter.forgotten} of them were forgotten since." if adapter.forgotten else ""
    verdict = " ".join(clean(adapter.verdict).split()) or "none was given"
    return f"""---
library_name: peft
tags:
- lora
- hone
---

# {adapter.name} of {name}

A LoRA adapter that [PEFT](https://github.com/huggingface/peft) reads, made by Hone from one person's judgments.

- **Base**: {name}, the file `{file}` (architecture {architecture}, sha256 `{model.hash}`).
- **Trained on** the weights of that very file, dequantised: with the original weights, or another quantisation of them, it may act a little otherwise.
- **Learned from** {many}{kinds}.{gone}
- **Tested on** {tested} held out.
- **Verdict**: {verdict}

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("FOLDER OF THE FILE", gguf_file="{file}")
model = PeftModel.from_pretrained(base, "THIS FOLDER")
```
"""  # noqa: E501 - a line of Markdown is a paragraph


def _plain(text: str) -> str:
    """What others wrote, harmless in a line of Markdown."""
    return one_line(text, 100).replace("`", "'")
