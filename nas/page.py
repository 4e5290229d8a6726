"""The building blocks of a self-contained HTML page: it loads nothing and runs no script. All text is escaped."""

import base64
import html
from collections.abc import Iterable, Sequence
from string import Template

MOST_OPEN = 30  # rows of a table that may be long

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">$refresh<title>$title</title><style>
:root { --ink: #1c1e21; --paper: #fff; --line: #d9dce1; --soft: #f4f5f7; --dim: #5d6470; --mark: #0b62a8 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e6ea; --paper: #16181c; --line: #363a42; --soft: #20242b; --dim: #a0a7b4; --mark: #7dbcf2 } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 66rem; padding: 1.5rem }
h1 { font-size: 1.6rem; margin: 0 0 .4rem } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem }
.headline { border-left: 4px solid var(--mark); background: var(--soft); padding: .8rem 1rem; font-size: 1.05rem }
.headline p { margin: .2rem 0 }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: .85rem }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .55rem; text-align: left; vertical-align: top }
th { font-weight: 600; background: var(--soft); line-height: 1.25 }
td.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
code, pre { font: .85rem/1.5 ui-monospace, monospace } pre { background: var(--soft); padding: .6rem .8rem;
  overflow-x: auto; margin: .2rem 0 .8rem } td code { overflow-wrap: anywhere }
.drawings { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1rem }
details { margin: .8rem 0 } summary { cursor: pointer }
figure { margin: 0 } figcaption { font-size: .85rem; color: var(--dim) }
</style></head><body>
<h1>$title</h1>
$body
</body></html>
""")


def page(title: str, sections: Iterable[str], *, refresh: float | None = None) -> str:
    """The whole page; ``sections`` are HTML, empty ones are left out. It reloads itself every ``refresh`` seconds."""
    again = "" if refresh is None else f'<meta http-equiv="refresh" content="{max(1, round(refresh))}">'
    return _PAGE.substitute(title=escaped(title), body="\n".join(filter(None, sections)), refresh=again)


def section(title: str, content: str) -> str:
    """A titled part of the page around ``content``, which is HTML."""
    return f"<section><h2>{escaped(title)}</h2>{content}</section>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of rows of ready-made cells; wide ones scroll on their own."""
    head = "".join(f"<th>{escaped(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(row)}</tr>\n" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def long_table(header: Sequence[str], rows: Sequence[Sequence[str]], what: str) -> str:
    """The same of rows that may be many: those behind the first 30 are folded, and the fold says ``what`` they are."""
    shown, rest = rows[:MOST_OPEN], rows[MOST_OPEN:]
    return table(header, shown) + (details(f"the other {len(rest)} {what}", table(header, rest)) if rest else "")


def image(data: bytes, alt: str) -> str:
    """A PNG or SVG inside the page; a drawing cannot run scripts there."""
    kind = "png" if data.startswith(b"\x89PNG") else "svg+xml"
    return f'<img alt="{escaped(alt)}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def cell(text: str) -> str:
    """A table cell of text."""
    return f"<td>{escaped(text)}</td>"


def number(text: str) -> str:
    """A table cell set as a figure."""
    return f'<td class="n">{escaped(text)}</td>'


def escaped(text: str) -> str:
    """Plain text made safe for HTML, inside attributes as well."""
    return html.escape(text, quote=True)


def paragraphs(lines: Iterable[str]) -> str:
    """A paragraph of plain text each."""
    return "".join(f"<p>{escaped(line)}</p>" for line in lines)


def details(title: str, content: str) -> str:
    """A part that is folded until it is asked for, around ``content``, which is HTML; it needs no script."""
    return f"<details><summary>{escaped(title)}</summary>{content}</details>"
