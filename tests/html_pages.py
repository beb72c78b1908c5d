"""A page as a test reads it."""

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Holds that every tag is closed, and collects ids, attributes and text by section."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[tuple[str, str | None]] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str | None, str] = {}
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append((tag, named))
        if named.get("id"):
            self.ids.append(str(named["id"]))
        if tag not in VOID:
            self.stack.append((tag, named.get("id") if tag in ("section", "style") else None))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if any(tag == "style" for tag, _ in self.stack):
            return
        section = next((name for tag, name in self.stack if tag == "section"), None)
        self.text[section] = self.text.get(section, "") + data.replace("\u00a0", " ")

    def charts(self) -> list[str]:
        return [str(attrs["aria-label"]) for _, attrs in self.tags if attrs.get("class") == "chart"]

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]
