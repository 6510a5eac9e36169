"""Code in colours, by Pygments. The colours are the theme's, so every theme keeps them readable.

A block is coloured in pieces that end at blank lines, each once: code that grows costs its last piece.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from textual.content import Content, Span

from chatapp.prose.inline import MUTED

#: characters of a piece, and of a line; longer ones stay without colours: the text is a stranger's, and many lexers
#: take the square of what is put before them
LONGEST, LINE = 1_000, 300
#: languages whose lexers were tried on such texts
KNOWN = frozenset(
    [
        "bash",
        "c",
        "console",
        "cpp",
        "css",
        "diff",
        "go",
        "html",
        "ini",
        "java",
        "javascript",
        "js",
        "json",
        "kotlin",
        "lua",
        "php",
        "py",
        "python",
        "python3",
        "pycon",
        "rb",
        "rs",
        "ruby",
        "rust",
        "sh",
        "shell",
        "sql",
        "swift",
        "toml",
        "ts",
        "typescript",
        "xml",
        "yaml",
        "yml",
        "zsh",
    ]
)
_STYLES = {
    "Comment": f"{MUTED} italic",
    "Keyword": "bold $text-primary",
    "Keyword.Constant": "$text-warning",
    "Literal.Number": "$text-warning",
    "Literal.String": "$text-success",
    "Name.Attribute": "$text-secondary",
    "Name.Builtin": "$text-secondary",
    "Name.Class": "bold $text-accent",
    "Name.Decorator": "$text-accent",
    "Name.Function": "$text-accent",
    "Name.Tag": "bold $text-primary",
    "Name.Variable": "$text-secondary",
    "Operator.Word": "bold $text-primary",
    "Generic.Deleted": "$text-error",
    "Generic.Inserted": "$text-success",
    "Generic.Heading": "bold",
    "Generic.Subheading": "$text-secondary",
    "Generic.Prompt": MUTED,
}


def coloured(language: str, code: str) -> list[Content]:
    """The lines of code. A language that is not known gives them as they are."""
    lines = code.split("\n")
    if language.lower() not in KNOWN or _lexer(language.lower()) is None:
        return [Content(line) for line in lines]
    language = language.lower()
    done: list[Content] = []
    start = size = again = 0
    for end, line in enumerate(lines, 1):
        size += len(line) + 1
        must = size > LONGEST or end == len(lines)
        if not must and (line.strip() or size < again):
            continue
        piece, whole = _piece(language, "\n".join(lines[start:end]))
        if whole or must:
            done += piece
            start, size, again = end, 0, 0
        else:
            again = 2 * size  # within a string of many paragraphs not each of them is tried
    return done


@lru_cache(maxsize=64)
def _lexer(language: str) -> Any:
    # here: the first paint needs no lexer
    from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]
    from pygments.util import ClassNotFound  # type: ignore[import-untyped]

    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


@lru_cache(maxsize=256)
def _piece(language: str, code: str) -> tuple[list[Content], bool]:
    """The lines of code, and whether a new piece may begin behind them: not within a string or a comment."""
    plain = [Content(line) for line in code.split("\n")]
    if any(len(line) > LINE for line in plain):
        return plain, True
    try:
        tokens = [(kind, text) for _, kind, text in _lexer(language).get_tokens_unprocessed(code)]
    except Exception:  # a lexer's mistake costs the colours, not the answer
        return plain, True
    if "".join(text for _, text in tokens) != code:
        return plain, True
    spans: list[Span] = []
    at = 0
    for kind, text in tokens:
        if text.strip() and (style := _style(kind)):
            spans.append(Span(at, at + len(text), style))
        at += len(text)
    last = str(tokens[-1][0]) if tokens else ""
    whole = not last.startswith(("Token.Literal.String", "Token.Comment"))
    return Content(code, spans).split("\n", allow_blank=True), whole


@lru_cache(maxsize=512)
def _style(kind: Any) -> str:
    while kind is not None:
        if style := _STYLES.get(str(kind).removeprefix("Token.")):
            return style
        kind = kind.parent
    return ""
