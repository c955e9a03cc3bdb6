"""Reads HTML strictly: what is shown in notebooks is well-formed, runs nothing and fetches nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"br", "hr", "img", "input", "meta", "link", "col", "wbr"}


class Reader(HTMLParser):
    """Fails for what is not well-formed, and for what could run or fetch something."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice: {self.get_starttag_text()}"
        assert all(re.fullmatch(r"[a-zA-Z][\w:-]*", name) for name in names), names
        assert not [name for name in names if name.startswith("on")], names
        assert not [v for _, v in attrs if v and v.lower().startswith(("http", "javascript"))]
        assert tag not in ("script", "iframe", "link", "form"), tag
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    @classmethod
    def of(cls, html: str) -> Reader:
        reader = cls()
        reader.feed(html)
        reader.close()
        assert reader.open == []
        assert len(reader.ids) == len(set(reader.ids))
        return reader
