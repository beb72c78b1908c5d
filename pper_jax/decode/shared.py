"""What all prompts begin with, such as worked examples: it is read once, and every prompt goes on from there."""

from __future__ import annotations

from collections.abc import Sequence

LEAST = 128  # tokens: reading fewer of them again costs less than a compiled program more
STEP = 64  # lengths are multiples of it, so that a few tokens more in common compile nothing new
FEWEST = 4  # prompts


def shared_prefix(token_lists: Sequence[Sequence[int]]) -> list[int]:
    """The tokens that all prompts begin with, in whole steps; none where there are few prompts or few such tokens.

    At least one token of every prompt comes after them.
    """
    if len(token_lists) < FEWEST:
        return []
    first, last = list(min(token_lists, key=list)), list(max(token_lists, key=list))  # in the order of dictionaries
    most = min(map(len, token_lists)) - 1
    alike = next((i for i in range(most) if first[i] != last[i]), most)
    length = alike // STEP * STEP
    return first[:length] if length >= LEAST else []
