"""One way from a prompt and the tokens behind it to text, and one way back.

A tokenizer is asked for whole texts alone. What a token says may depend on what stands before it (SentencePiece drops
the space of the first word; the bytes of a character are several tokens), so a program's text is what its tokens add to
the text of the prompt, and its tokens are what its text adds to the tokens of the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pper_jax.errors import UserError

_BROKEN = "\ufffd"  # what decoders write for bytes that are no character


def decode(tokenizer: Any, tokens: Sequence[int]) -> str:
    """The text of whole ``tokens``, special ones written out."""
    return tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)


def encode(
    tokenizer: Any, text: str, ends: Sequence[int], what: str = "a text", *, written_out: bool = False
) -> list[int]:
    """Token ids of a whole ``text`` that goes on: special tokens as the tokenizer adds them, but no end behind it.

    Args:
        tokenizer: a transformers tokenizer.
        text: what stands before the first token to come.
        ends: the tokens that end a program; some tokenizers append one, behind which nothing follows. A BOS that is
            all there is stays, even where it is an end too.
        what: what a message calls the text.
        written_out: the text has its special tokens in it, as a chat template writes them, and gets no others.

    Raises:
        UserError: the text holds half of a surrogate pair, which is no character.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise UserError(f"{what} holds {half}, half of a surrogate pair and no character; remove it.") from None
    if written_out:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    tokens = list(tokenizer(text)["input_ids"])
    bos = getattr(tokenizer, "bos_token_id", None)
    while tokens and tokens[-1] in ends and tokens != [bos]:
        tokens.pop()
    return tokens


def completion_text(tokenizer: Any, prompt: Sequence[int], tokens: Sequence[int]) -> str:
    """What ``tokens`` add to the text of ``prompt``: the difference of two whole decodes.

    A BOS before the prompt is no text. Bytes that are no character are written as U+FFFD; where the prompt ends within
    a character, that character belongs to the completion; where the completion begins with bytes that spoil those of
    the prompt's last characters, the prompt keeps its text.
    """
    bos = getattr(tokenizer, "bos_token_id", None)
    start = 1 if len(prompt) and prompt[0] == bos else 0
    prompt = list(prompt[start:])
    before, whole = decode(tokenizer, prompt), decode(tokenizer, [*prompt, *tokens])
    if whole.startswith(before):
        return whole[len(before) :]
    if before.endswith(_BROKEN):
        return whole[_shared(before, whole) :]
    left_out = 1
    while not whole.startswith(before):  # an empty head is a prefix of everything
        head = prompt[: max(0, len(prompt) - left_out)]
        before, whole, left_out = decode(tokenizer, head), decode(tokenizer, [*head, *tokens]), 2 * left_out
    return whole[len(before) :]


def completion_tokens(
    tokenizer: Any,
    prompt: str,
    completion: str,
    ends: Sequence[int] = (),
    what: str = "a text",
    *,
    written_out: bool = False,
) -> list[int]:
    """The tokens of ``completion`` behind the prompt's own (those of ``encode``): both are tokenised as one.

    Where a token would lie across the border, as when a prompt's last newline and the completion's first spaces are one
    token, the completion is tokenised behind another text. A model that decodes, or trains on, the prompt's own tokens
    never sees that token, and the tokens must follow the prompt's to be stored.

    Raises:
        UserError: a text holds half of a surrogate pair (``what`` names it).
    """
    alone, whole = (
        encode(tokenizer, text, ends, what, written_out=written_out) for text in (prompt, prompt + completion)
    )
    if whole[: len(alone)] == alone:
        return whole[len(alone) :]
    said, before = decode(tokenizer, whole), decode(tokenizer, alone)
    wanted = said[len(before) :] if said.startswith(before) else completion  # as the tokenizer normalises it
    found = [_behind(tokenizer, other, completion) for other in ("", "\n", "x")]
    return next((tokens for tokens in found if completion_text(tokenizer, alone, tokens) == wanted), found[0])


def _behind(tokenizer: Any, other: str, text: str) -> list[int]:
    first, both = (tokenizer.encode(part, add_special_tokens=False) for part in (other, other + text))
    return list(both[len(first) :]) if both[: len(first)] == first else []


def _shared(left: Sequence[Any], right: Sequence[Any]) -> int:
    """How many first items two sequences share."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(left), len(right)))
