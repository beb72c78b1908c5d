"""The pieces that pages are built from: sections, figures with their tables, cards, banners, code blocks."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from html import escape

from pper_jax.report import svg
from pper_jax.report.plots import Figure
from pper_jax.report.style import CSS, PAGE
from pper_jax.report.tables import Table

_TOKENS = re.compile(
    r"(?P<m>\#[^\n]*)"
    r"|(?P<s>[rbfuRBFU]{0,2}(?:\"\"\".*?(?:\"\"\"|\Z)|'''.*?(?:'''|\Z)|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'))"
    r"|(?P<n>\b\d[\d_.]*\b)"
    r"|(?P<w>[^\W\d]\w*)",
    re.DOTALL,
)


def page(title: str, header: str, main: str, command: str = "pper report") -> str:
    """The whole document, made by ``command``."""
    footer = f"<p>Made by <code>{command}</code>. This page is self-contained: it loads nothing and runs no script.</p>"
    return PAGE.substitute(title=escape(title), css=CSS, header=header, main=main, footer=footer)


def navigation(links: Sequence[tuple[str, str]]) -> str:
    """Links (id, words) to the sections."""
    items = "".join(f'<li><a href="#{target}">{escape(words)}</a></li>' for target, words in links)
    return f'<nav aria-label="Sections"><ul>{items}</ul></nav>'


def section(name: str, title: str, about: str, *parts: str) -> str:
    """A box with a heading, a sentence on what is in it, and its parts."""
    head = f'<h2 id="{name}-title">{escape(title)}</h2><p class="about">{escape(about)}</p>'
    return f'<section id="{name}" aria-labelledby="{name}-title">{head}{"".join(parts)}</section>'


def figures(shown: Sequence[Figure | None], missing: str) -> str:
    """Figures side by side, or the sentence that says why there are none."""
    drawn = [figure(one) for one in shown if one is not None]
    if not drawn:
        return f'<p class="empty">{escape(missing)}</p>'
    return f'<div class="pair">{"".join(drawn)}</div>' if len(shown) > 1 else drawn[0]


def figure(shown: Figure) -> str:
    """Caption, legend, drawing, remark, and the numbers behind a fold."""
    note = f'<p class="note">{escape(shown.note)}</p>' if shown.note else ""
    key = svg.legend(shown.legend) if shown.legend else ""
    caption = f"<figcaption>{escape(shown.title)}</figcaption>"
    numbers = fold(f"{shown.title}: the numbers", table(shown.header, shown.rows, f"{shown.title}: the numbers"))
    return f"<figure>{caption}{key}{shown.drawing}{note}{numbers}</figure>"


def fold(summary: str, body: str) -> str:
    """A part that is closed at first."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], label: str, css: str = "") -> str:
    """A table that scrolls inside its own box."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    kind = f' class="{css}"' if css else ""
    inner = f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label, quote=True)}">{inner}</div>'


def titled_tables(tables: Sequence[Table], missing: str, css: str = "") -> str:
    """Tables under their titles, with their notes, or the sentence that says why there are none; `css` is a class."""
    parts = [
        f'<p class="about">{escape(one.title)}</p>'
        + table(one.header, one.rows, one.title, f"t{one.words} {css}".strip())
        + (f'<p class="note">{escape(one.note)}</p>' if one.note else "")
        for one in tables
    ]
    return "".join(parts) or f'<p class="empty">{escape(missing)}</p>'


def card(what: str, figure: str, more: str = "", css: str = "") -> str:
    """A key figure; `more` stands under it, coloured by `css` ("up", "down" or none)."""
    tone = f'<span class="{css}">{escape(more)}</span>' if css else escape(more)
    below = f'<p class="more">{tone}</p>' if more else ""
    return f'<li class="card"><p class="what">{escape(what)}</p><p class="figure">{escape(figure)}</p>{below}</li>'


def cards(items: Sequence[str]) -> str:
    """The row of key figures."""
    return f'<ul class="cards" aria-label="Key figures">{"".join(items)}</ul>'


def banner(title: str, lines: Sequence[str] = (), fine: bool = False) -> str:
    """A coloured box with a sentence and, if there are any, a list of more."""
    items = f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""
    return f'<div class="banner{" fine" if fine else ""}" role="note"><p>{escape(title)}</p>{items}</div>'


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """A short list of names and values in a row."""
    return f'<dl class="facts">{"".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in pairs)}</dl>'


def chip(text: str, css: str = "") -> str:
    """A word in a small coloured pill."""
    return f'<span class="chip {css}">{escape(text)}</span>'


def listing(blocks: Sequence[tuple[str, str]]) -> str:
    """Blocks of code under their headings, in one frame."""
    return f'<div class="code">{"".join(f"<h3>{escape(name)}</h3>{block}" for name, block in blocks)}</div>'


def code(text: str, label: str, css: str = "", highlight: bool = False) -> str:
    """A block of code or prose in its own scrolling box."""
    kind = f' class="{css}"' if css else ""
    body = python(text) if highlight else escape(text, quote=False)
    # A newline right after <pre> is dropped by HTML parsers; ours keeps a text that begins with one whole.
    return f'<pre{kind} role="region" tabindex="0" aria-label="{escape(label, quote=True)}">\n{body}</pre>'


def python(text: str) -> str:
    """Escaped text with comments, strings, numbers and keywords of Python marked; never fails, whatever the text is."""

    def mark(match: re.Match[str]) -> str:
        kind, word = match.lastgroup, escape(match[0], quote=False)
        if kind == "w":
            return f'<span class="k">{word}</span>' if keyword.iskeyword(match[0]) else word
        return f'<span class="{kind}">{word}</span>'

    out, end = [], 0
    for match in _TOKENS.finditer(text):
        out += [escape(text[end : match.start()], quote=False), mark(match)]
        end = match.end()
    return "".join(out) + escape(text[end:], quote=False)


def alone(drawing: str) -> str:
    """A drawing as a file of its own, with the page's style sheet in it."""
    head, _, rest = drawing.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{escape(CSS, quote=False)}</style>{rest}'
