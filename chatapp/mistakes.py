"""What happens to a defect of Hone's own: the traceback goes to a file, the reader gets a sentence. Nothing of a
conversation is in that file: a traceback without the variables.
"""

from __future__ import annotations

import tempfile
import traceback

from chatapp.clean import one_line


def in_words(error: BaseException) -> str:
    return one_line(f"{type(error).__name__}: {error}", 300)


def kept(error: BaseException) -> str:
    """Where its traceback lies now."""
    with tempfile.NamedTemporaryFile("w", prefix="hone-", suffix=".log", delete=False, encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
    return file.name


class Mistakes:
    """Those of one chat. One that comes again, once a second perhaps, is told once."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}

    def told(self, error: BaseException) -> str | None:
        """What to say of it, with what can be done; None: that was said before."""
        what = in_words(error)
        if what in self._files:
            return None
        try:
            self._files[what] = kept(error)
            details = f"the details are in {self._files[what]}"
        except OSError as refused:
            self._files[what] = ""
            details = f"the details could not be written: {in_words(refused)}"
        return f"Something went wrong inside Hone ({what}). You can go on; please report it: {details}"
