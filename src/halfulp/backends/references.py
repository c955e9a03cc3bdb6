"""L1: arrays that are not counted among the references, for loops that slice and pass many.

Numba counts an array's references with locked instructions, some 20 cycles each, on every slice and
on many calls. What :func:`borrowed` gives has nothing to count, nor have slices of it; whoever owns
the memory must outlive it: an argument of the kernel does, and what a kernel allocates does up to
:func:`keep`.
"""

from __future__ import annotations

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# Numba's extension API carries no types of its own; these functions run inside its compiler.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"


@intrinsic
def borrowed(typingctx, array):
    """The same array, without its owner."""
    if not isinstance(array, types.Array):
        return None

    def codegen(context, builder, signature, args):
        made = cgutils.create_struct_proxy(array)(context, builder, value=args[0])
        made.meminfo = cgutils.get_null_value(made.meminfo.type)
        made.parent = cgutils.get_null_value(made.parent.type)
        return made._getvalue()

    return array(array), codegen


@intrinsic
def keep(typingctx, array):
    """Nothing; but the array lives until here."""

    def codegen(context, builder, signature, args):
        return context.get_dummy_value()

    return types.none(array), codegen
