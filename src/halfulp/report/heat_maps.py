"""Tensors over steps as one figure, with a menu of what is shown: the worst tensors on top."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from halfulp.language import N_, spoken
from halfulp.language import translate as _
from halfulp.report.figures import require_plotly
from halfulp.report.run_data import RunData
from halfulp.runs.ranges import PLURAL, named, role_text
from halfulp.runs.samples import ACTIVATION_GRADIENT, CLIPPED, GRADIENT

Array = npt.NDArray[Any]

#: Tensors that are drawn at most, and characters of a label.
MOST_TENSORS, LABEL = 100, 34
ROW, ROOM = 13, 150  # pixels of a row, and around all of them
ORANGES = [[0.0, "#ffffff"], [0.15, "#fbd9c0"], [0.5, "#e8833a"], [1.0, "#8a3200"]]
BAR = {"thickness": 14, "len": 160, "lenmode": "pixels", "y": 1, "yanchor": "top"}
NOTHING = "#e3e7ea"  # what was not seen, or had no updates
HALF = "float16"


class Map(NamedTuple):
    """One entry of the menu."""

    title: str
    names: Sequence[str]
    z: Array  # [tensor, step]
    hover: str
    scale: Any
    unit: str
    floor: float | None  # where the colours begin; None: at the least value
    few: str  # the title where not all tensors are shown
    tensors: int  # that there are
    parts: Array | None = None  # [tensor, step, 2]: numerator and denominator


def heat_map_figure(data: RunData) -> Any | None:
    """Tensors × steps; None where nothing was seen."""
    maps = list(_maps(data))
    if not maps:
        return None
    figure, at = require_plotly().Figure(), _("step {step}: {scale}")
    for number, m in enumerate(maps):
        figure.add_heatmap(
            x=data.steps, y=m.names, z=m.z.astype(np.float32), customdata=m.parts,
            hovertemplate=f"%{{y}}<br>{at.format(step='%{x}', scale=m.hover)}<extra></extra>",
            colorscale=m.scale, colorbar={"title": m.unit, **BAR}, visible=number == 0,
            zmin=m.floor, zmax=None if m.floor is None else float(np.nanmax(m.z)) or 1.0,
        )  # fmt: skip
    figure.update_layout(**_shown(maps[0]))
    return figure.update_layout(
        template="plotly_white", plot_bgcolor=NOTHING, margin={"t": 110, "r": 10, "b": 40},
        font={"family": "system-ui, sans-serif", "color": "#1c2024"},
        xaxis={"title": _("step"), "showgrid": False, "zeroline": False},
        yaxis={"autorange": "reversed", "showgrid": False, "automargin": True,
               "type": "category", "tickfont": {"size": 10}},
        updatemenus=[_menu(maps)] if len(maps) > 1 else [],
    )  # fmt: skip


def _menu(maps: Sequence[Map]) -> dict[str, Any]:
    buttons = [
        {
            "label": m.title,
            "method": "update",
            "args": [{"visible": [other is m for other in maps]}, _shown(m)],
        }
        for m in maps
    ]
    return {
        "buttons": buttons, "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom",
        "pad": {"b": 8}, "bgcolor": "#ffffff",
    }  # fmt: skip


def _shown(m: Map) -> dict[str, Any]:
    """The layout of one entry."""
    title = m.title
    if m.tensors > len(m.names):
        title = _(m.few).format(title=title, shown=len(m.names), all=m.tensors)
    return {
        "title.text": title,
        "title.x": 0.01,
        "title.y": 0.99,
        "title.yanchor": "top",
        "title.pad.t": 12,
        "yaxis.tickvals": list(m.names),
        "yaxis.ticktext": labels(m.names),
        "height": ROOM + ROW * max(len(m.names), 12),
    }


def _maps(data: RunData) -> Iterator[Map]:
    if not data.steps:
        return
    if data.lost.updates.any():
        yield _share_map(
            _("Updates lost, as it runs"), data, np.arange(len(data.series)), data.lost.lost,
            data.lost.updates, _("{part} of {whole} nonzero updates"),
        )  # fmt: skip
    formats = list(data.about.formats)
    for name in sorted(formats, key=lambda name: name != HALF):
        for role in (GRADIENT, CLIPPED, ACTIVATION_GRADIENT):
            rows = data.of_roles(role)
            lost = data.casts.counts[rows, :, formats.index(name), data.kind("underflow")]
            if lost.any():
                role_name = spoken(named(role, PLURAL))
                title = _("{role} that {format} makes zero").format(role=role_name, format=name)
                whole = data.casts.nonzero[rows]
                yield _share_map(title, data, rows, lost, whole,
                                 _("{part} of {whole} nonzero elements"))  # fmt: skip
    for role in dict.fromkeys(data.roles.tolist()):
        rows = data.of_roles(role)
        if data.casts.largest[rows].any():
            yield _size_map(role, data, rows)


def _share_map(title: str, data: RunData, rows: Array, part: Array, whole: Array, of: str) -> Map:
    """Shares in percent, by the share over all steps."""
    seen = np.flatnonzero(whole.any(1))
    total = part[seen].sum(1) / whole[seen].sum(1)
    order = seen[np.argsort(-total, kind="stable")]
    best = order[:MOST_TENSORS]
    above, below = part[best], whole[best]
    with np.errstate(invalid="ignore", divide="ignore"):
        z = 100 * above / below
    return Map(
        title, _names(data, rows[best]), z,
        "%{z:.4~f} %<br>" + of.format(part="%{customdata[0]:,}", whole="%{customdata[1]:,}"),
        ORANGES, "%", 0.0, N_("{title}; the worst {shown} of {all:,} tensors"), len(seen),
        np.stack([above, below], -1).astype(float),
    )  # fmt: skip


def _size_map(role: str, data: RunData, rows: Array) -> Map:
    """Largest magnitudes as exponents, by the largest over all steps."""
    largest = data.casts.largest[rows]
    order = np.argsort(-largest.max(1), kind="stable")
    order = order[largest.max(1)[order] > 0]
    with np.errstate(divide="ignore"):
        z = np.log2(largest[order[:MOST_TENSORS]])
    z[np.isinf(z)] = np.nan
    title = _("Largest magnitude: {role}").format(role=role_text(role))
    names = _names(data, rows[order[:MOST_TENSORS]])
    return Map(
        title, names, z, "2<sup>%{z:.2f}</sup>", "Cividis", "log2", None,
        N_("{title}; the largest {shown} of {all:,} tensors"), len(order),
    )  # fmt: skip


def _names(data: RunData, rows: Array) -> list[str]:
    """The names of series of a role, told apart where a tensor came in two dtypes."""
    series = [data.series[row] for row in rows.tolist()]
    names = [one.name for one in series]
    if len(set(names)) == len(names):
        return names
    return [f"{one.name} ({one.dtype})" for one in series]


def labels(names: Sequence[str]) -> list[str]:
    """Names as short as labels are: without what all begin with, and cut in the middle.

    >>> labels(["model.layers.0.attention.query.weight", "model.layers.1.bias"])
    ['…0.attention.query.weight', '…1.bias']
    >>> labels(["encoder.block.17.layer.1.DenseReluDense.wi.weight"])
    ['encoder.block.17…luDense.wi.weight']
    """
    paths = [name.split(".") for name in names]
    shared = 0
    while len(names) > 1 and len({(*path, "", "")[shared] for path in paths}) == 1:
        if any(len(path) <= shared + 1 for path in paths):
            break
        shared += 1
    start = "…" if shared else ""
    return [middle_cut(start + ".".join(path[shared:]), LABEL) for path in paths]


def middle_cut(text: str, most: int) -> str:
    """A text of at most so many characters, with … for its middle."""
    if len(text) <= most:
        return text
    end = most // 2
    return f"{text[: most - end - 1]}…{text[-end:]}"
