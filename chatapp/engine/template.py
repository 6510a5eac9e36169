"""A model's own chat template, rendered so that only the template can write special tokens.

Pure Python: the trainer and the engine share it, and tests need no model. The jinja environment is set up
as transformers does it. Left out on purpose: tools, documents and images, which this chat has none of.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from chatapp.engine.base import EngineError, Message

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
#: For a model that was never taught to chat: nothing here is special, so it works with any vocabulary.
PLAIN = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\n' }}"
    "{% else %}{{ 'Assistant: ' + message['content'] + eos_token + '\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
ROLES = ("system", "user", "assistant")
_PROBE = "Zebra7"  #: a word that no template says by itself


class ChatTemplate:
    """One jinja template with the special tokens of one vocabulary.

    specials: text -> id of every token that only the template may write.
    """

    def __init__(self, source: str, specials: Mapping[str, int], bos: str = "", eos: str = "") -> None:
        self.source = source
        # A one-character token cannot be told from text by breaking it; no chat template uses one.
        self.specials = {text: id_ for text, id_ in specials.items() if len(text) > 1}
        self._tokens = {"bos_token": bos, "eos_token": eos, "unk_token": "", "pad_token": ""}
        alternatives = "|".join(re.escape(text) for text in sorted(self.specials, key=len, reverse=True))
        self._split = re.compile(f"({alternatives})") if alternatives else None
        # A lookahead finds a special at every start, also one that overlaps the one before it.
        self._starts = re.compile(f"(?={alternatives})") if alternatives else None
        self.folds_system = self._refuses_system()

    def pieces(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> list[int | str]:
        """messages as special token ids and texts in between, which are to be tokenised with specials off.

        What a message's content says is always text. No two texts are neighbours, so tokenising them one by one
        gives the canonical tokens. Raises EngineError with the template's own words when it refuses.
        """
        checked = [_check(message) for message in messages]
        if self.folds_system:
            checked = fold_system(checked)
        mark = _unused_character(self.source, *(message["content"] for message in checked))
        broken = [Message(role=m["role"], content=self._break(m["content"], mark)) for m in checked]
        try:
            text = self._render(broken, add_generation_prompt)
        except EngineError:
            raise
        except Exception as error:  # a template is a program of its own: whatever it raises is its refusal
            said = str(error).replace(mark, "")
            raise EngineError(
                f"This model's chat template refuses the roles {', '.join(m['role'] for m in checked)}: {said}. "
                "Start a new thread, or leave out the system prompt."
            ) from error
        if not self._split:
            return [text.replace(mark, "")]
        parts = self._split.split(text)
        out: list[int | str] = []
        for index, part in enumerate(parts):
            if index % 2:
                out.append(self.specials[part])
            elif part := part.replace(mark, ""):
                out.append(part)
        return out

    def end_of_turn(self) -> int | None:
        """The special token that the template puts after an assistant's message; None if it puts text there."""
        chat = [Message(role="user", content="Hi"), Message(role="assistant", content=_PROBE)]
        try:
            pieces = self.pieces(chat, add_generation_prompt=False)
        except EngineError:
            return None
        seen = False
        for piece in pieces:
            if isinstance(piece, int):
                if seen:
                    return piece
            elif _PROBE in piece:
                seen = not piece.split(_PROBE, 1)[1].strip()
            elif piece.strip():
                seen = False
        return None

    def _refuses_system(self) -> bool:
        """Whether system messages make it raise, or vanish, while the same chat without them is fine."""
        user = Message(role="user", content="Hi")
        try:
            return _PROBE not in self._render([Message(role="system", content=_PROBE), user], True)
        except Exception:
            return True

    def _break(self, content: str, mark: str) -> str:
        if not self._starts:
            return content
        starts = [match.start() + 1 for match in self._starts.finditer(content)]
        return mark.join(content[a:b] for a, b in zip([0, *starts], [*starts, len(content)], strict=True))

    def _render(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        text: str = _compiled(self.source).render(
            messages=[dict(message) for message in messages],
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **self._tokens,
        )
        return text


def fold_system(messages: Sequence[Message]) -> list[Message]:
    """The same conversation with the system text at the head of the first user message."""
    system = [m["content"] for m in messages if m["role"] == "system"]
    rest = [m for m in messages if m["role"] != "system"]
    for index, message in enumerate(rest):
        if system and message["role"] == "user":
            rest[index] = Message(role="user", content="\n\n".join([*system, message["content"]]))
            break
    return rest


def _check(message: Message) -> Message:
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise EngineError(f"A message has the role {role!r}; it must be one of {', '.join(ROLES)}.")
    if not isinstance(content, str):
        raise EngineError(f"A message's content is {type(content).__name__}; it must be text.")
    return Message(role=role, content=content)


def _unused_character(*texts: str) -> str:
    """A private-use character that occurs in none of texts."""
    for code in (*range(0xE000, 0xF900), *range(0xF0000, 0xFFFFE)):
        if not any(chr(code) in text for text in texts):
            return chr(code)
    raise EngineError("The conversation uses every private-use character of Unicode; shorten it.")


@lru_cache(maxsize=8)
def _compiled(source: str) -> Any:
    import jinja2  # here, so that importing the engine's types stays instant
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}`: marks the assistant's part for training frameworks; passed through here."""

        tags = {"generation"}  # noqa: RUF012 (jinja's own declaration)

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body, lineno=line)

    def raise_exception(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(source)
    except jinja2.exceptions.TemplateError as error:
        raise EngineError(
            f"The model file's chat template is not valid jinja: {error}. Try another model file."
        ) from error


def neighbours(pieces: Sequence[int | str]) -> Iterator[tuple[int | None, int | str, int | None]]:
    """Each piece with the special token before and after it, if that is one."""
    for index, piece in enumerate(pieces):
        before = pieces[index - 1] if index else None
        after = pieces[index + 1] if index + 1 < len(pieces) else None
        yield (before if isinstance(before, int) else None, piece, after if isinstance(after, int) else None)
