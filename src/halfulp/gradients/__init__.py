"""L3: gradients of real trainings, recorded once, to try loss scales on without torch.

They are those of the parameters of two built-in examples, trained plainly in float32 from seed 0:
a file a step, the elements of all tensors after one another. ``python -m
halfulp.training.examples.record`` made them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from halfulp.errors import HalfulpError, unknown
from halfulp.language import translate as _
from halfulp.npy import read
from halfulp.records import Record

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FOLDER = files(__name__)
INDEX = "index.json"


@dataclass(frozen=True)
class Part(Record):
    """The elements that stand for one tensor's gradient."""

    name: str  # of the parameter
    shape: tuple[int, ...]
    elements: int  # of the tensor
    kept: int  # of them, in the file; evenly chosen where they are not all
    offset: int  # elements of the file before them


@dataclass(frozen=True)
class Recording(Record):
    """One training whose gradients are here."""

    name: str
    steps: tuple[int, ...]  # updates before each of the gradients
    of_steps: int  # that the training has
    parts: tuple[Part, ...]

    @cached_property
    def elements(self) -> int:
        """Of all tensors."""
        return sum(part.elements for part in self.parts)

    @cached_property
    def kept(self) -> int:
        """Of them, in a file."""
        return sum(part.kept for part in self.parts)


@cache
def recordings() -> dict[str, Recording]:
    """The trainings whose gradients are here, by name.

    >>> {name: (r.kept, r.elements) for name, r in recordings().items()}
    {'digits': (9610, 9610), 'gpt': (32748, 110784)}
    """
    import json

    every = json.loads(FOLDER.joinpath(INDEX).read_text(encoding="utf-8"))
    return {one["name"]: Recording.from_dict(one) for one in every}


def read_gradients(name: str, step: int | None = None) -> dict[str, npt.NDArray[np.floating[Any]]]:
    """The gradients of a recorded step by tensor, the last one where none is named.

    Arrays are flat, float32 and read-only, with the elements that were kept.

    Raises HalfulpError for a name and for a step that is not here.

    >>> [(tensor, x.size) for tensor, x in read_gradients("digits").items()]
    [('0.weight', 8192), ('0.bias', 128), ('2.weight', 1280), ('2.bias', 10)]
    """
    if name not in recordings():
        raise unknown(_("gradients"), name, recordings())
    about = recordings()[name]
    step = about.steps[-1] if step is None else step
    if step not in about.steps:
        known = " and ".join(map(str, about.steps))
        raise HalfulpError(
            _("step {step} of {name} was not recorded: {known} were").format(
                step=step, name=name, known=known
            )
        )
    whole = read(FOLDER.joinpath(file_of(name, step)).read_bytes())
    return {part.name: whole[part.offset : part.offset + part.kept] for part in about.parts}


def file_of(name: str, step: int) -> str:
    """The name of the file of a step."""
    return f"{name}-{step}.npy"
