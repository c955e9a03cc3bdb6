"""L0: the language of what is explained: English as it is written, Chinese by gettext's catalogue.

A text is marked where it stands: ``_("…")``, which is :func:`translate`; ``plural(one, many, n)``;
a constant of a module ``N_("…")``, and ``_(CONSTANT)`` where it is used. Whole sentences are
marked, values filled in afterwards by ``.format``, so that translations may order them anew. What
is kept, and said later, is :func:`told`. ``make translations`` finds what is marked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # English needs neither gettext nor a file
    from gettext import GNUTranslations

LANGUAGES = ("en", "zh")

_CURRENT: ContextVar[str] = ContextVar("language", default="en")


@contextmanager
def use(language: str) -> Iterator[None]:
    """Explain in a language within the block, in this thread or task only.

    Raises HalfulpError for a language that is not in LANGUAGES.

    >>> with use("zh"):
    ...     chosen(), translate("weight")
    ('zh', '权重')
    >>> chosen(), translate("weight")
    ('en', 'weight')
    """
    if language not in LANGUAGES:
        from halfulp.errors import unknown  # whose sentences need this module

        raise unknown(translate("language"), str(language), LANGUAGES)
    token = _CURRENT.set(language)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def chosen() -> str:
    """The language in use, one of LANGUAGES.

    >>> chosen()
    'en'
    """
    return _CURRENT.get()


def translate(text: str) -> str:
    """A text in the language in use; itself where the catalogue does not have it.

    >>> translate("{rate} in full").format(rate="0.1")
    '0.1 in full'
    """
    if _CURRENT.get() == "en" or not text:  # gettext keeps the catalogue's header under ""
        return text
    return _catalogue(_CURRENT.get()).gettext(text)


def in_context(context: str, text: str) -> str:
    """The same for a word that means something else elsewhere, told apart by its context.

    >>> with use("zh"):
    ...     translate("error"), in_context("severity", "error")
    ('误差', '错误')
    """
    if _CURRENT.get() == "en":
        return text
    return _catalogue(_CURRENT.get()).pgettext(context, text)


def plural(one: str, many: str, n: int) -> str:
    """The text for ``n`` things in the language in use, values not yet filled in.

    >>> plural("{n} zero", "{n} zeros", 3).format(n=3)
    '3 zeros'
    """
    if _CURRENT.get() == "en":
        return one if n == 1 else many
    return _catalogue(_CURRENT.get()).ngettext(one, many, n)


def N_(text: str) -> str:  # noqa: N802 - gettext's own name for it
    """Mark a constant for the catalogue; it is translated where it is used.

    >>> N_("weight")
    'weight'
    """
    return text


class Told(str):
    """A text in English, as it is kept, which :func:`spoken` says in the language in use."""

    template: tuple[Any, ...]  # the text; or the one, the many, and how many
    values: dict[str, Any]  # which may be told themselves


def told(text: str, /, **values: Any) -> Told:
    """A text to keep, with its values filled in.

    >>> kept = told("weight")
    >>> with use("zh"):
    ...     str(kept), spoken(kept)
    ('weight', '权重')
    """
    return _told((text,), values)


def told_many(one: str, many: str, n: int, /, **values: Any) -> Told:
    """The same for ``n`` things.

    >>> told_many("{n:,} zero", "{n:,} zeros", 3000)
    '3,000 zeros'
    """
    return _told((one, many, n), {"n": n, **values})


def joined(parts: Iterable[str], between: str = "") -> Told:
    """Texts one after the other, and what is between any two, told or not."""
    named = {f"part{i}": part for i, part in enumerate(parts)}
    template = "{between}".join(f"{{{name}}}" for name in named)
    return told(template, **named, between=between)


def _told(template: tuple[Any, ...], values: dict[str, Any]) -> Told:
    english = template[0] if len(template) == 1 or template[2] == 1 else template[1]
    made = Told(english.format(**values))
    made.template, made.values = template, values
    return made


def spoken(text: Any) -> Any:
    """What was told, in the language in use; all else as it is."""
    if not isinstance(text, Told):
        return text
    found = plural(*text.template) if len(text.template) > 1 else translate(*text.template)
    return found.format(**{name: spoken(value) for name, value in text.values.items()})


def from_environment(env: Mapping[str, str]) -> str:
    """The language that a process's environment asks for, by gettext's variables in its order.

    >>> from_environment({"LANG": "zh_CN.UTF-8"}), from_environment({"LANG": "de_DE.UTF-8"})
    ('zh', 'en')
    """
    names = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
    wanted = next((env[name] for name in names if env.get(name)), "")
    spoken = (entry[:2] for entry in wanted.lower().split(":"))  # LANGUAGE lists several
    return next((language for language in spoken if language in LANGUAGES), "en")


def from_header(accept_language: str) -> str:
    """The language that a browser asks for by Accept-Language; English where that is rubbish.

    >>> from_header("zh-CN,zh;q=0.9,en;q=0.8"), from_header("en;q=0.5,zh;q=0.4"), from_header(";=")
    ('zh', 'en', 'en')
    """
    best, most = "en", 0.0
    for entry in accept_language.lower().split(","):
        tag, _, parameter = entry.partition(";")
        language = tag.strip().partition("-")[0].replace("*", "en")
        quality = _quality(parameter)
        if language in LANGUAGES and quality > most:
            best, most = language, quality
    return best


def _quality(parameter: str) -> float:
    """What q is, 1 where it is not given, and 0 where it cannot be."""
    if not parameter.strip():
        return 1.0
    name, _, value = parameter.partition("=")
    try:
        quality = float(value)
    except ValueError:
        return 0.0
    return quality if name.strip() == "q" and 0 <= quality <= 1 else 0.0


@cache
def _catalogue(language: str) -> GNUTranslations:
    from gettext import translation
    from pathlib import Path

    return translation("halfulp", Path(__file__).parent / "locale", [language])
