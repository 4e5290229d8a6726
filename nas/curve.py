"""A growing quantity as a small picture: SVG for a page, blocks for a terminal. Nothing is imported for it."""

from collections.abc import Sequence
from html import escape

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 520, 220, 62, 40, 14


def sparkline(points: Sequence[tuple[float, float]], width: int = 40) -> str:
    """Steps through ``points`` (x, y), from y = 0 at x = 0, in one line of ``width`` characters; empty without any."""
    if not points or points[-1][0] <= 0:
        return ""
    highest = max(y for _, y in points)
    if highest <= 0:
        return _BLOCKS[0] * width
    values = [_at(points, points[-1][0] * (column + 1) / width) for column in range(width)]
    return "".join(_BLOCKS[min(7, int(8 * value / highest))] for value in values)


def steps_svg(points: Sequence[tuple[float, float]], x_label: str, y_label: str) -> bytes:
    """The same as an SVG with both axes labelled."""
    right = max((x for x, _ in points), default=0.0) or 1.0
    highest = max((y for _, y in points), default=0.0) or 1.0
    wide, high = _WIDTH - _LEFT - 12, _HEIGHT - _BOTTOM - _TOP

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + wide * x / right, _TOP + high * (1 - y / highest)

    path = [f"M{_LEFT},{_TOP + high:.1f}"]
    for x, y in points:
        across, up = place(x, y)
        path.append(f"H{across:.1f}V{up:.1f}")
    middle = _TOP + high / 2
    texts = [
        (_LEFT, _HEIGHT - 22, "start", "0"),
        (_WIDTH - 12, _HEIGHT - 22, "end", f"{right:.4g}"),
        (_LEFT + wide / 2, _HEIGHT - 6, "middle", x_label),
        (_LEFT - 6, _TOP + 8, "end", f"{highest:.4g}"),
        (_LEFT - 6, _TOP + high, "end", "0"),
    ]
    labels = "".join(
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{at}">{escape(text)}</text>' for x, y, at, text in texts
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#1c1e21">'
        f'<path d="M{_LEFT},{_TOP}V{_TOP + high}H{_WIDTH - 12}" fill="none" stroke="#9a9a9a"/>'
        f'<path d="{"".join(path)}" fill="none" stroke="#0072B2" stroke-width="2"/>{labels}'
        f'<text transform="translate(12 {middle:.1f}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text></svg>'
    ).encode()


def _at(points: Sequence[tuple[float, float]], x: float) -> float:
    """The last y at or before ``x``."""
    found = 0.0
    for where, y in points:
        if where > x * (1 + 1e-12):
            break
        found = y
    return found
