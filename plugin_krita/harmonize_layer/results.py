"""The layers that results become, and which of them may be replaced."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from krita import Document, Krita, Node

from .link.foreground import replaces
from .link.texts import layer_name
from .qt import QtCore

if TYPE_CHECKING:
    from .link.messages import Pixels, Rect
    from .picture import Picture

_SETTLED = 50  # milliseconds after which Krita can activate another layer than the one that was just added


@dataclass
class _Result:
    """A layer that was made of another one, and how it was then: a digest of its pixels in `rect`, and its bounds."""

    source: QtCore.QUuid
    node: QtCore.QUuid
    rect: Rect
    state: object = None


class Results:
    """The results of this session, to be told from layers of the user's own."""

    def __init__(self) -> None:
        self._results: list[_Result] = []

    def put(self, picture: Picture, pixels: Pixels, strength: int) -> None:
        """Add a layer above the picture's own, instead of an earlier result that is as it was.

        One undo takes it away again.

        Args:
            pixels: in the document's colours and depth, at a place in it.
            strength: the layer's opacity in percent.
        """
        document, layer = picture.document, picture.layer
        group = layer.parentNode()
        node = document.createNode(layer_name(layer.name()), "paintlayer")
        data = QtCore.QByteArray(memoryview(pixels.data).tobytes())
        node.setPixelData(data, *pixels.rect)
        node.setOpacity(round(255 * strength / 100))
        node.setInheritAlpha(layer.inheritAlpha())  # else what that hides of the layer would come to light
        for sibling in group.childNodes():
            earlier = self._untouched(sibling, layer)
            if earlier and replaces(pixels.rect, earlier.rect, picture.selected):
                sibling.remove()
        active = document.activeNode()
        group.addChildNode(node, layer)  # the one step to undo
        QtCore.QTimer.singleShot(_SETTLED, lambda: _activate(document, active))
        result = _Result(layer.uniqueId(), node.uniqueId(), pixels.rect)
        self._results.append(result)
        QtCore.QTimer.singleShot(0, lambda: _remember(result, node))  # the picture is shown first

    def _untouched(self, node: Node, source: Node) -> _Result | None:
        """What is known of a layer if it is a result of the source's that the user has not made his own."""
        for result in self._results:
            if (result.node, result.source) == (node.uniqueId(), source.uniqueId()):
                return result if _state(node, result.rect) == result.state else None
        return None


def _activate(document: Document, node: Node | None) -> None:
    """Undo that Krita activates what is added."""
    if node is not None and document in Krita.instance().documents() and node.parentNode() is not None:
        document.setActiveNode(node)


def _remember(result: _Result, node: Node) -> None:
    result.state = _state(node, result.rect)


def _state(node: Node, rect: Rect) -> object:
    """What a user changes who makes a layer his own; its opacity is not of it, which is but the strength."""
    settings = node.name(), node.blendingMode(), node.locked(), node.inheritAlpha(), len(node.childNodes())
    return hashlib.sha1(memoryview(node.pixelData(*rect))).digest(), node.bounds(), settings
