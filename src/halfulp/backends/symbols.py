"""L1: functions that kernels call, under names that say what they were specialised for.

Numba names the machine code of a function by its qualified name, its argument types and a number
that counts functions within a process. Kernels that two processes compiled and kept on disk can so
bring two different functions of one name into a third, where the linker takes one for both. A
closure's name here is made of what it closes over instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from numba.extending import register_jitable


def jitable(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that compiled code can call, as Numba's register_jitable makes it.

    >>> def adds(n):
    ...     def add(x):
    ...         return x + n
    ...
    ...     return jitable(add)
    >>> adds(1).__qualname__ == adds(1).__qualname__, adds(1).__qualname__ == adds(2).__qualname__
    (True, False)
    """
    cells = [_described(cell.cell_contents) for cell in function.__closure__ or ()]
    if cells:
        mark = hashlib.sha256("\n".join(cells).encode()).hexdigest()[:16]
        function.__qualname__ = f"{function.__qualname__}_{mark}"
    made: Callable[..., Any] = register_jitable(function)
    return made


def _described(value: Any) -> str:
    """What a closure holds, the same in every process."""
    for name in ("__qualname__", "_name"):  # of functions and types; of Numba's intrinsics
        if isinstance(found := getattr(value, name, None), str):
            return f"{getattr(value, '__module__', '')}.{found}"
    return repr(value)
