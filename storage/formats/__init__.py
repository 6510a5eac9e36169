"""Exchange formats, a file each: `parse` turns a row into turns, `write_*` an example into a row.

write_pair(prompt, chosen, rejected, about), write_unpaired(prompt, completion, good, about) and
write_demonstration(prompt, completion, about) are there as far as the format has such rows; `about` is the `hone`
object (ids, margin, weight, source). They raise RecordError for what the format cannot say.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

#: read and written, line by line
BOTH = ("trl-preference", "trl-unpaired", "trl-sft", "openai-preference", "hh-rlhf", "sharegpt", "alpaca")
READ_ONLY = ("oasst", "arena", "open-webui", "argilla")
#: everything, lossless: `storage.formats.hone` reads and writes whole homes, not turns
LOSSLESS = "hone"
#: a table with labels: `storage.formats.labelled` makes preferences of it
LABELLED = "labelled"


def module(name: str) -> ModuleType:
    """The module of a format of BOTH or READ_ONLY."""
    return import_module(f"storage.formats.{name.replace('-', '_')}")
