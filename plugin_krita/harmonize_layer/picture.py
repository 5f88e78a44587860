"""A picture as it is sent: what the document shows, the active layer and the selection. All in the GUI thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from krita import Document, Krita, Node

from . import profiles
from .layers import (
    active_layer,
    counterpart,
    groups_with_effects,
    has_layers_below,
    layer_below,
    layers_above,
    without_effects,
)
from .link.foreground import Plan
from .link.messages import Below, Harmonize, Image, Pixels, Rect, nbytes
from .link.texts import Refusal, text

if TYPE_CHECKING:
    from .qt import QtCore

_DTYPES = {"U8": "u8", "U16": "u16", "F16": "f16", "F32": "f32"}
_MODELS = {"CMYKA": "CMYK", "LABA": "L*a*b*", "XYZA": "XYZ", "YCbCrA": "YCbCr", "A": "alpha"}
_MOST_BYTES = (1 << 31) - 64  # Krita counts the bytes of a QByteArray in an int, and crashes beyond it
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
        _check_isolation()
        document.waitForDone()
        selection = document.selection()
        selected = selection and Rect(selection.x(), selection.y(), selection.width(), selection.height())
        plan = Plan.of(_rect(document.bounds()), _shown(layer), selected, has_layers_below(layer))
        dtype, own_dtype = _DTYPES[document.colorDepth()], _DTYPES[layer.colorDepth()]
        opacity = _opacity(document, layer)
        own_layout = _ALPHA_LAST[layer.colorModel()] if opacity is None else layout
        _check_size(plan.image, layout, dtype)
        _check_size(plan.foreground, own_layout, own_dtype)
        state = _state(document, layer, plan)
        icc, transfer, note = profiles.find(document)
        image = Image(plan.image, layout, dtype, _seen(document, layer, plan.image, state[0]), transfer)
        request = plan.request(
            image,
            Pixels(plan.foreground, own_layout, own_dtype, _view(state[1])),
            selection and Pixels(plan.foreground, "GRAY", "u8", _view(selection.pixelData(*plan.foreground))),
            icc,
            feather,
            opacity=opacity,
            below=_below(document, layer, plan, layout, dtype),
        )
        return cls(document, layer, request, note, plan, state)

    @property
    def selected(self) -> bool:
        """There was a selection."""
        return self._plan.selected

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


def _opacity(document: Document, layer: Node, modes: tuple[str, ...] = ("normal",)) -> float | None:
    """How opaque a layer's own colours are laid over what is below; None: what is seen is made of them otherwise."""
    spaces = [(each.colorModel(), each.colorDepth(), each.colorProfile()) for each in (document, layer)]
    plain = layer.blendingMode() in modes and not layer.inheritAlpha() and spaces[0] == spaces[1]
    return layer.opacity() / 255 if plain else None


def _below(document: Document, layer: Node, plan: Plan, layout: str, dtype: str) -> Below | None:
    """The layer right below; None: it can be no shadow."""
    below = layer_below(layer)
    rect = plan.below(_shown(below)) if below else None
    opacity = _opacity(document, below, ("normal", "multiply")) if below and rect else None
    if below is None or rect is None or opacity is None:
        return None
    return Below(rect, layout, dtype, _view(below.projectionPixelData(*rect)), opacity)


def _check_isolation() -> None:
    """A document, and a copy of it as well, shows nothing but what is isolated.

    Raises:
        Refusal: something is.
    """
    for name in ("isolate_active_layer", "isolate_active_group"):
        action = Krita.instance().action(name)
        if action is not None and action.isChecked():
            raise Refusal("isolated", menu=action.text().replace("&", ""))


def _check_size(rect: Rect, layout: str, dtype: str) -> None:
    if nbytes(rect, layout, dtype) > _MOST_BYTES:
        raise Refusal("too_large")


def _seen(document: Document, layer: Node, rect: Rect, shown: object) -> memoryview:
    """What is visible of the layer and those below it; `shown` is what the document shows.

    Without what the groups do that the layer is in: they do it to the result.
    """
    if not layers_above(layer) and not groups_with_effects(layer):
        return _view(shown)
    copy = document.clone()
    try:
        own = counterpart(layer, copy)
        for node in layers_above(own):
            node.setVisible(False)
        for group in groups_with_effects(own):
            without_effects(group)
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
