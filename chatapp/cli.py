"""The `hone` command. Thin: it reads the command line and hands over; nothing heavy is imported before that."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

# exit codes
OK, FAILED, USAGE, REJECTED, INTERRUPTED = 0, 1, 2, 3, 130
#: what a file that takes no more says
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(argv: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit code: 0 only on success; errors are one sentence on stderr."""
    from chatapp.arguments import with_list

    arguments = parser().parse_args(with_list(sys.argv[1:] if argv is None else argv))
    try:
        code = int(arguments.run(arguments) or OK)
        sys.stdout.flush()  # what cannot be written is to be said here, not when Python ends
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _silence()  # the reader has gone (`hone ... | head`)
        return 128 + signal.SIGPIPE
    except Exception as error:
        if not expected(error):
            # of a file it would have a name, and of the home it would be one of ours
            if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
                _silence()
                print(f"hone: cannot write the output: {error.strerror}", file=sys.stderr)
                return FAILED
            return crashed(error)
        complain(str(error))
        return FAILED


def _silence() -> None:
    """Nothing more goes to stdout: Python would try again at the end what is left in its buffer, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def expected(error: Exception) -> bool:
    """Whether this is one of ours, whose text is meant for the user."""
    from chatapp.config import ConfigError
    from chatapp.engine.base import EngineError
    from storage.errors import StorageError

    return isinstance(error, ConfigError | EngineError | StorageError | UserError)


class UserError(Exception):
    """A command that cannot be carried out; the text says what, which value, and what to do next."""


def crashed(error: Exception) -> int:
    """A defect of ours: the traceback goes to a file, the user is told in a sentence."""
    from chatapp.mistakes import kept

    complain(f"unexpected {type(error).__name__}: {error}. The details are in {kept(error)}")
    return FAILED


def complain(text: str) -> None:
    """Say on stderr what went wrong. At a terminal lines break between words; what reads a pipe gets them whole."""
    from chatapp.clean import clean
    from chatapp.plain.lines import Breaks

    def width() -> int | None:
        try:
            return (os.get_terminal_size(sys.stderr.fileno()).columns or None) if sys.stderr.isatty() else None
        except (OSError, ValueError):  # what stands for it has no number
            return None

    broken = Breaks(width)
    for line in f"hone: {clean(text)}".split("\n"):  # it may quote what others wrote
        for part in broken(line):
            print(part, file=sys.stderr)


def settings(arguments: argparse.Namespace) -> Any:
    from chatapp.config import Settings

    return Settings.load(vars(arguments))


def parser() -> argparse.ArgumentParser:
    from chatapp.arguments import parser

    return parser()


if __name__ == "__main__":
    sys.exit(main())
