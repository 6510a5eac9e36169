"""A model's vocabulary and chat template: text <-> token ids, the same for the engine and the trainer.

The trainer opens it alone (`Vocab.open`: llama.cpp reads no weights then); the engine shares its loaded model.
Texts are tokenised with specials off, so what people and models wrote can never become a control token.
"""

from __future__ import annotations

import codecs
import ctypes
import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from chatapp.engine import native
from chatapp.engine.base import Message
from chatapp.engine.template import CHATML, PLAIN, ChatTemplate, neighbours

_UNKNOWN, _CONTROL, _LSTRIP, _RSTRIP = 1 << 0, 1 << 3, 1 << 7, 1 << 8  # llama.cpp's token attributes
_SENTENCEPIECE = 1


class Vocab:
    """What tokens mean to one model. Make it with `Vocab.open`, or from the engine's own model."""

    def __init__(self, model: Any, path: Path, *, owned: bool = False) -> None:
        self.path = path
        self._lib = native.library()
        self._model: Any = model
        self._owned = owned
        self._vocab = self._lib.llama_model_get_vocab(model)
        self.n_tokens: int = self._lib.llama_vocab_n_tokens(self._vocab)
        self.bos: int = self._lib.llama_vocab_bos(self._vocab)  #: -1 if there is none
        self.eos: int = self._lib.llama_vocab_eos(self._vocab)  #: -1 if there is none
        self._attributes = [self._lib.llama_vocab_get_attr(self._vocab, i) for i in range(self.n_tokens)]
        self.specials: dict[str, int] = {
            self._text(i): i for i, bits in enumerate(self._attributes) if bits & (_CONTROL | _UNKNOWN)
        }
        self._eog = {i for i in range(self.n_tokens) if self._lib.llama_vocab_is_eog(self._vocab, i)}
        own = self._lib.llama_model_chat_template(model, None)
        #: where the template comes from: "model", "chatml" (it has none, but the tokens for it) or "plain"
        self.template_source = "model"
        if own:
            self.chat_template: str = own.decode("utf-8", "replace")
        elif {"<|im_start|>", "<|im_end|>"} <= self.specials.keys():
            self.template_source, self.chat_template = "chatml", CHATML
        else:
            self.template_source, self.chat_template = "plain", PLAIN
        self.template = ChatTemplate(self.chat_template, self.specials, self._text(self.bos), self._text(self.eos))
        self.end_of_turn: int = self._end_of_turn()
        self._lstrip = 0
        if self._lib.llama_vocab_type(self._vocab) == _SENTENCEPIECE:
            # SentencePiece puts a space before a text: taken off again, so that texts survive the round trip.
            self._lstrip = int(self.metadata.get("tokenizer.ggml.add_space_prefix", "true") == "true")

    @classmethod
    def open(cls, path: Path) -> Vocab:
        """Of a GGUF file, without its weights (about 0.1 s). ModelFileError as for the engine."""
        return cls(native.load_model(Path(path), vocab_only=True), Path(path), owned=True)

    def close(self) -> None:
        """Free the model that `open` loaded; a shared one stays."""
        if self._owned and self._model is not None:
            self._lib.llama_model_free(self._model)
        self._model = self._vocab = None

    def __enter__(self) -> Vocab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def chat_template_hash(self) -> str:
        """sha256 of the template's source, hex."""
        return hashlib.sha256(self.chat_template.encode()).hexdigest()

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The file's scalar metadata as llama.cpp prints it."""
        found: dict[str, str] = {}
        for index in range(self._lib.llama_model_meta_count(self._model)):
            key = _string(self._lib.llama_model_meta_key_by_index, self._model, index)
            found[key] = _string(self._lib.llama_model_meta_val_str, self._model, key.encode())
        return found

    @property
    def architecture(self) -> str:
        return self.metadata.get("general.architecture", "unknown")

    @property
    def name(self) -> str:
        """general.name of the file, or its stem."""
        return self.metadata.get("general.name") or self.path.stem

    def is_eog(self, token: int) -> bool:
        """Whether token ends an answer."""
        return token in self._eog or token == self.end_of_turn

    def tokenize(self, text: str, specials: bool = False) -> list[int]:
        """text's tokens, no BOS added. specials: control tokens spelled in the text become those tokens."""
        raw = text.encode("utf-8", "replace")
        room = len(raw) + 8  # never more tokens than bytes, but for a space in front
        out = (ctypes.c_int32 * room)()
        count = self._lib.llama_tokenize(self._vocab, raw, len(raw), out, room, False, specials)
        if count < 0:
            room = -count
            out = (ctypes.c_int32 * room)()
            count = self._lib.llama_tokenize(self._vocab, raw, len(raw), out, room, False, specials)
        return list(out[:count])

    def detokenize(self, tokens: Iterable[int]) -> str:
        """The text of an answer's tokens: control tokens and an unfinished last character are left out."""
        decoder = self.decoder()
        return "".join([decoder.feed(token) for token in tokens])

    def decoder(self) -> Detokenizer:
        """For tokens that come one by one."""
        return Detokenizer(self)

    def prompt_ids(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> list[int]:
        """The conversation as the model reads it, up to where its answer begins."""
        ids: list[int] = []
        for before, piece, after in neighbours(self.template.pieces(messages, add_generation_prompt)):
            if isinstance(piece, int):
                ids.append(piece)
                continue
            # Some vocabularies have specials that swallow the white space beside them (Phi-3's do).
            if before is not None and self._attributes[before] & _RSTRIP:
                piece = piece.lstrip()
            if after is not None and self._attributes[after] & _LSTRIP:
                piece = piece.rstrip()
            ids += self.tokenize(piece)
        if self.bos >= 0 and self._lib.llama_vocab_get_add_bos(self._vocab) and ids[:1] != [self.bos]:
            ids.insert(0, self.bos)
        return ids

    def response_ids(self, text: str) -> list[int]:
        """text as a whole answer: its tokens and the end-of-turn token."""
        return [*self.tokenize(text), self.end_of_turn]

    def piece(self, token: int, lstrip: int = 0) -> bytes:
        """The bytes that token stands for; none for a control token."""
        room = 64
        while True:
            out = ctypes.create_string_buffer(room)
            count = self._lib.llama_token_to_piece(self._vocab, token, out, room, lstrip, False)
            if count >= 0:
                return out.raw[:count]
            room = -count

    def _text(self, token: int) -> str:
        if token < 0:
            return ""
        return str((self._lib.llama_vocab_get_text(self._vocab, token) or b"").decode("utf-8", "replace"))

    def _end_of_turn(self) -> int:
        found = self.template.end_of_turn()
        for token in (found, self._lib.llama_vocab_eot(self._vocab), self.eos):
            if token is not None and token >= 0:
                return int(token)
        return self.bos


class Detokenizer:
    """Tokens to text as they come, in whole characters."""

    def __init__(self, vocab: Vocab) -> None:
        self._vocab = vocab
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._lstrip = vocab._lstrip

    def feed(self, token: int) -> str:
        """The text that token adds; empty until a character is complete."""
        piece = self._vocab.piece(token, self._lstrip)
        self._lstrip = 0
        return self._decode(piece)


def _string(function: Any, model: Any, key: Any) -> str:
    room = 256
    while True:
        out = ctypes.create_string_buffer(room)
        count = function(model, key, out, room)
        if count < room:
            return out.value.decode("utf-8", "replace")
        room = count + 1
