"""Short labels: numbers of about two digits, and names that every font and terminal has."""


def number(value: float) -> str:
    """About two significant digits; whole numbers in full up to five."""
    if abs(value) >= 99_999.5 or 0 < abs(value) < 0.005:
        return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    if abs(value) >= 10:
        return f"{value:.0f}"
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) < 1 else f"{value:.1f}".removesuffix(".0")


def printable(text: str) -> str:
    """Names are the user's: a character that a font may lack becomes a question mark."""
    return "".join(c if c.isprintable() and c < "\u0250" else "?" for c in text)


def shorten(line: str, columns: int) -> str:
    """A line cut in its middle, with a mark, where it is longer than ``columns``."""
    if len(line) <= columns:
        return line
    tail = columns // 3
    return f"{line[: columns - tail - 3]} … {line[-tail:]}"
