"""A picture as it is sent: what the document shows, the active layer and the selection. All in the GUI thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from krita import Document, Krita, Node

from . import profiles
from .layers import active_layer, counterpart, has_layers_below, layers_above
from .link.foreground import Plan
from .link.messages import Harmonize, Image, Pixels, Rect
from .link.texts import Refusal, text

if TYPE_CHECKING:
    from .qt import QtCore

_DTYPES = {"U8": "u8", "U16": "u16", "F16": "f16", "F32": "f32"}
_MODELS = {"CMYKA": "CMYK", "LABA": "L*a*b*", "XYZA": "XYZ", "YCbCrA": "YCbCr", "A": "alpha"}
_ALPHA_LAST = {"RGBA": "RGBA", "LABA": "RGBA", "XYZA": "RGBA", "YCbCrA": "RGBA", "GRAYA": "GRAYA"}


@dataclass
class Picture:
    """What is to be harmonized, and where the result belongs.

    Attributes:
        request: the job.
        note: what the user should know about it; may be empty.
    """

    document: Document
    layer: Node
    request: Harmonize
    note: str
    _plan: Plan
    _state: list[object]

    @classmethod
    def of(cls, document: Document, feather: float) -> Picture:
        """Read the document.

        Args:
            feather: document pixels by which the foreground's edge is softened.

        Raises:
            Refusal: there is nothing to harmonize, or it cannot be.
        """
        layer = active_layer(document)
        layout = _layout(document)
        if layer.colorModel() not in _ALPHA_LAST:
            raise Refusal("layer_model", model=_named(layer.colorModel()), menu=_menu("layer_convert"))
        document.waitForDone()
        selection = document.selection()
        selected = selection and Rect(selection.x(), selection.y(), selection.width(), selection.height())
        plan = Plan.of(_rect(document.bounds()), _shown(layer), selected, has_layers_below(layer))
        state = _state(document, layer, plan)
        dtype = _DTYPES[document.colorDepth()]
        icc, transfer, note = profiles.find(document)
        image = Image(plan.image, layout, dtype, _seen(document, layer, plan.image, state[0]), transfer)
        request = plan.request(
            image,
            Pixels(plan.foreground, _ALPHA_LAST[layer.colorModel()], _DTYPES[layer.colorDepth()], _view(state[1])),
            selection and Pixels(plan.foreground, "GRAY", "u8", _view(selection.pixelData(*plan.foreground))),
            icc,
            feather,
        )
        return cls(document, layer, request, note, plan, state)

    def check(self) -> None:
        """Make sure that the result still belongs where it was asked for.

        Raises:
            Refusal: the document or the layer is gone, or has been changed.
        """
        if self.document not in Krita.instance().documents():
            raise Refusal("document_gone")
        self.document.waitForDone()
        if self.layer.parentNode() is None:
            raise Refusal("layer_gone")
        if self._state != _state(self.document, self.layer, self._plan):
            raise Refusal("document_changed")


def _state(document: Document, layer: Node, plan: Plan) -> list[object]:
    """What must be the same when the result comes; at first what is seen, and the layer's own pixels."""
    return [
        document.pixelData(*plan.image),
        layer.projectionPixelData(*plan.foreground),
        _rect(document.bounds()),
        (document.colorModel(), document.colorDepth(), document.colorProfile()),
        document.currentTime(),
        layer.parentNode().uniqueId(),
        layer.parentNode().locked(),
    ]


def _layout(document: Document) -> str:
    """The layout of the document's pixels.

    Raises:
        Refusal: they cannot be harmonized.
    """
    model = document.colorModel()
    if model == "RGBA":
        return "BGRA" if document.colorDepth() in ("U8", "U16") else "RGBA"
    if model == "GRAYA":
        return "GRAYA"
    raise Refusal("colour_model", model=_named(model), menu=_menu("image_convert"))


def _seen(document: Document, layer: Node, rect: Rect, shown: object) -> memoryview:
    """What is visible of the layer and those below it; `shown` is what the document shows."""
    if not layers_above(layer):
        return _view(shown)
    copy = document.clone()
    try:
        for node in layers_above(counterpart(layer, copy)):
            node.setVisible(False)
        copy.refreshProjection()
        copy.waitForDone()
        return _view(copy.pixelData(*rect))
    finally:
        copy.setModified(False)
        copy.close()


def _shown(layer: Node) -> Rect | None:
    """The box of what a layer shows; None: nothing."""
    rect = _rect(layer.bounds())
    return rect if rect.width > 0 and rect.height > 0 else None


def _rect(rect: QtCore.QRect) -> Rect:
    return Rect(rect.x(), rect.y(), rect.width(), rect.height())


def _view(pixels: object) -> memoryview:
    """The bytes of a QByteArray, not copied."""
    return memoryview(pixels)  # type: ignore[arg-type]


def _named(model: str) -> str:
    return _MODELS.get(model, model)


def _menu(key: str) -> str:
    return text(f"menu.{key}")
