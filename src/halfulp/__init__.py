"""halfulp: see, predict and fix what low precision does to training.

Names are imported when they are first used, so that ``import halfulp`` is instant and needs no
framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "HalfulpError": "errors",
    "Format": "catalogue",
    "format": "catalogue",
    "formats": "catalogue",
    "p3109_formats": "catalogue",
    "BlockFormat": "block_catalogue",
    "block_format": "block_catalogue",
    "block_formats": "block_catalogue",
    "Blocks": "blocks",
    "pack": "packing",
    "unpack": "packing",
    "cast": "conversion",
    "encode": "conversion",
    "decode": "conversion",
    "number": "exact",
    "digits": "exact",
    "from_digits": "exact",
    "neighbours": "exact",
    "tally": "tallies",
    "add": "arithmetic",
    "sub": "arithmetic",
    "mul": "arithmetic",
    "div": "arithmetic",
    "sqrt": "arithmetic",
    "fma": "arithmetic",
    "sum": "reductions",
    "cumsum": "reductions",
    "dot": "reductions",
    "matmul": "reductions",
    "explain": "explanations.conversion",
    "explain_operation": "explanations.operation",
    "profile_diff": "explanations.profiles",
    "walk": "updates",
    "walk_all": "updates",
    "predict": "prediction",
}

if TYPE_CHECKING:
    from halfulp.arithmetic import add as add
    from halfulp.arithmetic import div as div
    from halfulp.arithmetic import fma as fma
    from halfulp.arithmetic import mul as mul
    from halfulp.arithmetic import sqrt as sqrt
    from halfulp.arithmetic import sub as sub
    from halfulp.block_catalogue import BlockFormat as BlockFormat
    from halfulp.block_catalogue import block_format as block_format
    from halfulp.block_catalogue import block_formats as block_formats
    from halfulp.blocks import Blocks as Blocks
    from halfulp.catalogue import Format as Format
    from halfulp.catalogue import format as format
    from halfulp.catalogue import formats as formats
    from halfulp.catalogue import p3109_formats as p3109_formats
    from halfulp.conversion import cast as cast
    from halfulp.conversion import decode as decode
    from halfulp.conversion import encode as encode
    from halfulp.errors import HalfulpError as HalfulpError
    from halfulp.exact import digits as digits
    from halfulp.exact import from_digits as from_digits
    from halfulp.exact import neighbours as neighbours
    from halfulp.exact import number as number
    from halfulp.explanations.conversion import explain as explain
    from halfulp.explanations.operation import explain_operation as explain_operation
    from halfulp.explanations.profiles import profile_diff as profile_diff
    from halfulp.packing import pack as pack
    from halfulp.packing import unpack as unpack
    from halfulp.prediction import predict as predict
    from halfulp.reductions import cumsum as cumsum
    from halfulp.reductions import dot as dot
    from halfulp.reductions import matmul as matmul
    from halfulp.reductions import sum as sum
    from halfulp.tallies import tally as tally
    from halfulp.updates import walk as walk
    from halfulp.updates import walk_all as walk_all


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _HOMES:
        value = getattr(import_module(f"halfulp.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if name in ("training", "widgets"):
        return import_module(f"halfulp.{name}")
    raise AttributeError(f"module 'halfulp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_HOMES, "training", "widgets", "__version__"])
