"""A terminal's recording as an animated SVG: text and CSS alone, so that it can be shown as a picture anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from scripts.recording.terminal import Terminal, Version

SHOWN = 27
"""Rows that are seen at a time."""
FONT, WIDE, HIGH = 14, 8.4, 19
"""Sizes in pixels: of a letter, of its cell."""
MARGIN, BAR = 16, 34
_FRAME = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" font-size="{font}" role="img">
<title>{title}</title>
<style>
text{{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#d6d9e4;white-space:pre}}
.bold{{font-weight:700;fill:#fff}}.yellow{{fill:#f2c55c}}.green{{fill:#7fd88f}}.red{{fill:#ff7b72}}
.v,.s{{animation:{seconds:g}s step-end infinite}}
{rules}
@media (prefers-reduced-motion:reduce){{.v,.s{{animation:none!important}}}}
</style>
<rect width="100%" height="100%" rx="10" fill="#15171f"/>
<circle cx="20" cy="17" r="5.5" fill="#ff5f57"/><circle cx="38" cy="17" r="5.5" fill="#febc2e"/>
<circle cx="56" cy="17" r="5.5" fill="#28c840"/>
<svg y="{bar}" width="{width:g}" height="{window:g}"><g class="s" style="animation-name:s;transform:{end}">
{rows}
</g></svg>
</svg>
"""


def animation(terminal: Terminal, seconds: float, title: str) -> str:
    """The whole picture; it begins anew after so many seconds. Who wants no motion sees its end."""
    rules: list[str] = []
    rows: list[str] = []
    scrolls, bottom = [(0.0, 0)], 0
    for number, versions in enumerate(terminal.rows):
        for version in versions:
            if not version.runs:
                continue
            name = f"a{len(rules)}"
            rules.append(_rule(name, version, seconds))
            hidden = ";visibility:hidden" if version.until is not None else ""
            rows.append(f'<g class="v" style="animation-name:{name}{hidden}">{_texts(number, version)}</g>')
            if number > bottom:
                bottom = number
                scrolls.append((version.since, max(0, number + 1 - SHOWN)))
    steps = "".join(f"{at / seconds:.2%}{{transform:{_up(by)}}}" for at, by in _changes(scrolls))
    rules.append(f"@keyframes s{{{steps}}}")
    window = SHOWN * HIGH + MARGIN / 2
    return _FRAME.format(
        width=terminal.columns * WIDE + 2 * MARGIN,
        height=BAR + window + MARGIN / 2,
        window=window,
        font=FONT,
        bar=BAR,
        title=escape(title),
        seconds=seconds,
        rules="\n".join(rules),
        rows="\n".join(rows),
        end=_up(scrolls[-1][1]),
    )


def _rule(name: str, version: Version, seconds: float) -> str:
    steps = "0%{visibility:hidden}" if version.since > 0 else ""
    steps += f"{version.since / seconds:.2%}{{visibility:visible}}"
    if version.until is not None:
        steps += f"{version.until / seconds:.2%}{{visibility:hidden}}"
    return f"@keyframes {name}{{{steps}}}"


def _texts(number: int, version: Version) -> str:
    texts = []
    for column, text, style in version.runs:
        # Every letter keeps its column, whatever font is there.
        place = f'x="{MARGIN + column * WIDE:g}" y="{number * HIGH + FONT}" textLength="{len(text) * WIDE:g}"'
        look = f' class="{style}"' if style else ""
        texts.append(f"<text {place}{look}>{escape(text)}</text>")
    return "".join(texts)


def _up(rows: int) -> str:
    return f"translateY({-rows * HIGH}px)"


def _changes(scrolls: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Only where it moves."""
    return [s for i, s in enumerate(scrolls) if i == 0 or s[1] != scrolls[i - 1][1]]
