"""What is read out of an image in GIMP, and what is put into it.

Gegl converts every precision and profile to the sRGB values that travel, and back into the new layer.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from gi.repository import Babl, Gegl, Gimp

from .link.context import intersection
from .link.foreground import Plan, replaces
from .link.messages import Below, Harmonize, Image, Pixels, Rect
from .link.rendezvous import is_alive
from .link.texts import Refusal, layer_name

_DTYPES = {"u8": "u8", "u16": "u16", "half": "f16", "float": "f32"}
_KINDS = {dtype: kind for kind, dtype in _DTYPES.items()}
_PLAIN = (Gimp.LayerMode.NORMAL, Gimp.LayerMode.NORMAL_LEGACY)
_SHADOW = (*_PLAIN, Gimp.LayerMode.MULTIPLY, Gimp.LayerMode.MULTIPLY_LEGACY)
"""Modes of a shadow: black is the same in all of them."""
_MARK = "harmonize-layer"
_COPY = "harmonize-copy"
"""On a duplicate: the process that reads it."""


@dataclass(frozen=True)
class _Wire:
    """How an image's pixels travel: always as sRGB values, in floats where fewer bits would not hold its own."""

    grey: bool
    dtype: str

    @classmethod
    def of(cls, drawable: Gimp.Drawable) -> _Wire:
        own = drawable.get_format()
        components, kind = Babl.format_get_encoding(own).split(" ")
        gamma = "'" in components or "~" in components
        srgb = gamma and Babl.get_name(Babl.format_get_space(own)) == "sRGB"
        return cls(drawable.is_gray(), _DTYPES.get(kind, "f32") if srgb else "f32")

    @property
    def layout(self) -> str:
        return "GRAYA" if self.grey else "RGBA"

    def read(self, drawable: Gimp.Drawable, area: Rect, layout: str) -> bytes:
        """The pixels of a rectangle, which is counted from the drawable's own corner."""
        rectangle = Gegl.Rectangle.new(*area)
        pixels: bytes = drawable.get_buffer().get(rectangle, 1.0, _format(layout, self.dtype), Gegl.AbyssPolicy.NONE)
        return pixels


def active_layer(image: Gimp.Image, drawables: list[Gimp.Drawable]) -> Gimp.Layer:
    """The one layer to harmonize; of a result as it was made, the layer that it was made of: an undo makes that active.

    Raises:
        Refusal: it is none, there are several, or it cannot be harmonized.
    """
    if image.get_base_type() == Gimp.ImageBaseType.INDEXED:
        raise Refusal("colour_model", model="indexed colours", menu="Image > Mode > RGB")
    if image.get_floating_sel() is not None:
        raise Refusal("floating")
    if len(drawables) != 1:
        raise Refusal("several_layers" if drawables else "no_layer")
    (layer,) = drawables
    if not layer.is_layer():
        raise Refusal("mask" if layer.is_layer_mask() else "channel")
    if layer.get_image() != image:
        raise Refusal("no_layer")
    layer = next((each for each in _siblings(layer) if _is_untouched_result(layer, each)), layer)
    if not layer.get_opacity() or not all(each.get_visible() for each, _, _ in _levels(layer)):
        raise Refusal("layer_hidden")
    for each, _, _ in _levels(layer):
        if each.get_lock_content():
            raise Refusal("layer_locked", layer=each.get_name())
    return layer


def read(image: Gimp.Image, layer: Gimp.Layer, feather: float, model: str) -> Harmonize:
    """The job of harmonizing a layer. All that it takes is done to a duplicate, whose tiles are shared: it is cheap.

    Raises:
        Refusal: there is nothing to harmonize, or nothing to match.
    """
    _forget_copies()
    duplicate = image.duplicate()
    duplicate.attach_parasite(Gimp.Parasite.new(_COPY, 0, str(os.getpid()).encode()))
    try:
        return _read(duplicate, _twin(layer, duplicate), feather, model)
    finally:
        duplicate.delete()  # before the job: GIMP's Cancel kills the plug-in, which would leave it in memory


def _forget_copies() -> None:
    """Delete the duplicates of plug-ins that were killed while they were reading."""
    for image in Gimp.get_images():
        owner = image.get_parasite(_COPY)
        if owner is not None and not is_alive(int(bytes(owner.get_data()))):
            image.delete()


def _read(image: Gimp.Image, layer: Gimp.Layer, feather: float, model: str) -> Harmonize:
    """As `read`; changes the image."""
    if layer.get_mask():
        layer.set_show_mask(False)
    selection = _selected(image)
    shown: Rect | None = _box(layer)
    background = any(below.get_visible() for _, _, siblings in _levels(layer) for below in siblings)
    wire = _Wire.of(layer)
    if selection is None:
        image.select_item(Gimp.ChannelOps.REPLACE, layer)
        if layer.get_mask() and layer.get_apply_mask():
            image.select_item(Gimp.ChannelOps.INTERSECT, layer.get_mask())
        shown = _selected(image)
    plan = Plan.of(Rect(0, 0, image.get_width(), image.get_height()), shown, selection, background)
    chosen = None
    if plan.selected:
        # A selection's values are linear, as alpha is: read as gamma they would be distorted.
        chosen = Pixels(plan.foreground, "GRAY", wire.dtype, wire.read(image.get_selection(), plan.foreground, "MASK"))
    for each, above, _ in _levels(layer):
        _hide(above)
        if each != layer:
            _show_plainly(each)
    seen = Image(plan.image, wire.layout, wire.dtype, wire.read(_visible(image), plan.image, wire.layout))
    opacity, linear, below = _opacity(layer), _is_linear(layer), _below(image, layer, plan, wire)
    layout = "GRAYA" if opacity is None else wire.layout  # half of the bytes, where colours are of no use
    drawable, left, top = _own(image, layer)
    x, y, width, height = plan.foreground
    own = Pixels(
        plan.foreground, layout, wire.dtype, wire.read(drawable, Rect(x - left, y - top, width, height), layout)
    )
    return plan.request(seen, own, chosen, feather=feather, model=model, opacity=opacity, linear=linear, below=below)


def _opacity(layer: Gimp.Layer, modes: tuple[Gimp.LayerMode, ...] = _PLAIN) -> float | None:
    """How opaque a layer's own colours are laid over what is below; None: what is seen is made of them otherwise."""
    opacity: float = layer.get_opacity()
    return opacity / 100 if layer.get_mode() in modes else None


def _is_linear(layer: Gimp.Layer) -> bool:
    """Whether it is laid over what is below in linear light, which legacy modes are not."""
    space = layer.get_composite_space()
    automatic = space == Gimp.LayerColorSpace.AUTO and layer.get_mode() != Gimp.LayerMode.NORMAL_LEGACY
    return bool(automatic or space == Gimp.LayerColorSpace.RGB_LINEAR)


def _below(image: Gimp.Image, layer: Gimp.Layer, plan: Plan, wire: _Wire) -> Below | None:
    """The layer right below; None: it can be no shadow. Changes the image."""
    _, _, siblings = next(_levels(layer))
    below = next((each for each in siblings if each.get_visible()), None)
    opacity = _opacity(below, _SHADOW) if below else None
    if below is None or opacity is None or below.is_group() or not below.has_alpha():
        return None
    if below.get_mask():
        below.remove_mask(Gimp.MaskApplyMode.APPLY if below.get_apply_mask() else Gimp.MaskApplyMode.DISCARD)
    below.merge_filters()
    rect = intersection(_box(below), plan.image)
    if rect is None:
        return None
    _, left, top = below.get_offsets()
    x, y, width, height = rect
    area = Rect(x - left, y - top, width, height)
    if rect == plan.image and all(any(wire.read(below, corner, "ALPHA")) for corner in _corners(area)):
        return None  # it fills the picture
    return Below(rect, wire.layout, wire.dtype, wire.read(below, area, wire.layout), opacity)


def _corners(area: Rect) -> list[Rect]:
    """Its four pixels."""
    x, y, width, height = area
    return [Rect(left, top, 1, 1) for left in (x, x + width - 1) for top in (y, y + height - 1)]


def _own(image: Gimp.Image, layer: Gimp.Layer) -> tuple[Gimp.Drawable, int, int]:
    """What the layer itself shows, be it a group, and where that begins; changes the image."""
    if layer.get_mask() or layer.get_filters():
        for _, _, below in _levels(layer):
            _hide(below)
        layer.set_opacity(100)
        layer.set_mode(Gimp.LayerMode.NORMAL)
        return _visible(image), 0, 0
    _, left, top = layer.get_offsets()
    return layer, left, top


def place(image: Gimp.Image, layer: Gimp.Layer) -> tuple[int, ...]:
    """What a result depends on, besides pixels: if it is not the same any more, the result does not fit.

    Raises:
        Refusal: there is no image or no layer any more.
    """
    if not image.is_valid():
        raise Refusal("document_gone")
    if not layer.is_valid():
        raise Refusal("layer_gone")
    return int(image.get_base_type()), image.get_width(), image.get_height(), *_box(layer)


def put(image: Gimp.Image, layer: Gimp.Layer, pixels: Pixels, strength: float, selected: bool) -> None:
    """Put a result above its layer, in place of an earlier one that is as this plug-in left it; one undo step.

    Args:
        strength: the new layer's opacity in percent.
        selected: it is of a selection.

    Raises:
        Refusal: nothing can be put there now.
    """
    if image.get_floating_sel() is not None:
        raise Refusal("floating")
    grey = pixels.layout == "GRAYA"
    kind = Gimp.ImageType.GRAYA_IMAGE if grey else Gimp.ImageType.RGBA_IMAGE
    left, top, width, height = pixels.rect
    name, mode = layer_name(layer.get_name()), image.get_default_new_layer_mode()
    new = Gimp.Layer.new(image, name, width, height, kind, strength, mode)
    new.set_offsets(left, top)
    buffer = new.get_buffer()
    buffer.set(Gegl.Rectangle.new(0, 0, width, height), _format(pixels.layout, pixels.dtype), bytes(pixels.data))
    buffer.flush()
    image.undo_group_start()
    try:
        for earlier in _siblings(layer):
            if _is_untouched_result(earlier, layer) and replaces(pixels.rect, _box(earlier), selected):
                image.remove_layer(earlier)
        image.insert_layer(new, layer.get_parent(), image.get_item_position(layer))
        # One that cannot be undone would keep the whole step from being undone.
        flags = Gimp.PARASITE_PERSISTENT | Gimp.PARASITE_UNDOABLE
        new.attach_parasite(Gimp.Parasite.new(_MARK, flags, _mark(new, layer)))
        image.set_selected_layers([layer])
    finally:
        image.undo_group_end()


def _is_untouched_result(candidate: Gimp.Layer, layer: Gimp.Layer) -> bool:
    """Whether it came out of harmonizing `layer`, and is neither a copy nor made the user's own."""
    mark = candidate.get_parasite(_MARK)
    edited = candidate.get_mask() or candidate.get_filters()
    return mark is not None and not edited and bytes(mark.get_data()) == _mark(candidate, layer)


def _mark(result: Gimp.Layer, layer: Gimp.Layer) -> bytes:
    """What is noted on a result: which layer of the image it is, of which other one, and what a user changes who makes
    it his own. Its opacity is not of that, which is but the strength."""
    whole = Gegl.Rectangle.new(0, 0, result.get_width(), result.get_height())
    digest = hashlib.sha256(result.get_buffer().get(whole, 1.0, None, Gegl.AbyssPolicy.NONE)).hexdigest()
    settings = int(result.get_mode()), result.get_lock_content(), result.get_lock_position(), result.get_name()
    return f"{result.get_tattoo()} {layer.get_tattoo()} {_box(result)} {digest} {settings}".encode()


def _box(layer: Gimp.Layer) -> Rect:
    _, left, top = layer.get_offsets()
    return Rect(left, top, layer.get_width(), layer.get_height())


def _format(layout: str, dtype: str) -> str:
    """Babl's name of what travels."""
    components = {"RGBA": "R'G'B'A", "GRAYA": "Y'A", "MASK": "Y", "ALPHA": "A"}[layout]
    return f"{components} {_KINDS[dtype]}"


def _selected(image: Gimp.Image) -> Rect | None:
    """The box of the selection."""
    _, some, left, top, right, bottom = Gimp.Selection.bounds(image)
    return Rect(left, top, right - left, bottom - top) if some else None


def _visible(image: Gimp.Image) -> Gimp.Layer:
    """What is visible, as a layer of the canvas's size, which is not in the image."""
    return Gimp.Layer.new_from_visible(image, image, "visible")


def _show_plainly(group: Gimp.Layer) -> None:
    """Let a group show what is in it, and nothing else: what it does, it does to the result."""
    group.set_opacity(100)
    if group.get_mode() != Gimp.LayerMode.PASS_THROUGH:
        group.set_mode(Gimp.LayerMode.NORMAL)
    if group.get_mask():
        group.set_apply_mask(False)
    for effect in group.get_filters():
        effect.set_visible(False)


def _hide(layers: list[Gimp.Layer]) -> None:
    for layer in layers:
        layer.set_lock_visibility(False)
        layer.set_visible(False)


def _levels(layer: Gimp.Layer) -> Iterator[tuple[Gimp.Layer, list[Gimp.Layer], list[Gimp.Layer]]]:
    """The layer, then each group that it is in: with its siblings above and those below."""
    while layer:
        siblings, position = _siblings(layer), layer.get_image().get_item_position(layer)
        yield layer, siblings[:position], siblings[position + 1 :]
        layer = layer.get_parent()


def _siblings(layer: Gimp.Layer) -> list[Gimp.Layer]:
    """The layers of the same group, itself included, from the top down."""
    parent = layer.get_parent()
    siblings: list[Gimp.Layer] = parent.get_children() if parent else layer.get_image().get_layers()
    return siblings


def _twin(layer: Gimp.Layer, duplicate: Gimp.Image) -> Gimp.Layer:
    """The same layer in a duplicate of its image."""
    parent = layer.get_parent()
    siblings = _twin(parent, duplicate).get_children() if parent else duplicate.get_layers()
    return siblings[layer.get_image().get_item_position(layer)]
