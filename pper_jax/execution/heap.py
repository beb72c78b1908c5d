"""Objects that both sides of the border know: what can be changed in place, and what lives on one side only.

Each such object has a number. Of a list, dict or the like each side has one of its own, and each message says how those
changed since the last: so what a test and a program hold in common stays one object for both, however often it is given
to and fro, wherever it is aliased, even where it holds itself. Contents are flat (what is inside is named by its
number), so neither depth nor cycles matter. An object is forgotten as soon as one side cannot mean it any more.

A message carries the numbers to forget, then entries ``[number, tag, body]``: contents by the tags of ``values``, and
``ref`` (an object that lives where the entry comes from), ``sub`` (one whose class is a subclass of a data type or of
an exception, with its value) and ``class`` (see ``standins``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from sys import getrefcount
from typing import Any

from pper_jax.execution.library import MUTABLE, Malformed, NotPlain, mutable_tag
from pper_jax.execution.mutable import contents, empty, fill
from pper_jax.execution.values import (
    MAX_DEPTH,
    TooDeep,
    as_data,
    decode,
    encode,
)
from pper_jax.execution.wire import to_json

Entry = tuple[int, str, Any]
PLAIN_TAGS: dict[type, str] = {list: "l", dict: "d", set: "s"}
TAGS = set(MUTABLE.values())
MANY, MUCH = 256, 1 << 16  # objects, and bytes of contents written, after which those that nobody holds are looked for


class Heap:
    """One side's table of shared objects.

    first: 0 for the trusted side, 1 for the sandbox: each gives every second number.
    lend: called for an object that is no data; returns its entry's tag and body, raises NotPlain, or returns None for
        an instance of a data type's subclass that is to travel as that type.
    borrow: called with the tag and body of an entry that ``lend`` made on the other side; returns its stand-in.
    """

    shares = True

    def __init__(
        self,
        first: int,
        lend: Callable[[Any, type], tuple[str, Any] | None],
        borrow: Callable[[int, str, Any], Any],
    ) -> None:
        self.next, self.lend, self.borrow = first, lend, borrow
        self.objects: dict[int, Any] = {}
        self.numbers: dict[int, int] = {}  # id -> number
        self.tags: dict[int, str] = {}  # of those whose contents are shared
        self.known: dict[int, str] = {}  # contents as both sides have them, as JSON
        self.subs: set[int] = set()  # of those with contents, the ones that live on one side only
        self.fresh: list[int] = []  # numbered since the last message
        self.introductions: dict[int, str] = {}  # of fresh ones that are more than contents
        self.applying = False  # whether a message is being read: nothing can be asked of the other side meanwhile
        self.many, self.written = MANY, 0
        self.surplus = _count_own_references()

    def refer(self, value: Any, kind: type) -> Any:
        """Return ``{"@": number}``, numbering the object if it is new."""
        number = self.numbers.get(id(value))
        if number is not None:
            return {"@": number}
        tag, lent = PLAIN_TAGS.get(kind) or mutable_tag(kind), None
        if tag == "np" and value.dtype.kind not in "biufcmMSUO":
            tag = None
        if tag is None:
            lent = self.lend(value, kind)
            if lent is None:
                return as_data(value, self)
            if id(value) in self.numbers:  # to describe it may have taken a description of itself
                return {"@": self.numbers[id(value)]}
        number = self.add(value)
        self.fresh.append(number)
        if lent is not None:
            self.introductions[number] = to_json([number, *lent])
            if lent[0] == "sub" and lent[1][1] in TAGS:
                tag = lent[1][1]
                self.subs.add(number)
        if tag is not None:
            self.tags[number] = tag
        return {"@": number}

    def referred(self, number: Any) -> Any:
        """Return the object of a number."""
        return self.objects[number]

    def add(self, value: Any, number: int | None = None) -> int:
        """Enter an object, under the next number of this side if none is given."""
        if number is None:
            number, self.next = self.next, self.next + 2
        self.objects[number] = value
        self.numbers[id(value)] = number
        return number

    def entries(self) -> list[str]:
        """Return what the other side does not know yet, as JSON: new objects, and contents that changed."""
        written: list[str] = []
        for number in list(self.tags):
            if number in self.known:
                self._write(number, written)
        done = 0
        while done < len(self.fresh):
            number = self.fresh[done]
            done += 1
            if number in self.introductions:
                written.append(self.introductions.pop(number))
            if number in self.tags:
                self._write(number, written)
        self.fresh.clear()
        return written

    def _write(self, number: int, written: list[str]) -> None:
        tag = self.tags[number]
        text = to_json(contents(self.objects[number], tag, self._inner))
        if self.known.get(number) != text:
            self.known[number] = text
            self.written += len(text)
            written.append(f'[{number},"{tag}",{text}]')

    def _inner(self, item: Any) -> Any:
        return encode(item, self, 1)

    def apply(self, entries: Iterable[Entry]) -> list[int]:
        """Take in a message's entries; return the numbers that were new. Raises Malformed."""
        new: list[int] = []
        filled: list[Entry] = []
        self.applying = True
        try:
            for number, tag, body in entries:
                if tag in ("ref", "sub", "class", "opaque"):
                    if number not in self.objects:
                        self.add(self.borrow(number, tag, body), number)
                        new.append(number)
                        if tag == "sub" and body[1] in TAGS:
                            self.tags[number] = body[1]
                            self.subs.add(number)
                    continue
                if number not in self.objects:
                    self.add(empty(tag, body), number)
                    self.tags[number] = tag
                    new.append(number)
                elif self.tags.get(number) != tag:
                    raise Malformed("an object of another kind")
                filled.append((number, tag, body))
            for number, tag, body in reversed(filled):  # what lies within comes after what it lies in
                fill(self.objects[number], tag, body, self.decode)
                self.known[number] = to_json(body)
        except Malformed:
            raise
        except (RecursionError, MemoryError):
            raise
        except Exception as error:
            raise Malformed(f"no entries: {type(error).__name__}: {error}") from None
        finally:
            self.applying = False
        return new

    def decode(self, data: Any) -> Any:
        """Return the value of a message, whose entries have been applied."""
        before, self.applying = self.applying, True
        try:
            return decode(data, self)
        finally:
            self.applying = before

    def encode(self, value: Any) -> Any:
        """Return a value as JSON; what it refers to is in ``entries`` afterwards. Raises NotPlain."""
        try:
            return encode(value, self)
        except TooDeep:
            raise NotPlain(f"tuples nested more than {MAX_DEPTH} deep") from None

    def forget(self, numbers: Iterable[int]) -> None:
        """Drop objects that one side cannot mean any more."""
        for number in numbers:
            value = self.objects.pop(number, self)
            if value is not self:
                del self.numbers[id(value)]
                self.tags.pop(number, None)
                self.known.pop(number, None)
                self.subs.discard(number)

    def unheld(self, numbers: Iterable[int], extra: Iterable[Any] = (), times: int = 1) -> list[int]:
        """Return those of the numbers whose objects nothing outside this table holds.

        What lies within a held object is held. ``extra``: objects that the caller itself refers to, so many times.
        """
        asked = set(numbers)
        inner: dict[int, int] = {}  # references from other objects asked about
        for key in [id(value) for value in extra]:  # no name of this function's may hold an object
            inner[key] = inner.get(key, 0) + times
        within: dict[int, list[int]] = {}
        for number in asked:
            if number in self.tags:
                within[number] = [id(item) for item in _items(self.objects[number], self.tags[number])]
                for key in within[number]:
                    inner[key] = inner.get(key, 0) + 1
        objects, surplus = self.objects, self.surplus
        held = [n for n in asked if getrefcount(objects[n]) > surplus + inner.get(id(objects[n]), 0)]
        free = asked.difference(held)
        while held:
            number = held.pop()
            for key in within.get(number, ()):
                other = self.numbers.get(key)
                if other in free:
                    free.discard(other)
                    held.append(other)
        return sorted(free)

    def crowded(self) -> bool:
        """Whether there are so many objects that it is worth looking for those that nobody holds."""
        if len(self.objects) < self.many and self.written < MUCH:
            return False
        self.many, self.written = max(MANY, 2 * len(self.objects)), 0
        return True


def _items(value: Any, tag: str) -> Iterable[Any]:
    if tag in ("l", "dq"):
        return value
    if tag in ("d", "O", "dd"):
        return dict.values(value)
    return value.maps if tag == "CM" else ()


def _count_own_references() -> int:
    """Return what ``getrefcount`` says of an object that the table alone holds, asked as ``unheld`` asks."""
    objects: dict[int, Any] = {0: []}
    return next(getrefcount(objects[n]) for n in objects)
