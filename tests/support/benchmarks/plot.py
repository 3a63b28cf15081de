"""Draw a run as a line chart in SVG. Pure: it needs no library, and the document loads nothing from elsewhere."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

WIDTH, HEIGHT = 960, 480
LEFT, RIGHT, TOP, BOTTOM = 76, 836, 76, 424  # the plotting area; the space right of it is for the labels
LABEL_GAP = 34  # the smallest distance between two line labels

# Blue, orange and green of the Okabe-Ito palette, which colour-blind readers can tell apart; no CSS variables,
# because renderers outside browsers do not support them.
_STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #57606a }
.paper { fill: #ffffff } .title { font-size: 18px; font-weight: 600; fill: #1f2328 }
.grid { stroke: #d8dee4; stroke-width: 1 } .axis { stroke: #8c959f; stroke-width: 1 }
.line { fill: none; stroke-width: 2.5; stroke-linejoin: round; stroke-linecap: round }
.tick { font-variant-numeric: tabular-nums } .name { font-weight: 600 }
.line.published { stroke: #0072b2 } .line.waiting { stroke: #c44e00 } .line.sent { stroke: #00795a }
.mark.published { fill: #0072b2 } .mark.waiting { fill: #c44e00 } .mark.sent { fill: #00795a }
@media (prefers-color-scheme: dark) {
  text { fill: #9198a1 } .paper { fill: #0d1117 } .title { fill: #f0f6fc }
  .grid { stroke: #262c36 } .axis { stroke: #656c76 }
  .line.published { stroke: #56b4e9 } .line.waiting { stroke: #f0a04b } .line.sent { stroke: #3fc59b }
  .mark.published { fill: #56b4e9 } .mark.waiting { fill: #f0a04b } .mark.sent { fill: #3fc59b }
}
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was counted at one moment: `at` in seconds since the start, the rest in messages."""

    at: float
    published: int
    waiting: int
    sent: int


_SERIES: tuple[tuple[str, Callable[[Sample], int]], ...] = (
    ("published", lambda sample: sample.published),
    ("waiting", lambda sample: sample.waiting),
    ("sent", lambda sample: sample.sent),
)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Map values from 0 to the last tick onto pixels."""

    ticks: list[float]
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        return self.begin + (self.end - self.begin) * value / self.ticks[-1]


def svg(samples: Sequence[Sample], title: str) -> str:
    """Draw published, waiting and sent over time as one self-contained SVG document.

    It follows the light or dark colour scheme of its viewer. Raises ValueError if there are no samples.
    """
    if not samples:
        raise ValueError("no samples, so nothing to draw")
    across = _Scale(round_ticks(max(sample.at for sample in samples), 8), LEFT, RIGHT)
    most = max(read(sample) for sample in samples for _, read in _SERIES)
    up = _Scale(round_ticks(max(most, 6), 6), BOTTOM, TOP)  # from 6 on there is no tick at half a message
    parts = [*_head(samples[-1], title), *_grid(across, up), *_lines(samples, across, up), *_labels(samples[-1], up)]
    return "\n".join([*parts, "</svg>", ""])


def round_ticks(highest: float, about: int) -> list[float]:
    """Return about `about` round steps (1, 2 or 5 times a power of ten) from 0 to at least `highest`."""
    if highest <= 0:
        return [0, 1]
    rough = highest / about
    power: float = 10 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    count = -int(-highest // step)  # rounded up
    return [step * n for n in range(count + 1)]


def _head(last: Sample, title: str) -> Iterator[str]:
    description = f"After {last.at:.0f} s: published {last.published}, waiting {last.waiting}, sent {last.sent}."
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'role="img" aria-labelledby="title desc">'
    )
    yield f'<title id="title">{escape(title)}</title>'
    yield f'<desc id="desc">Line chart of messages over time. {description}</desc>'
    yield f"<style>{_STYLE}</style>"
    yield f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="8"/>'
    yield f'<text class="title" x="{LEFT}" y="34">{escape(title)}</text>'
    yield f'<text x="{LEFT}" y="56">messages</text>'


def _grid(across: _Scale, up: _Scale) -> Iterator[str]:
    for tick in up.ticks:
        y = up(tick)
        yield f'<line class="{"grid" if tick else "axis"}" x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}"/>'
        yield f'<text class="tick" x="{LEFT - 10}" y="{y + 4.5:.1f}" text-anchor="end">{_number(tick)}</text>'
    for tick in across.ticks:
        x = across(tick)
        yield f'<line class="axis" x1="{x:.1f}" y1="{BOTTOM}" x2="{x:.1f}" y2="{BOTTOM + 5}"/>'
        unit = " s" if tick == across.ticks[-1] else ""
        yield f'<text class="tick" x="{x:.1f}" y="{BOTTOM + 22}" text-anchor="middle">{_number(tick)}{unit}</text>'


def _lines(samples: Sequence[Sample], across: _Scale, up: _Scale) -> Iterator[str]:
    for name, read in _SERIES:
        points = " ".join(f"{across(sample.at):.1f},{up(read(sample)):.1f}" for sample in samples)
        yield f'<polyline class="line {name}" points="{points}"/>'
        end = samples[-1]
        yield f'<circle class="mark {name}" cx="{across(end.at):.1f}" cy="{up(read(end)):.1f}" r="4"/>'


def _labels(last: Sample, up: _Scale) -> Iterator[str]:
    ends = [(up(read(last)), name, read(last)) for name, read in _SERIES]
    ends.sort()
    for y, (_, name, value) in zip(spread([y for y, _, _ in ends], TOP, BOTTOM - 18), ends, strict=True):
        yield f'<text class="mark name {name}" x="{RIGHT + 16}" y="{y - 2:.1f}">{name}</text>'
        yield f'<text class="tick" x="{RIGHT + 16}" y="{y + 14:.1f}">{_number(value)}</text>'


def spread(wanted: Sequence[float], top: float, bottom: float) -> list[float]:
    """Move sorted positions apart so that each is LABEL_GAP below the one before and all are inside top and bottom."""
    placed: list[float] = []
    for y in wanted:
        placed.append(max(y, placed[-1] + LABEL_GAP if placed else top))
    limit = bottom
    for n in reversed(range(len(placed))):
        placed[n] = min(placed[n], limit)
        limit = placed[n] - LABEL_GAP
    return placed


def _number(value: float) -> str:
    # A thin space means the same in every language; a comma or a point does not.
    return f"{value:,.6g}".replace(",", "\N{NARROW NO-BREAK SPACE}")
