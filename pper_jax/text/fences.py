"""Python code in a text that a model wrote for people: fenced blocks, and what a piece of code defines."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator

_OPENING = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([^\s`]*)[^`]*")
_PYTHON = ("", "python", "py", "python3", "python2", "pycon")


def fenced_code(text: str, name: str | None = None) -> str | None:
    """The code block of ``text`` that is the program: the first that defines ``name``, else the first, else None.

    Blocks are Markdown's, of back-quotes or tildes, marked as Python or not at all. A block that is not closed goes on
    to the end; one whose fence is indented, as within a list, is indented by as much.
    """
    blocks = [code for language, code in _blocks(text) if language in _PYTHON]
    return next((code for code in blocks if name and defines(code, name)), blocks[0] if blocks else None)


def fenced(code: str) -> str:
    """``code`` as a block that :func:`fenced_code` reads, but for newlines around it."""
    runs = re.findall("`+", code)
    fence = "`" * max(3, 1 + max(map(len, runs), default=0))
    body = code.strip("\n")
    return f"{fence}python\n{body}\n{fence}"


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    indent, fence, language, lines = "", "", "", list[str]()
    for line in text.replace("\r\n", "\n").split("\n"):
        if not fence:
            if found := _OPENING.fullmatch(line):
                indent, fence, language, lines = found[1], found[2], found[3].lower().strip("{}."), []
        elif set(line.strip()) == {fence[0]} and len(line.strip()) >= len(fence):
            yield language, "".join(lines)
            fence = ""
        else:
            lines.append(f"{line.removeprefix(indent)}\n")
    if fence:
        yield language, "".join(lines).removesuffix("\n")


def defines(code: str, name: str) -> bool:
    """Whether ``code`` defines the function or class ``name``; of a dotted one, such as ``Solution().f``, its first."""
    head = re.escape(name.partition(".")[0].removesuffix("()"))
    return re.search(rf"^(async[ \t]+)?(def|class)[ \t]+{head}\b", code, re.MULTILINE) is not None


def imports_of(code: str) -> str:
    """The lines of ``code`` that are imports of a module's own level."""
    return "".join(f"{line}\n" for line in code.splitlines() if re.match(r"import\s|from\s+\S+\s+import\s", line))


def is_python(code: str) -> bool:
    """Whether ``code`` is a whole module; the head of a function with its docstring is one."""
    return _body(code) is not None


def defines_nothing(code: str) -> bool:
    """Whether ``code`` is a whole module of nothing but texts, comments and imports, so that any program may follow."""
    plain, body = (ast.Import, ast.ImportFrom), _body(code)
    return body is not None and all(
        isinstance(node, plain) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in body
    )


def _body(code: str) -> list[ast.stmt] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of "\\w" and the like
            return ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
