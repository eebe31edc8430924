"""Reads what the contract promises about pages: rows, forms, tokens and links."""

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Form:
    """One form of a page: where it goes and what it would send."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)


class Page(HTMLParser):
    """A parsed page of the application."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.token: str | None = None
        self.folder: str | None = None
        self.next: str | None = None
        self.rows: list[dict[str, str]] = []
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.inline: list[str] = []
        self.words: list[str] = []
        self._form: Form | None = None
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what a test may ask for."""
        values = {name: value or "" for name, value in attrs}
        self._note_row(values)
        self._note_inline(tag, values)
        if tag == "meta" and values.get("name") == "csrf-token":
            self.token = values.get("content")
        elif tag == "main":
            self.folder = values.get("data-folder-id")
        elif tag == "a" and "href" in values:
            self._note_link(values)
        elif tag == "form":
            self._form = Form(values.get("action", ""), values.get("method", "get"))
            self.forms.append(self._form)
        elif tag in {"input", "button"} and self._form and values.get("name"):
            self._form.fields.setdefault(values["name"], values.get("value", ""))
            self._form.kinds[values["name"]] = values.get("type", "text")
        self._inside.append(tag)
        if tag in {"input", "meta", "link", "br", "hr", "img"}:
            self._inside.pop()

    def handle_endtag(self, tag: str) -> None:
        """Leave a form when it ends."""
        if tag == "form":
            self._form = None
        if tag in self._inside:
            while self._inside and self._inside.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        """Keep visible words, and scripts or styles written into the page."""
        if self._inside and self._inside[-1] in {"script", "style"}:
            if data.strip():
                self.inline.append(data)
        elif data.strip():
            self.words.append(data.strip())

    @property
    def visible(self) -> str:
        """The words a person sees, joined by single spaces."""
        return " ".join(" ".join(self.words).split())

    def _note_row(self, values: dict[str, str]) -> None:
        if "data-id" in values and "data-kind" in values:
            keys = ("id", "kind", "name", "size")
            self.rows.append({key: values.get(f"data-{key}", "") for key in keys})

    def _note_link(self, values: dict[str, str]) -> None:
        self.links.append(values["href"])
        if "next" in values.get("rel", "").split():
            self.next = values["href"]

    def _note_inline(self, tag: str, values: dict[str, str]) -> None:
        if tag in {"script", "link", "img"}:
            self.sources.append(values.get("src") or values.get("href", ""))
        for name in values:
            if name == "style" or name.startswith("on"):
                self.inline.append(f"<{tag} {name}>")
