"""What the widgets share: fields, buttons, and HTML that the kernel makes.

A message from the page is a dict of texts by name: fields that were changed, buttons that were
pressed. The answer is the traits: ``html``, the fields as they are now, and one more ``answered``,
in one update. What is wrong with a field is said in a sentence in place of the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from itertools import count
from typing import Any, ClassVar, NamedTuple

import anywidget
from jinja2 import Environment
from markupsafe import Markup, escape
from traitlets import Int, Unicode

from halfulp.catalogue import formats
from halfulp.errors import HalfulpError
from halfulp.exact import number
from halfulp.explanations.fields import LONGEST, check_length
from halfulp.explanations.markup import (
    drag_script,
    drawn,
    markup,
    notebook,
    style_sheet,
    templates,
)
from halfulp.explanations.page import in_notebook
from halfulp.language import chosen, translate, use

_FILES = files("halfulp.widgets")
_COUNT = count(1)


class Field(NamedTuple):
    """One field of a panel."""

    name: str
    label: str
    hint: str = ""
    kind: str = "text"  # or "format", or "range"
    reach: int = 0  # of a range, to either side
    steps: bool = False  # whether ↑ and ↓ in it lead to the next numbers


class Panel(anywidget.AnyWidget):
    """A widget of fields over a result; each kind says which and what they mean."""

    _esm = drag_script() + _FILES.joinpath("panel.js").read_text(encoding="utf-8")
    _css = style_sheet() + _FILES.joinpath("panel.css").read_text(encoding="utf-8")

    form = Unicode().tag(sync=True)  # the fields, made once
    html = Unicode().tag(sync=True)  # the result
    answered = Int(0).tag(sync=True)

    fields: ClassVar[tuple[str, ...]] = ()  # traits of texts
    buttons: ClassVar[tuple[str, ...]] = ()

    #: What is shown; None while a field is wrong.
    record: Any = None

    def __init__(self, **texts: str) -> None:
        super().__init__(**texts)
        self._language, self._prefix = chosen(), f"hu{next(_COUNT)}-"
        self._is_settling = False
        form = _environment().get_template("panel.html")
        self.form = form.render(
            fields=self._described(), formats=formats(), prefix=self._prefix, longest=LONGEST
        )
        self.observe(self._changed, list(self.fields))
        self.on_msg(self._received)
        self._answer({})

    def _described(self) -> tuple[Field, ...]:
        """The fields, their labels in the language in use."""
        raise NotImplementedError

    def _found(
        self, fields: Mapping[str, str], pressed: Mapping[str, str]
    ) -> tuple[Any, dict[str, str]]:
        """The record that fields and buttons ask for, and traits that change with it.

        Raises HalfulpError for fields that cannot be.
        """
        raise NotImplementedError

    def _changed(self, change: Any) -> None:
        if not self._is_settling:
            self._answer({})

    def _received(self, widget: Any, content: Any, buffers: Any) -> None:
        """A message of the page; what is no text, or of no such name, is left out."""
        told = content if isinstance(content, dict) else {}
        texts = {name: text for name, text in told.items() if isinstance(text, str)}
        typed = {name: text for name, text in texts.items() if name in self.fields}
        pressed = {name: text for name, text in texts.items() if name in self.buttons}
        with self.hold_sync():
            self._settle(typed)
            self._answer(pressed)

    def _settle(self, texts: Mapping[str, str]) -> None:
        """Set traits, without an answer to each."""
        self._is_settling = True
        try:
            for name, text in texts.items():
                setattr(self, name, text)
        finally:
            self._is_settling = False

    def _answer(self, pressed: Mapping[str, str]) -> None:
        """What is shown now, in one update."""
        fields = {name: getattr(self, name) for name in self.fields}
        with self.hold_sync(), use(self._language):
            try:
                for name, text in (fields | dict(pressed)).items():
                    check_length(name, text)
                self.record, changed = self._found(fields, pressed)
                self._settle(changed)
                # The figure first: what a slider does to it is seen beside the slider.
                made = markup(self.record, live=True, prefix=self._prefix)
                self.html = drawn(self.record) + made
            except HalfulpError as error:
                self.record, self.html = None, _sentence(error)
            self.answered += 1

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget, and for where there is no kernel what it shows, as HTML and as text."""
        data, about = super()._repr_mimebundle_(**kwargs) or ({}, {})
        if self.record is None:
            plain = {"text/html": in_notebook(self.html, style_sheet()), "text/plain": repr(self)}
        else:
            with use(self._language):
                plain = {"text/html": notebook(self.record), "text/plain": str(self.record)}
        return data | plain, about

    def __repr__(self) -> str:
        texts = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.fields)
        return f"{type(self).__name__}({texts})"


def text_of(value: Any) -> str:
    """What a field shows of an argument: texts as they are, numbers exactly.

    >>> text_of("1e-3"), text_of(0.5), text_of(None)
    ('1e-3', '0.5', '')
    """
    if value is None:
        return ""
    return value if isinstance(value, str) else str(number(value))


def _sentence(error: HalfulpError) -> Markup:
    return Markup('<p class="hu-note" role="alert">') + escape(str(error)) + Markup("</p>")


@cache
def _environment() -> Environment:
    return templates("halfulp.widgets", _=translate)
