"""What rectangles of a document share, and which part of it is worth sending along with a foreground.

Whole numbers in, whole numbers out.
"""

from __future__ import annotations

from .messages import Rect

_SURROUNDINGS = 3  # sides of the part, in longer sides of the foreground
_SMALLEST = 512  # pixels; less would show the network no more than a patch
_WHOLE = 2  # a part of more than one such share of the document is the whole of it


def intersection(one: Rect, other: Rect) -> Rect | None:
    """What two rectangles share; None: nothing."""
    left, top = max(one.x, other.x), max(one.y, other.y)
    width = min(one.x + one.width, other.x + other.width) - left
    height = min(one.y + one.height, other.y + other.height) - top
    return Rect(left, top, width, height) if width > 0 and height > 0 else None


def context_box(foreground: Rect, document: Rect) -> Rect:
    """The rectangle of `document` to send for a foreground whose bounding box is `foreground`.

    The network sees what it gets at a size of its own, so a small foreground in a large document would be a few of its
    pixels: it gets a square around it with as much background on each side as the foreground is long, moved and cut to
    lie in the document. Where the foreground is not small, the whole document.

    Raises:
        ValueError: the foreground lies outside of the document.
    """
    seen = intersection(foreground, document)
    if seen is None:
        raise ValueError(f"the foreground {tuple(foreground)} lies outside of the document {tuple(document)}")
    side = max(_SURROUNDINGS * max(seen.width, seen.height), _SMALLEST)
    x, width = _span(seen.x, seen.x + seen.width, side, document.x, document.width)
    y, height = _span(seen.y, seen.y + seen.height, side, document.y, document.height)
    return document if _WHOLE * width * height > document.width * document.height else Rect(x, y, width, height)


def _span(start: int, end: int, side: int, document_start: int, document_length: int) -> tuple[int, int]:
    """Where `side` pixels around start..end begin in the document, and how many of them it has."""
    length = min(side, document_length)
    begin = (start + end - length) // 2
    return min(max(begin, document_start), document_start + document_length - length), length
