"""What the result of a piece depends on: code of modules, with all that they import, and versions.

A piece that was done under another key is done again.
"""

from __future__ import annotations

import ast
import platform
from collections.abc import Iterable, Iterator
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from proof import oracle
from proof.pieces import Claim, Piece
from proof.references import version_of

#: Backends that halfulp.conversion knows, but claims run through only where they name them.
ELSEWHERE = ("halfulp.backends.torch", "halfulp.backends.jax", "halfulp.backends.blocks")
OURS = ("halfulp", "proof")


def key_of(claim: Claim, piece: Piece) -> str:
    """The hash of all that a piece's result depends on."""
    versions = [f"{package} {version_of(package)}" for package in claim.packages]
    span = f"{piece.span.start} {piece.span.stop} {piece.span.step}"
    parts = (claim.name, piece.name, span, *machine(), *versions, code_of(claim.sources))
    return sha256("\n".join(parts).encode()).hexdigest()[:32]


@cache
def machine() -> tuple[str, ...]:
    """The Python and the processor that pieces run on."""
    from llvmlite.binding import get_host_cpu_name

    python = f"Python {platform.python_version()}"
    return python, platform.system(), platform.machine(), str(get_host_cpu_name())


@cache
def code_of(modules: tuple[str, ...]) -> str:
    """The hash of the code of modules and of what they import, and of the tests' oracle."""
    paths = (path for _, path in sorted(closure(modules).items()))
    codes = [code(path.read_text(encoding="utf-8")) for path in (*paths, oracle.PATH)]
    return sha256("\0".join(codes).encode()).hexdigest()


def code(text: str) -> str:
    """A module's syntax tree without docstrings: words and layout change no result."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def closure(modules: Iterable[str]) -> dict[str, Path]:
    """Modules and all of ours that they import, wherever they do, with their files.

    A backend of frameworks or of blocks is among them only where it is named.
    """
    named, found = set(modules), dict[str, Path]()
    rest = sorted(named)
    while rest:
        name = rest.pop()
        path = _file(name)
        if name in found or path is None or (name in ELSEWHERE and name not in named):
            continue
        found[name] = path
        rest += _imports(path)
    return found


@cache
def _imports(path: Path) -> list[str]:
    """What a file's imports may name: modules, and what could be a module of a package."""
    names = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names.update(_named(node))
    return sorted(name for name in names if name.split(".")[0] in OURS)


def _named(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def _file(name: str) -> Path | None:
    """The file of a module of ours; None for what is no module, such as a function."""
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None
