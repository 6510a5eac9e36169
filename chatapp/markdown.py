"""A conversation as a Markdown document.

What was written is Markdown of its own and stays so, where it is closed in itself. Where it could swallow what comes
after it (a fence without an end, HTML, a comment) it stands in a code block whose fence is longer than any in it.
"""

from __future__ import annotations

import re

from chatapp.clean import clean, one_line
from chatapp.conversation import Conversation, Exchange
from chatapp.times import when

_OPENS = re.compile(r"(`{3,}(?=[^`]*$)|~{3,})")
_CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_HTML = re.compile(r"<(?!https?://|mailto:)[A-Za-z/!?]")


def document(conversation: Conversation) -> str:
    """The whole thread; ends with a newline."""
    thread = conversation.thread
    about = [when(thread.created_at)]
    if thread.origin != "chat":
        about.append(f"from {plain(thread.origin)}")
    parts = [f"# {plain(one_line(thread.title or 'Untitled', 200))}", f"*{', '.join(about)}*"]
    if conversation.system:
        parts += ["## System prompt", written(conversation.system)]
    for message in conversation.loose:
        parts += ["## Answer", written(message.content)]
    for exchange in conversation.exchanges:
        parts += _exchange(exchange)
    return "\n\n".join(parts) + "\n"


def _exchange(exchange: Exchange) -> list[str]:
    parts = ["## You", written(exchange.question.content)]
    for answer in exchange.answers:
        if answer.name == exchange.follows:
            name = answer.name if len(exchange.answers) > 1 else ""
            parts += [f"## Answer {plain(name)}".rstrip(), written(answer.text)]
    if exchange.summary:
        parts.append(f"*{plain(exchange.summary)}*")
    parts += [f"*Note on {plain(name)}:* {plain(one_line(text, 2000))}" for name, text in exchange.notes]
    for answer in exchange.answers:
        if answer.name != exchange.follows:
            summary = f"<details><summary>{plain(answer.name)}</summary>"
            parts += [summary, written(answer.text), "</details>"]
    return parts


def plain(text: str) -> str:
    """Text in which no character means anything to Markdown or HTML, on one line."""
    escaped = clean(text).replace("&", "&amp;").replace("<", "&lt;")
    return " ".join(re.sub(r"([\\`*_\[\]#|~])", r"\\\1", escaped).split())


def written(text: str | None) -> str:
    """What somebody wrote, closed in itself."""
    if text is None:
        return "*(forgotten)*"
    # tabs mean something in code; everything else that a terminal obeys or that misleads becomes visible
    text = "\t".join(clean(part) for part in text.split("\t")).strip("\n")
    if not text.strip():
        return "*(no text)*"
    if contained(text):
        return text
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"


def contained(text: str) -> bool:
    """Whether Markdown surely ends where it ends. A fence anywhere but at the margin is not looked into."""
    fence = ""
    html = unsure = False
    for line in text.split("\n"):
        if fence:
            closed = re.fullmatch(r" {0,3}(`{3,}|~{3,})[ \t]*", line)
            if closed and closed[1].startswith(fence):
                fence = ""
        elif opened := _OPENS.match(line):
            fence = opened[1]
        elif "```" in line or "~~~" in line:
            return False
        else:
            rest = _CODE.sub("", line)
            if _HTML.search(rest):
                return False
            html = html or bool(_HTML.search(line))
            # a backtick without its pair may have it on another line, and then what is code here is none
            unsure = unsure or "`" in rest or "\\`" in line
    return not fence and not (html and unsure)
