"""What a view shows is in its URL: short texts by name, and nothing else is remembered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from halfulp.errors import HalfulpError
from halfulp.explanations.fields import check_length
from halfulp.language import translate as _


@dataclass(frozen=True)
class State(Mapping[str, str]):
    """The fields of a view; those that are at their defaults stay out of the URL."""

    view: str
    defaults: tuple[tuple[str, str], ...]
    given: tuple[tuple[str, str], ...] = ()
    language: str = ""  # where it was chosen on the page

    def __getitem__(self, name: str) -> str:
        return {**dict(self.defaults), **dict(self.given)}[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self.defaults))

    def __len__(self) -> int:
        return len(self.defaults)

    def with_(self, **fields: str) -> State:
        """The same view with other fields.

        >>> bits = State("bits", (("x", "1"), ("format", "float16")))
        >>> bits.with_(x="2").url, bits.with_(x="1").url
        ('/bits?x=2', '/bits')
        """
        merged = {**dict(self.given), **fields}
        at_default = dict(self.defaults)
        kept = tuple((k, v) for k, v in merged.items() if v != at_default[k])
        return replace(self, given=kept)

    @property
    def url(self) -> str:
        """The link that reproduces the view."""
        return self.link(self.view)

    def link(self, path: str, **more: str) -> str:
        """A link with the fields of the view, the language, and what is given."""
        pairs = [*self.given, *((("lang", self.language),) if self.language else ()), *more.items()]
        return f"/{path}{'?' if pairs else ''}{urlencode(pairs)}"

    def elsewhere(self, path: str, **fields: str) -> str:
        """A link to another view, in the same language."""
        return State(path, (), tuple(fields.items()), self.language).url


def filled(empty: State, query: Mapping[str, str]) -> State:
    """The state that a query means; what the view does not know is left out.

    Raises HalfulpError for a field that is too long.
    """
    for name in empty:
        check_length(name, query.get(name, ""))
    return empty.with_(**{name: query[name].strip() for name in empty if name in query})


def names(state: Mapping[str, str], name: str) -> list[str]:
    """The names of a field that lists them with commas."""
    return [part.strip() for part in state[name].split(",") if part.strip()]


def few_formats(state: Mapping[str, str], name: str, most: int) -> list[str]:
    """The formats of such a field.

    Raises HalfulpError where they are too many for a page.
    """
    found = names(state, name)
    if len(found) > most:
        told = _("{found} formats were named: the page shows up to {most}")
        raise HalfulpError(told.format(found=len(found), most=most))
    return found
