"""Which layer a harmonization is about, and what lies above and below it."""

from __future__ import annotations

from collections.abc import Iterator

from krita import Document, Node

from .link.texts import Refusal


def active_layer(document: Document) -> Node:
    """The layer that is active, or whose mask is.

    Raises:
        Refusal: there is none; it is hidden; no layer can be put above it.
    """
    layer = document.activeNode()
    while layer is not None and not is_layer(layer):
        layer = layer.parentNode()
    if layer is None or layer.parentNode() is None:  # a selection's mask lies in the root itself
        raise Refusal("no_layer")
    if not layer.opacity() or not all(level.visible() for level in _upwards(layer)):
        raise Refusal("layer_hidden")
    group = layer.parentNode()
    if group.locked():
        raise Refusal("group_locked", group=group.name())
    return layer


def is_layer(node: Node) -> bool:
    """Whether it is a layer, not a mask."""
    return bool(node.type().endswith("layer"))


def layers_above(layer: Node) -> list[Node]:
    """The visible layers that may cover it, in its group and in those around."""
    above = []
    for level in _upwards(layer):
        siblings = level.parentNode().childNodes()
        above += [node for node in siblings[siblings.index(level) + 1 :] if is_layer(node) and node.visible()]
    return above


def has_layers_below(layer: Node) -> bool:
    """Whether another layer is visible below it, in its group or in those around."""
    for level in _upwards(layer):
        siblings = level.parentNode().childNodes()
        if any(is_layer(node) and node.visible() for node in siblings[: siblings.index(level)]):
            return True
    return False


def layer_below(layer: Node) -> Node | None:
    """The next visible layer below it in its group."""
    siblings = layer.parentNode().childNodes()
    below = [node for node in siblings[: siblings.index(layer)] if is_layer(node) and node.visible()]
    return below[-1] if below else None


def groups_with_effects(layer: Node) -> list[Node]:
    """The groups around it that do something to what is in them. One that passes it through leaves that to them."""
    groups = list(_upwards(layer))[1:]
    return [group for group in groups if not group.passThroughMode() and (_is_blended(group) or _masks(group))]


def without_effects(group: Node) -> None:
    """Let a group show what is in it, and nothing else."""
    group.setOpacity(255)
    group.setBlendingMode("normal")
    group.setInheritAlpha(False)
    for mask in _masks(group):
        mask.setVisible(False)


def _is_blended(group: Node) -> bool:
    return bool(group.opacity() < 255 or group.blendingMode() != "normal" or group.inheritAlpha())


def _masks(group: Node) -> list[Node]:
    return [node for node in group.childNodes() if not is_layer(node) and node.visible()]


def counterpart(layer: Node, copy: Document) -> Node:
    """The layer in a copy of its document."""
    path = [level.parentNode().childNodes().index(level) for level in _upwards(layer)]
    node = copy.rootNode()
    for index in reversed(path):
        node = node.childNodes()[index]
    return node


def _upwards(layer: Node) -> Iterator[Node]:
    """The layer, the group that it is in, and so on, without the root."""
    while layer.parentNode() is not None:
        yield layer
        layer = layer.parentNode()
