from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.benchmarks.plot import BOTTOM, LABEL_GAP, LEFT, RIGHT, TOP, Sample, round_ticks, spread, svg

SVG = "{http://www.w3.org/2000/svg}"
SAMPLES = [Sample(0, 0, 0, 0), Sample(30, 3000, 2400, 600), Sample(60, 6000, 4800, 1200)]


def parsed(samples: list[Sample], title: str = "A run") -> ET.Element:
    return ET.fromstring(svg(samples, title))  # noqa: S314 - our own document


def points(chart: ET.Element, name: str) -> list[tuple[float, float]]:
    (line,) = (each for each in chart.iter(f"{SVG}polyline") if name in each.attrib["class"].split())
    return [(float(x), float(y)) for x, _, y in (pair.partition(",") for pair in line.attrib["points"].split())]


def test_each_series_is_drawn_to_scale() -> None:
    """The first sample is at the origin, and the highest one at the top right."""
    chart = parsed(SAMPLES)
    assert points(chart, "published") == [(LEFT, BOTTOM), ((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2), (RIGHT, TOP)]
    assert points(chart, "sent")[2][1] == pytest.approx(BOTTOM - (BOTTOM - TOP) / 5, abs=0.1)


def test_each_series_is_labelled_with_its_last_value() -> None:
    """The name and the value are beside the end of the line."""
    texts = [each.text for each in parsed(SAMPLES).iter(f"{SVG}text")]
    for name, value in (("published", "6\u202f000"), ("waiting", "4\u202f800"), ("sent", "1\u202f200")):
        assert texts[texts.index(name) + 1] == value


def test_a_title_is_escaped_and_the_picture_is_described() -> None:
    """The document has a title and a description for screen readers, whatever characters the title contains."""
    chart = parsed(SAMPLES, 'In & out <fast> "now"')
    assert chart.findtext(f"{SVG}title") == 'In & out <fast> "now"'
    assert "After 60 s: published 6000, waiting 4800, sent 1200." in str(chart.findtext(f"{SVG}desc"))
    assert chart.attrib["role"] == "img"


def test_the_document_loads_nothing_and_follows_the_colour_scheme() -> None:
    """The document contains no link and has rules for a dark scheme."""
    drawn = svg(SAMPLES, "A run")
    assert "prefers-color-scheme: dark" in drawn
    assert "href" not in drawn
    assert "url(" not in drawn
    assert drawn.count("http") == 1  # the namespace


def test_a_single_sample_is_drawn_and_none_is_an_error() -> None:
    """One sample is enough for a plot; without a sample, svg() raises ValueError."""
    assert points(parsed([Sample(0, 0, 0, 0)]), "waiting") == [(LEFT, BOTTOM)]
    with pytest.raises(ValueError, match="no samples"):
        svg([], "nothing")


@given(st.just(0.0) | st.floats(0.001, 1e9), st.integers(2, 12))
def test_ticks_are_round_and_cover_the_highest_value(highest: float, about: int) -> None:
    """They rise evenly from 0 to at least the value, with at most two more than requested."""
    ticks = round_ticks(highest, about)
    assert ticks[0] == 0
    assert ticks[-1] >= highest * (1 - 1e-9)
    assert 2 <= len(ticks) <= about + 2


def test_steps_are_one_two_or_five() -> None:
    """The steps are 1, 2 or 5 times a power of ten."""
    assert round_ticks(6000, 6) == [0, 1000, 2000, 3000, 4000, 5000, 6000]
    assert round_ticks(7, 6) == [0, 2, 4, 6, 8]
    assert round_ticks(230, 6) == [0, 50, 100, 150, 200, 250]


@given(st.lists(st.floats(TOP, BOTTOM), min_size=3, max_size=3).map(sorted))
def test_labels_never_overlap_and_stay_inside(wanted: list[float]) -> None:
    """Lines that end at the same height have labels that do not overlap."""
    placed = spread(wanted, TOP, BOTTOM)
    assert all(lower - upper >= LABEL_GAP - 1e-6 for upper, lower in pairwise(placed))
    assert placed[0] >= TOP
    assert placed[-1] <= BOTTOM
