"""What is trained: the ``build(seed)`` contract, and where a build function is found.

``build(seed)`` returns an :class:`Experiment` (or a dict of its fields), the same for the same
seed. It is called once for every recipe, after torch, NumPy and random were seeded with ``seed``.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch

from halfulp.errors import HalfulpError, listed, unknown

Build = Callable[[int], Any]
# Built-in targets of ``halfulp compare``; each is a module with a ``build``.
BUILTIN = {
    "digits": "halfulp.training.examples.digits",
    "convnet": "halfulp.training.examples.convnet",
    "gpt": "halfulp.training.examples.gpt",
    "underflow": "halfulp.training.examples.underflow",
}


@dataclass
class Experiment:
    """A model ready to be trained in float32; the recipe changes its precision, nothing else.

    ``batches`` gives one ``(inputs, targets)`` a step: inputs are a tensor, or a tuple or dict of
    them for the model's arguments. ``loss(outputs, targets)`` gets outputs in float32.
    ``evaluate(predict)`` gives the final metric, where ``predict(inputs)`` runs the model as
    trained and returns float32 outputs; ``metric`` is its name.
    """

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    batches: Iterable[tuple[Any, Any]]
    loss: Callable[[torch.Tensor, Any], torch.Tensor]
    evaluate: Callable[[Callable[[Any], torch.Tensor]], float] | None = None
    metric: str = "metric"


def built(build: Build, seed: int, name: str) -> Experiment:
    """What ``build(seed)`` returns, checked.

    Raises HalfulpError where it raises, or where it returns something else.
    """
    try:
        made = build(seed)
    except HalfulpError:
        raise
    except (Exception, SystemExit) as error:
        raise HalfulpError(f"{name}: build({seed}) raised {describe(error)}") from error
    if isinstance(made, dict):
        made = _from_dict(made, name)
    if not isinstance(made, Experiment):
        raise HalfulpError(
            f"{name}: build({seed}) returned {type(made).__name__}: return a "
            "halfulp.training.Experiment, or a dict with its fields"
        )
    _check(made, name)
    return made


def _check(made: Experiment, name: str) -> None:
    """The parts of an experiment are what they have to be, and belong together."""
    demands = (
        ("model", isinstance(made.model, torch.nn.Module), "torch.nn.Module"),
        ("optimizer", isinstance(made.optimizer, torch.optim.Optimizer), "torch.optim.Optimizer"),
        ("loss", callable(made.loss), "function of outputs and targets"),
        ("batches", isinstance(made.batches, Iterable), "iterable of (inputs, targets)"),
        ("metric", isinstance(made.metric, str), "name"),
    )
    for part, fits, kind in demands:
        if not fits:
            found = type(getattr(made, part)).__name__
            raise HalfulpError(f"{name}: build returned a {part} that is no {kind}: found {found}")
    parameters = {id(p) for p in made.model.parameters()}
    updated = [p for group in made.optimizer.param_groups for p in group["params"]]
    if not any(id(p) in parameters for p in updated):
        raise HalfulpError(
            f"{name}: the optimizer updates none of the model's parameters: make it from "
            "model.parameters()"
        )


def _from_dict(made: dict[str, Any], name: str) -> Experiment:
    known = [f.name for f in fields(Experiment)]
    if wrong := set(made) - set(known):
        raise unknown(f"field of {name}:", min(map(str, wrong)), known)
    if missing := {"model", "optimizer", "batches", "loss"} - set(made):
        raise HalfulpError(f"{name}: build returned no {listed(sorted(missing))}")
    return Experiment(**made)


def find_build(target: str) -> Build:
    """The build function of a built-in example or of ``file.py:function``.

    Raises HalfulpError where there is no such example, file or function, or where the file fails.
    """
    if target in BUILTIN:
        found: Build = importlib.import_module(BUILTIN[target]).build
        return found
    path, colon, function = target.rpartition(":")
    if target.endswith(".py"):
        raise HalfulpError(f"{target!r} names no function: did you mean {target}:build?")
    if not colon or not path.endswith(".py"):
        raise HalfulpError(f"{target!r} is no training: give {listed(BUILTIN)}, or file.py:build")
    if not Path(path).is_file():
        raise HalfulpError(f"there is no file {path}")
    build = getattr(_imported(Path(path)), function, None)
    if not callable(build):
        raise HalfulpError(f"{path} has no function {function!r}: define build(seed) in it")
    return build  # type: ignore[no-any-return]  # what it returns is checked when it is called


def with_options(build: Build, target: str, **options: Any) -> Build:
    """A build with keyword options filled in; those that are None are left out.

    Raises HalfulpError for an option the build does not take.
    """
    given = {name: value for name, value in options.items() if value is not None}
    taken = inspect.signature(build).parameters if given else {}
    for name in given:
        if name not in taken:
            raise HalfulpError(f"{target}: build takes no {name}; it takes {listed(taken)}")
    return partial(build, **given) if given else build


def _imported(path: Path) -> Any:
    """A user's file as a module, with its own folder on the path as when it is run."""
    name = f"halfulp_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise HalfulpError(f"{path} cannot be imported: {describe(error)}") from error
    finally:
        sys.path.pop(0)
    return module


def describe(error: BaseException) -> str:
    """An exception in one line: its type, its first line, and the user's line it came from."""
    first = (str(error).strip().splitlines() or [""])[0]
    where = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "site-packages" not in file and f"halfulp{'/'}" not in file and "<" not in file:
            where = f" ({Path(file).name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}{': ' if first else ''}{first}{where}"
