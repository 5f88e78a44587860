"""What is harmonized when an editor's user asks for it, and which pixels the editor is to send.

    plan = Plan.of(document, layer, selection, background)
    request = plan.request(image, layer_pixels, selection_pixels, icc, feather)

1. A selection: it, within what the active layer shows.
2. None, and the active layer is transparent in part, over other visible layers: what it shows, as a pasted cut-out.
3. Else a refusal that says to select the object or to activate the pasted layer. Never a guess.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .context import context_box, intersection
from .messages import CHANNELS, ITEM_BYTES, WITHOUT_ALPHA, Harmonize, Pixels, Rect, new_job
from .texts import Refusal

if TYPE_CHECKING:
    from .messages import Below, Buffer, Image

_FULL = {"u8": b"\xff", "u16": b"\xff\xff", "f16": struct.pack("=e", 1.0), "f32": struct.pack("=f", 1.0)}
_PIECE = 1 << 16  # pixels


@dataclass(frozen=True)
class Plan:
    """Which rectangles of a document to send.

    Attributes:
        image: of the visible picture, made of everything at and below the active layer.
        foreground: of what the active layer itself shows, and of the selection where there is one.
        selected: there is one.
    """

    image: Rect
    foreground: Rect
    selected: bool

    @classmethod
    def of(cls, document: Rect, layer: Rect | None, selection: Rect | None, background: bool) -> Plan:
        """By the rules above.

        Args:
            document: the canvas.
            layer: the box of what the active layer shows, wherever it is; None: nothing.
            selection: the box of what is selected; None: there is no selection.
            background: another visible layer lies below the active one.

        Raises:
            Refusal: there is nothing to harmonize, or nothing to match.
        """
        shown = intersection(layer, document) if layer else None
        if shown is None:
            raise Refusal("layer_empty")
        if selection is not None:
            shown = intersection(shown, selection)
            if shown is None:
                raise Refusal("selection_empty")
        elif not background:
            raise Refusal("no_object" if shown == document else "no_background")
        return cls(context_box(shown, document), shown, selection is not None)

    def below(self, layer: Rect | None) -> Rect | None:
        """What is to be sent of the layer right below, as it may be a shadow; None: nothing, as it fills the picture.

        Args:
            layer: the box of what that layer shows; None: nothing.
        """
        shared = layer and intersection(layer, self.image)
        return None if shared == self.image else shared

    def request(
        self,
        image: Image,
        layer: Pixels,
        selection: Pixels | None = None,
        icc: Buffer | None = None,
        feather: float = 0.0,
        model: str = "auto",
        opacity: float | None = None,
        linear: bool = False,
        below: Below | None = None,
    ) -> Harmonize:
        """The job.

        Args:
            image, layer, selection: the pixels of the rectangles; no selection where none is `selected`.
            icc, feather, model, opacity, linear, below: as in Harmonize.

        Raises:
            Refusal: the layer is opaque all over the picture, and nothing is selected.
        """
        opaque = is_opaque(layer)
        if opaque and not self.selected and self.foreground == self.image:
            raise Refusal("no_object")
        # What is opaque within the selection has no say in the foreground, and may be the photo itself. What a layer's
        # alpha cuts out was pasted.
        own = None if opaque and self.selected else layer
        pasted = True if own else None
        if not own:
            opacity = below = None
        return Harmonize(new_job(), image, icc, selection, own, pasted, model, feather, opacity, linear, below)


def replaces(new: Rect, earlier: Rect, selected: bool) -> bool:
    """Whether a layer's result takes the place of one that the layer had before.

    What is made of a whole layer does. What is made of a selection does if it is of the same object, by the boxes that
    they fill: of several objects in one photo each keeps its own.
    """
    shared = intersection(new, earlier)
    if not selected or shared is None:
        return not selected
    common = shared.width * shared.height
    return 2 * common >= new.width * new.height + earlier.width * earlier.height - common


def is_opaque(pixels: Pixels) -> bool:
    """Whether no pixel is transparent in the least."""
    if pixels.layout in WITHOUT_ALPHA:
        return True
    item = ITEM_BYTES[pixels.dtype]
    size = item * CHANNELS[pixels.layout]
    data = memoryview(pixels.data).cast("B")
    for begin in range(0, len(data), size * _PIECE):
        piece = data[begin : begin + size * _PIECE].tobytes()
        for offset, value in enumerate(_FULL[pixels.dtype], size - item):
            if piece[offset::size].count(value) != len(piece) // size:
                return False
    return True
