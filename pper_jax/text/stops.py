"""When a program ends: EOS tokens and stop suffixes on the device, stop texts on the host.

The device compares tokens only, which saves the steps after a stop; the host cuts the text and has the last word. The
device never ends a program that the host would not cut, and what the host keeps of it is what it would have kept of a
longer one. Stops are looked for in the generated text alone, not across the end of the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pper_jax.errors import UserError

# What may stand before a stop and merge with its first characters into one token (newline runs, closing punctuation).
_CONTEXTS = ("", "x", "x\n", "x\n\n", "x\n\n\n", "x)", "x]", 'x"', "x'", "x:", "x ", "x\n    ")


def _check_stops(stops: Sequence[str]) -> None:
    if not all(stops):
        raise UserError("the stops hold an empty text, which would end every program at once; remove it.")


def _decode(tokenizer: Any, tokens: Sequence[int]) -> str:
    return tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)


def stop_token_suffixes(tokenizer: Any, stops: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Token suffixes that show one of ``stops`` in the text, for ``BeamConfig.stop_suffixes``.

    Each stop is tokenised behind several contexts and the shortest run of last tokens whose text holds the stop is
    kept. Every suffix is sure to contain its stop; other tokenisations may exist, so some programs run on until EOS or
    the length limit, and ``trim_program`` cuts them all the same.

    Raises:
        UserError: a stop is empty.
    """
    _check_stops(stops)
    found: dict[tuple[int, ...], None] = {}
    for stop in stops:
        for context in _CONTEXTS:
            tokens = tokenizer.encode(context + stop, add_special_tokens=False)
            for size in range(1, len(tokens) + 1):
                if stop in _decode(tokenizer, tokens[-size:]):
                    found[tuple(tokens[-size:])] = None
                    break
    # a suffix that ends in another one is recognised through that one
    kept = [s for s in found if not any(s != other and s[-len(other) :] == other for other in found)]
    return tuple(sorted(kept))


def trim_program(
    tokenizer: Any,
    tokens: Sequence[int],
    token_logprobs: Sequence[float],
    stops: Sequence[str],
    eos_id: int | Sequence[int] | None,
) -> tuple[str, int, float, str]:
    """Cut a program at the first stop text and account for what is kept.

    Args:
        tokenizer: anything with Hugging Face's ``decode``.
        tokens: the generated tokens, with the EOS where there is one, without padding.
        token_logprobs: their log-probabilities, same length.
        stops: texts at which a program ends; the earliest in the text wins, and it is not kept.
        eos_id: the EOS token or tokens; None when the model has none.

    Returns:
        ``(text, num_tokens, logprob, stop_reason)``. ``stop_reason`` is ``"stop"`` when the text was cut, else
        ``"eos"`` or ``"length"``. ``num_tokens`` and ``logprob`` (natural log, sum) are those of the tokens that lie
        wholly in the kept text, the EOS included only when ``stop_reason`` is ``"eos"``. An approximation by choice: a
        token that straddles the cut is left out although part of its text is kept.

    Raises:
        UserError: a stop is empty.
    """
    _check_stops(stops)
    eos = () if eos_id is None else (eos_id,) if isinstance(eos_id, int) else tuple(eos_id)
    tokens, token_logprobs = list(tokens), list(token_logprobs)
    closed = bool(tokens) and tokens[-1] in eos
    body = tokens[:-1] if closed else tokens
    text = _decode(tokenizer, body)
    cuts = [at for at in (text.find(stop) for stop in stops) if at >= 0]
    if not cuts:
        return text, len(tokens), float(sum(token_logprobs)), "eos" if closed else "length"
    text = text[: min(cuts)]
    count = _covering(tokenizer, body, text)
    return text, count, float(sum(token_logprobs[:count])), "stop"


def _covering(tokenizer: Any, tokens: Sequence[int], text: str) -> int:
    """The largest ``n`` for which the first ``n`` tokens decode to a prefix of ``text``."""
    low, high = 0, len(tokens)
    while low < high:  # the length of the decoded prefix grows with n, but for characters cut in the middle
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(_decode(tokenizer, tokens[:middle])) <= len(text) else (low, middle - 1)
    while low and not text.startswith(_decode(tokenizer, tokens[:low])):
        low -= 1
    return low
