"""Reads a Markdown page as a reader sees it, by a parser that knows nothing of how it was made."""

from __future__ import annotations

from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

Table = list[list[str]]

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
"""Raw HTML is on, as on the pages people read."""


class Page:
    """Headings, tables of plain text (the last one below each heading), list items, and the HTML it holds."""

    def __init__(self, text: str) -> None:
        self.headings: list[str] = []
        self.tables: dict[str, Table] = {}
        self.items: list[str] = []
        self.html: list[str] = []
        self.codes: list[tuple[str, str, str]] = []
        """Code in tables: the heading above, the text before it in its table cell, the code."""
        inside = ""
        for token in MARKDOWN.parse(text):
            match token.type:
                case "heading_open" | "list_item_open" | "td_open" | "th_open":
                    inside = token.type
                case "heading_close" | "list_item_close" | "td_close" | "th_close":
                    inside = ""
                case "html_block":
                    self.html.append(token.content)
                case "table_open":
                    self.tables[self.headings[-1]] = []
                case "tr_open":
                    self.tables[self.headings[-1]].append([])
                case "inline":
                    self._take(inside, token.children or [])

    def _take(self, inside: str, children: Sequence[Token]) -> None:
        shown = ""
        start: int | None = None
        for child in children:
            if child.type == "html_inline":
                self.html.append(child.content)
                if child.content == "<code>":
                    start = len(shown)
                elif child.content == "</code>" and start is not None:
                    self._code(inside, shown[:start], shown[start:])
                    start = None
            elif child.type in {"text", "code_inline", "text_special"}:
                if child.type == "code_inline":
                    self._code(inside, shown, child.content)
                shown += child.content
            else:
                shown += f"<{child.type}>"
        if inside == "heading_open":
            self.headings.append(shown)
        elif inside == "list_item_open":
            self.items.append(shown)
        elif inside in {"td_open", "th_open"}:
            self.tables[self.headings[-1]][-1].append(shown)

    def _code(self, inside: str, before: str, code: str) -> None:
        if inside == "td_open":
            self.codes.append((self.headings[-1], before, code))
