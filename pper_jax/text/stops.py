"""When a program ends: stop suffixes for the device, and the cut that the host makes.

The device compares tokens only, which saves the steps after a stop; the host cuts the text and has the last word. The
device never ends a program that the host would not cut, and what the host keeps of it is what it would have kept of a
longer one. Stops are looked for in the generated text alone, not across the end of the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pper_jax.errors import UserError
from pper_jax.text.completion import completion_text

# What may stand before a stop and merge with its first characters into one token (newline runs, closing punctuation).
_CONTEXTS = ("", "x", "x\n", "x\n\n", "x\n\n\n", "x)", "x]", 'x"', "x'", "x:", "x ", "x\n    ")
_NEAR = 8  # last tokens of a prompt behind which a program's text is mostly what it is behind all of them


@dataclass(frozen=True)
class Completion:
    """A program as it is kept: text, tokens and log-probs belong together.

    Attributes:
        text: what stands behind the prompt.
        tokens: the tokens that lie wholly in ``text``, and the end that the program ended in: an EOS, or a stop that
            was to be kept.
        token_logprobs: natural logs, one a token of ``tokens``.
        stop_reason: ``"eos"`` when it ended in an end, ``"stop"`` when it was cut at a stop text, else ``"length"``.
    """

    text: str
    tokens: tuple[int, ...]
    token_logprobs: tuple[float, ...]
    stop_reason: str

    @property
    def logprob(self) -> float:
        """Log-probability of ``tokens``, the sum."""
        return float(sum(self.token_logprobs))


def stop_token_suffixes(tokenizer: Any, stops: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Token suffixes that show one of ``stops`` in the text, for ``BeamConfig.stop_suffixes``.

    Each stop is tokenised behind several contexts and the shortest run of last tokens whose text holds the stop is
    kept. Every suffix is sure to contain its stop; other tokenisations may exist, so some programs run on until EOS or
    the length limit, and ``trim_program`` cuts them all the same.

    Raises:
        UserError: a stop is empty.
    """
    _check_stops(stops)
    within = tokenizer.encode("x", add_special_tokens=False)  # a suffix never stands first
    found: dict[tuple[int, ...], None] = {}
    for stop in stops:
        for context in _CONTEXTS:
            tokens = tokenizer.encode(context + stop, add_special_tokens=False)
            for size in range(1, len(tokens) + 1):
                if stop in completion_text(tokenizer, within, tokens[-size:]):
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
    prompt: Sequence[int] = (),
) -> tuple[str, int, float, str]:
    """Cut a program at the first stop text and account for what is kept.

    Args:
        tokenizer: anything with Hugging Face's ``decode``.
        tokens: the generated tokens, with the EOS where there is one, without padding.
        token_logprobs: their log-probabilities, same length.
        stops: texts at which a program ends; the earliest in the text wins, and it is not kept.
        eos_id: the EOS token or tokens; None when the model has none.
        prompt: the tokens that stand before the program; without them its text is that of a text that begins there.

    Returns:
        ``(text, num_tokens, logprob, stop_reason)``. ``stop_reason`` is ``"stop"`` when the text was cut, else
        ``"eos"`` or ``"length"``. ``num_tokens`` and ``logprob`` (natural log, sum) are those of the tokens that lie
        wholly in the kept text, the EOS included only when ``stop_reason`` is ``"eos"``. An approximation by choice: a
        token that straddles the cut is left out although part of its text is kept.

    Raises:
        UserError: a stop is empty.
    """
    ends = () if eos_id is None else (eos_id,) if isinstance(eos_id, int) else tuple(eos_id)
    kept = cut_program(tokenizer, prompt, tokens, token_logprobs, stops, ends)
    return kept.text, len(kept.tokens), kept.logprob, kept.stop_reason


def cut_program(
    tokenizer: Any,
    prompt: Sequence[int],
    tokens: Sequence[int],
    token_logprobs: Sequence[float],
    stops: Sequence[str],
    ends: Sequence[int],
    kept_stop: str | None = None,
) -> Completion:
    """``trim_program`` with the kept tokens and log-probs themselves; what stands behind the first end is dropped.

    A program that was cut at ``kept_stop`` keeps the tokens up to the one that completes it; its text ends before.
    """
    _check_stops(stops)
    size = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    body, closed = list(tokens[:size]), size < len(tokens)
    text = completion_text(tokenizer, prompt, body)
    found = min(((at, stop) for stop in stops if (at := text.find(stop)) >= 0), default=None)
    if found is None:
        count, reason = size + closed, "eos" if closed else "length"
    else:
        at, stop = found
        near = prompt[-_NEAR:] if completion_text(tokenizer, prompt[-_NEAR:], body) == text else prompt
        shown = partial(_text_of_first, tokenizer, near, body)
        count = _tokens_showing(shown, size, text[:at] + stop)
        if stop != kept_stop:
            count = _tokens_before(shown, count, text[:at])
        text, reason = text[:at], "stop"
    return Completion(text, tuple(tokens[:count]), tuple(token_logprobs[:count]), reason)


def _check_stops(stops: Sequence[str]) -> None:
    if not all(stops):
        raise UserError("the stops hold an empty text, which would end every program at once; remove it.")


def _text_of_first(tokenizer: Any, prompt: Sequence[int], tokens: Sequence[int], count: int) -> str:
    return completion_text(tokenizer, prompt, tokens[:count])


def _tokens_showing(shown: Callable[[int], str], size: int, whole: str) -> int:
    """How few of ``size`` tokens have a text ``shown(n)`` that begins with ``whole``, as that of all of them does.

    It is looked for from the end, where a stop mostly is.
    """
    high, step = size, 1
    low = max(0, high - step)
    while low and shown(low).startswith(whole):
        high, step = low, 2 * step
        low = max(0, high - step)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shown(middle).startswith(whole) else (middle, high)
    return high


def _tokens_before(shown: Callable[[int], str], most: int, kept: str) -> int:
    """The largest ``n`` whose text ``shown(n)`` is a prefix of ``kept``, where ``most`` tokens show more.

    A longer run of tokens need not have a longer text (the bytes of a character are replaced one by one until it is
    whole), so no bisection finds ``n``: it is searched downwards from there.
    """
    return next((n for n in range(most, 0, -1) if kept.startswith(shown(n))), 0)
