"""The template alone: pure Python, no model."""

from __future__ import annotations

import pytest

from chatapp.engine.base import EngineError, Message
from chatapp.engine.template import CHATML, PLAIN, ChatTemplate, neighbours

SPECIALS = {"<|im_start|>": 1, "<|im_end|>": 2, "<s>": 3, "</s>": 4}
NO_SYSTEM = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + (m['content'] | trim) + '<|im_end|>\n' }}{% endfor %}"
)
IGNORES_SYSTEM = "{% for m in messages if m.role != 'system' %}{{ m.role + ': ' + m.content + '</s>' }}{% endfor %}"
ALTERNATES = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}{{ m['content'] + eos_token }}{% endfor %}"
)


def say(*texts: str) -> list[Message]:
    return [Message(role="user" if i % 2 == 0 else "assistant", content=text) for i, text in enumerate(texts)]


def test_only_the_template_writes_special_tokens() -> None:
    template = ChatTemplate(CHATML, SPECIALS)
    pieces = template.pieces(say("end <|im_end|> it <<s>> now"))
    assert pieces == [1, "user\nend <|im_end|> it <<s>> now", 2, "\n", 1, "assistant\n"]


@pytest.mark.parametrize(
    "content",
    ["<|im_end|>", "<|im_end|><|im_end|>", "<<s>s>", "<s></s>", "\ue000<|im_end|>\ue001", "<|im_<|im_end|>end|>", ""],
)
def test_content_comes_out_as_it_went_in(content: str) -> None:
    pieces = ChatTemplate(CHATML, SPECIALS).pieces(say(content), add_generation_prompt=False)
    assert pieces == [1, f"user\n{content}", 2, "\n"]


def test_overlapping_specials_are_all_text() -> None:
    pieces = ChatTemplate(CHATML, {"<|im_start|>": 1, "<|im_end|>": 2, "abc": 5, "cde": 6}).pieces(say("abcde"), False)
    assert pieces == [1, "user\nabcde", 2, "\n"]


def test_filters_see_the_content() -> None:
    """trim must trim, and the break inside a special must not survive it."""
    pieces = ChatTemplate(NO_SYSTEM, SPECIALS, bos="<s>").pieces(say("  <|im_end|>\n "), False)
    assert pieces == [3, 1, "user\n<|im_end|>", 2, "\n"]


def test_a_refused_system_prompt_is_folded_into_the_first_user_message() -> None:
    chat = [Message(role="system", content="Be brief."), *say("Hi")]
    for source in (NO_SYSTEM, IGNORES_SYSTEM):
        template = ChatTemplate(source, SPECIALS)
        assert template.folds_system
        assert any(isinstance(piece, str) and "Be brief.\n\nHi" in piece for piece in template.pieces(chat, False))
    assert not ChatTemplate(CHATML, SPECIALS).folds_system


def test_a_refusal_quotes_the_template() -> None:
    with pytest.raises(EngineError, match="roles user, user: Conversation roles must alternate"):
        ChatTemplate(ALTERNATES, SPECIALS, eos="</s>").pieces([*say("a"), *say("b")])


@pytest.mark.parametrize("source", ["{% for %}", "{{ messages.nothing() }}", "{{ ''.__class__.__mro__ }}{{ 1/0 }}"])
def test_a_broken_template_is_an_engine_error(source: str) -> None:
    with pytest.raises(EngineError):
        ChatTemplate(source, SPECIALS).pieces(say("a"))


def test_roles_and_contents_are_checked() -> None:
    template = ChatTemplate(CHATML, SPECIALS)
    with pytest.raises(EngineError, match="role 'tool'"):
        template.pieces([Message(role="tool", content="x")])
    with pytest.raises(EngineError, match="NoneType"):
        template.pieces([{"role": "user", "content": None}])  # type: ignore[typeddict-item]


def test_end_of_turn_is_what_the_template_puts_after_an_answer() -> None:
    assert ChatTemplate(CHATML, SPECIALS).end_of_turn() == 2
    assert ChatTemplate(IGNORES_SYSTEM, SPECIALS).end_of_turn() == 4
    assert ChatTemplate(PLAIN, SPECIALS, eos="</s>").end_of_turn() == 4
    assert ChatTemplate("{% for m in messages %}{{ m.content }}|{% endfor %}", SPECIALS).end_of_turn() is None


def test_what_transformers_offers_to_templates_is_there() -> None:
    source = (
        "{{ strftime_now('%Y') | length }} {{ {'a': 'ü'} | tojson }} {% for m in messages %}{% generation %}"
        "{{ m.content }}{% endgeneration %}{% break %}{% endfor %}"
    )
    assert ChatTemplate(source, {}).pieces(say("x", "y"), False) == ['4 {"a": "ü"} x']


def test_neighbours() -> None:
    assert list(neighbours([1, "a", 2])) == [(None, 1, None), (1, "a", 2), (None, 2, None)]
