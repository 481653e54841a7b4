"""Plots as SVG, made without any library: bars of one figure for everybody, and lines along an axis."""

from collections.abc import Mapping, Sequence
from html import escape
from math import log10
from typing import Final

_BAR_PX, _ROW_PX, _LABEL_PX = 420, 22, 290
_WIDTH_PX, _HEIGHT_PX, _MARGIN_PX, _LEGEND_PX = 470, 240, 56, 150
_HUB, _OTHER = "#c0392b", "#7f8c8d"
_LINES: Final = ("#c0392b", "#2c3e50", "#16a085", "#8e44ad")

Bar = tuple[str, float]
"""Label and value."""


def bars(title: str, unit: str, values: Sequence[Bar]) -> str:
    """Horizontal bars, those of the hub in another colour."""
    most = max(value for _, value in values) or 1.0
    parts = [*_begin(_LABEL_PX + _BAR_PX + 90, _ROW_PX * (len(values) + 1) + 14, title)]
    for number, (label, value) in enumerate(values, 1):
        top, long = _ROW_PX * number + 6, value / most * _BAR_PX
        parts.append(
            f'<text x="{_LABEL_PX - 8}" y="{top + 14}" text-anchor="end">{escape(label)}</text>'
            f'<rect x="{_LABEL_PX}" y="{top + 2}" width="{max(1, long):.0f}" height="{_ROW_PX - 6}" '
            f'fill="{_HUB if label.startswith("Argus") else _OTHER}"/>'
            f'<text x="{_LABEL_PX + long + 6:.0f}" y="{top + 14}">{_short(value)} {unit}</text>'
        )
    return "".join((*parts, "</svg>\n"))


def curves(title: str, unit: str, axis: str, points: Sequence[float], lines: Mapping[str, Sequence[float]]) -> str:
    """Lines along an axis in powers of ten, from zero up. ``lines``: by label, a value for each point."""
    most = 1.15 * max(max(values) for values in lines.values())
    first, last = log10(points[0]), log10(points[-1])
    left, bottom = _MARGIN_PX, _HEIGHT_PX - 40
    places = [left + (log10(point) - first) / (last - first) * _WIDTH_PX for point in points]
    parts = [*_begin(left + _WIDTH_PX + _LEGEND_PX + 20, _HEIGHT_PX, f"{title}, {unit}")]
    parts.append(f'<path d="M{left} 30V{bottom}H{left + _WIDTH_PX}" fill="none" stroke="#000"/>')
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * (bottom - 30)
        parts.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{_short(share * most)}</text>')
    for point, x in zip(points, places, strict=True):
        parts.append(f'<text x="{x:.0f}" y="{bottom + 16}" text-anchor="middle">{point:,.0f}</text>')
    parts.append(f'<text x="{left + _WIDTH_PX / 2}" y="{bottom + 32}" text-anchor="middle">{escape(axis)}</text>')
    for number, (label, values) in enumerate(lines.items()):
        colour = _LINES[number % len(_LINES)]
        ys = [bottom - value / most * (bottom - 30) for value in values]
        path = " ".join(f"{x:.0f},{y:.1f}" for x, y in zip(places, ys, strict=True))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y, value in zip(places, ys, values, strict=True):
            parts.append(
                f'<circle cx="{x:.0f}" cy="{y:.1f}" r="3" fill="{colour}"><title>{value:.3g} {unit}</title></circle>'
            )
        y = 40 + 20 * number
        parts.append(f'<text x="{left + _WIDTH_PX + 12}" y="{y}" fill="{colour}">{escape(label)}</text>')
    return "".join((*parts, "</svg>\n"))


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _begin(width: int, height: int, title: str) -> Sequence[str]:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        'font-size="13"><rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="8" y="16" font-weight="bold">{escape(title)}</text>',
    )
