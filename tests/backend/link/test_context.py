"""The part of a document that is sent along with a foreground."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.link.context import context_box, intersection
from backend.link.messages import Rect

DOCUMENT = Rect(0, 0, 6000, 4000)
SIDE = st.integers(1, 9000)
PLACE = st.integers(-9000, 9000)
RECT = st.builds(Rect, PLACE, PLACE, SIDE, SIDE)


@pytest.mark.parametrize(
    "foreground,expected",
    [
        (Rect(3000, 2000, 300, 200), Rect(2700, 1650, 900, 900)),
        (Rect(3000, 2000, 1, 1), Rect(2744, 1744, 512, 512)),
        (Rect(0, 3900, 300, 100), Rect(0, 3100, 900, 900)),
        (Rect(-100, -50, 400, 100), Rect(0, 0, 900, 900)),
        (Rect(2900, 1000, 600, 900), Rect(1850, 100, 2700, 2700)),
        (Rect(2000, 1000, 600, 1400), DOCUMENT),
        (Rect(0, 0, 2000, 2000), DOCUMENT),
        (DOCUMENT, DOCUMENT),
        (Rect(-9, -9, 9999, 9999), DOCUMENT),
    ],
)
def test_examples(foreground: Rect, expected: Rect) -> None:
    assert context_box(foreground, DOCUMENT) == expected


def test_a_small_document_is_sent_whole() -> None:
    document = Rect(5, 5, 640, 480)
    assert context_box(Rect(100, 100, 8, 8), document) == document
    assert context_box(Rect(500, 100, 2, 2), Rect(0, 0, 1024, 512)) == Rect(245, 0, 512, 512)  # half of it


@pytest.mark.parametrize("foreground", [Rect(-10, 0, 10, 10), Rect(6000, 0, 5, 5), Rect(0, 4000, 1, 1)])
def test_a_foreground_outside_is_refused(foreground: Rect) -> None:
    with pytest.raises(ValueError, match="outside"):
        context_box(foreground, DOCUMENT)


@given(RECT, RECT)
def test_it_holds_the_foreground_and_lies_in_the_document(foreground: Rect, document: Rect) -> None:
    try:
        box = context_box(foreground, document)
    except ValueError:
        return
    assert all(type(value) is int for value in box)
    for low, size in ((0, 2), (1, 3)):
        assert document[low] <= box[low] and box[low] + box[size] <= document[low] + document[size]
        assert box[low] <= max(foreground[low], document[low])
        assert box[low] + box[size] >= min(foreground[low] + foreground[size], document[low] + document[size])


@given(RECT, RECT, PLACE, PLACE)
def test_it_moves_with_the_document(foreground: Rect, document: Rect, x: int, y: int) -> None:
    def moved(rect: Rect) -> Rect:
        return Rect(rect.x + x, rect.y + y, rect.width, rect.height)

    try:
        box = context_box(foreground, document)
    except ValueError:
        return
    assert context_box(moved(foreground), moved(document)) == moved(box)


def test_intersections() -> None:
    assert intersection(Rect(-5, -5, 10, 10), Rect(0, 0, 9, 3)) == Rect(0, 0, 5, 3)
    assert intersection(Rect(0, 0, 10, 10), Rect(10, 0, 5, 5)) is None
