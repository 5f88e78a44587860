"""What tests have done inside of GIMP: each function is called by its name. Images and layers are told by their ids."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from multiprocessing.connection import Client
from pathlib import Path

import gi

gi.require_version("Gimp", "3.0")
gi.require_version("Gegl", "0.4")
from gi.repository import Babl, Gegl, Gimp, Gio  # noqa: E402

PROCEDURE = "plug-in-harmonize-layer"
TYPES = {
    ("RGB", False): Gimp.ImageType.RGB_IMAGE,
    ("RGB", True): Gimp.ImageType.RGBA_IMAGE,
    ("GRAY", False): Gimp.ImageType.GRAY_IMAGE,
    ("GRAY", True): Gimp.ImageType.GRAYA_IMAGE,
}


def new(width: int, height: int, base: str = "RGB", precision: str = "U8_NON_LINEAR", profile: str = "") -> int:
    kind, depth = getattr(Gimp.ImageBaseType, base), getattr(Gimp.Precision, precision)
    image = Gimp.Image.new_with_precision(width, height, kind, depth)
    if profile:
        made = {"adobe": Gimp.ColorProfile.new_rgb_adobe, "linear": Gimp.ColorProfile.new_rgb_srgb_linear}
        image.set_color_profile(made[profile]())
    return image.get_id()


def layer(
    image: int,
    name: str,
    size: tuple[int, int],
    form: str,
    data: bytes,
    at: tuple[int, int] = (0, 0),
    parent: int = 0,
) -> int:
    """Put a layer on top, of pixels in babl's format `form`."""
    picture = Gimp.Image.get_by_id(image)
    base = "GRAY" if picture.get_base_type() == Gimp.ImageBaseType.GRAY else "RGB"
    kind = TYPES[base, form.split()[0].endswith("A")]
    made = Gimp.Layer.new(picture, name, *size, kind, 100, Gimp.LayerMode.NORMAL)
    made.set_offsets(*at)
    picture.insert_layer(made, _item(parent), 0)
    _write(made, size, form, data)
    return made.get_id()


def group(image: int, name: str, parent: int = 0) -> int:
    picture = Gimp.Image.get_by_id(image)
    made = Gimp.GroupLayer.new(picture, name)
    picture.insert_layer(made, _item(parent), 0)
    return made.get_id()


def text_layer(image: int, words: str, size: int, at: tuple[int, int]) -> int:
    picture = Gimp.Image.get_by_id(image)
    made = Gimp.TextLayer.new(picture, words, Gimp.context_get_font(), size, Gimp.Unit.pixel())
    picture.insert_layer(made, None, 0)
    made.set_offsets(*at)
    return made.get_id()


def mask(item: int, data: bytes) -> int:
    drawable = _item(item)
    made = drawable.create_mask(Gimp.AddMaskType.WHITE)
    drawable.add_mask(made)
    _write(made, (drawable.get_width(), drawable.get_height()), _plain(made), data)
    drawable.set_edit_mask(False)
    return made.get_id()


def blur(item: int, radius: float) -> None:
    """Gaussian blur as an effect of the layer, which its own pixels do not have."""
    effect = Gimp.DrawableFilter.new(_item(item), "gegl:gaussian-blur", "")
    for axis in "xy":
        effect.get_config().set_property(f"std-dev-{axis}", radius)
    effect.update()
    _item(item).append_filter(effect)


def drop_shadow(item: int) -> None:
    """As an effect, which is how GIMP's menu does it."""
    effect = Gimp.DrawableFilter.new(_item(item), "gegl:dropshadow", "")
    for name, value in (("x", 15.0), ("y", 10.0), ("radius", 8.0), ("opacity", 0.7)):
        effect.get_config().set_property(name, value)
    effect.update()
    _item(item).append_filter(effect)


def channel(image: int) -> int:
    picture = Gimp.Image.get_by_id(image)
    made = Gimp.Channel.new(picture, "mine", picture.get_width(), picture.get_height(), 50, Gegl.Color.new("red"))
    picture.insert_channel(made, None, 0)
    return made.get_id()


def select(image: int, data: bytes) -> None:
    """Select what one byte per pixel of the canvas says."""
    picture = Gimp.Image.get_by_id(image)
    chosen = _item(channel(image))
    _write(chosen, (picture.get_width(), picture.get_height()), _plain(chosen), data)
    picture.select_item(Gimp.ChannelOps.REPLACE, chosen)
    picture.remove_channel(chosen)


def selected(image: int) -> bytes:
    """How far each pixel is selected, in bytes: the alpha of what is filled there."""
    picture = Gimp.Image.get_by_id(image)
    scratch = picture.duplicate()
    width, height = scratch.get_width(), scratch.get_height()
    filled = Gimp.Layer.new(scratch, "filled", width, height, Gimp.ImageType.RGBA_IMAGE, 100, Gimp.LayerMode.NORMAL)
    scratch.insert_layer(filled, None, 0)
    filled.edit_fill(Gimp.FillType.FOREGROUND)
    alpha = pixels(filled.get_id(), "A u8")
    scratch.delete()
    return alpha


def leave_copy(image: int, running: bool) -> int:
    """What a plug-in leaves that is killed while it reads, or has while it runs."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    copy = Gimp.Image.get_by_id(image).duplicate()
    owner = os.getpid() if running else ended.pid
    copy.attach_parasite(Gimp.Parasite.new("harmonize-copy", 0, str(owner).encode()))
    return copy.get_id()


def float_selection(image: int, drawable: int) -> int:
    picture = Gimp.Image.get_by_id(image)
    picture.select_rectangle(Gimp.ChannelOps.REPLACE, 10, 10, 30, 30)
    return Gimp.Selection.float(picture, [_item(drawable)], 5, 5).get_id()


def change(item: int, **values: object) -> None:
    """Call the setters of these names."""
    for name, value in values.items():
        getattr(_item(item), f"set_{name}")(value)


def move(item: int, x: int, y: int) -> None:
    _item(item).set_offsets(x, y)


def fill(item: int) -> None:
    _item(item).fill(Gimp.FillType.FOREGROUND)


def remove(image: int, item: int) -> None:
    Gimp.Image.get_by_id(image).remove_layer(_item(item))


def copy(image: int, item: int) -> int:
    made = _item(item).copy()
    Gimp.Image.get_by_id(image).insert_layer(made, None, 0)
    return made.get_id()


def indexed(image: int) -> None:
    Gimp.Image.get_by_id(image).convert_indexed(
        Gimp.ConvertDitherType.NONE, Gimp.ConvertPaletteType.GENERATE, 16, False, False, ""
    )


def call(image: int, drawables: list[int], **arguments: object) -> tuple[str, str, float]:
    """The plug-in's status, message, and how long it took."""
    procedure = Gimp.get_pdb().lookup_procedure(PROCEDURE)
    config = procedure.create_config()
    config.set_property("image", Gimp.Image.get_by_id(image))
    config.set_core_object_array("drawables", [_item(item) for item in drawables])
    for name, value in arguments.items():
        config.set_property(name, value)
    started = time.monotonic()
    status = procedure.run(config).index(0).value_nick
    return status, Gimp.get_pdb().get_last_error() if status != "success" else "", time.monotonic() - started


def measure(plug_in: str, image: int, item: int) -> tuple[float, float]:
    """Do here what the plug-in does: seconds of its calls of GIMP, and milliseconds of the engine."""
    if plug_in not in sys.path:
        sys.path.insert(0, plug_in)
    from harmonize import picture
    from harmonize.link.installation import read_installation

    started = time.monotonic()
    request = picture.read(Gimp.Image.get_by_id(image), _item(item), 0.0, "auto")
    read = time.monotonic() - started
    with read_installation(Path(plug_in) / "harmonize").client("benchmark") as client:
        result = client.harmonize(request)
    started = time.monotonic()
    picture.put(Gimp.Image.get_by_id(image), _item(item), result.pixels, 100.0, False)
    return read + time.monotonic() - started, sum(result.timings.values())


def script_fu(script: str) -> None:
    procedure = Gimp.get_pdb().lookup_procedure("plug-in-script-fu-eval")
    config = procedure.create_config()
    config.set_property("script", script)
    assert procedure.run(config).index(0) == Gimp.PDBStatusType.SUCCESS, Gimp.get_pdb().get_last_error()


def clean(image: int) -> None:
    """As if it had just been saved: what pushes an undo step makes it dirty."""
    Gimp.Image.get_by_id(image).clean_all()


def state(image: int) -> dict[str, object]:
    """What can be seen of an image."""
    picture = Gimp.Image.get_by_id(image)
    return {
        "dirty": picture.is_dirty(),
        "undo": picture.undo_is_enabled(),
        "layers": [_layer(each) for each in picture.get_layers()],
        "active": [each.get_id() for each in picture.get_selected_drawables()],
        "images": len(Gimp.get_images()),
        "selection": list(Gimp.Selection.bounds(picture)),
        "profile": bytes(picture.get_effective_color_profile().get_icc_profile()),
    }


def pixels(item: int, form: str | None = None) -> bytes:
    """All of a drawable's pixels, by default as they are."""
    drawable = _item(item)
    area = Gegl.Rectangle.new(0, 0, drawable.get_width(), drawable.get_height())
    return drawable.get_buffer().get(area, 1.0, form, Gegl.AbyssPolicy.NONE)


def visible(image: int, form: str) -> bytes:
    """What is seen of the image."""
    picture = Gimp.Image.get_by_id(image)
    return pixels(Gimp.Layer.new_from_visible(picture, picture, "visible").get_id(), form)


def selection(image: int, form: str) -> bytes:
    return pixels(Gimp.Image.get_by_id(image).get_selection().get_id(), form)


def save(image: int, path: str) -> None:
    Gimp.file_save(Gimp.RunMode.NONINTERACTIVE, Gimp.Image.get_by_id(image), Gio.File.new_for_path(path), None)


def load(path: str) -> int:
    picture = Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, Gio.File.new_for_path(path))
    picture.undo_enable()  # as it is for a user, who opens a file himself
    return picture.get_id()


def show(image: int) -> None:
    Gimp.Display.new(Gimp.Image.get_by_id(image))


def delete(image: int) -> None:
    Gimp.Image.get_by_id(image).delete()


def _layer(each: Gimp.Layer) -> dict[str, object]:
    _, x, y = each.get_offsets()
    return {
        "id": each.get_id(),
        "name": each.get_name(),
        "rect": (x, y, each.get_width(), each.get_height()),
        "opacity": each.get_opacity(),
        "visible": each.get_visible(),
        "alpha": each.has_alpha(),
        "children": [_layer(child) for child in each.get_children()] if each.is_group() else [],
    }


def _item(item: int) -> Gimp.Item | None:
    return Gimp.Item.get_by_id(item) if item else None


def _plain(drawable: Gimp.Drawable) -> str:
    """The format of bytes that mean what they say in a mask, whose own may be linear or not."""
    return Babl.format_get_encoding(drawable.get_format()).split()[0] + " u8"


def _write(drawable: Gimp.Drawable, size: tuple[int, int], form: str, data: bytes) -> None:
    buffer = drawable.get_buffer()
    buffer.set(Gegl.Rectangle.new(0, 0, *size), form, data)
    buffer.flush()
    drawable.update(0, 0, *size)


def main() -> None:
    with Client(os.environ["GIMP_DRIVER"]) as connection:
        while True:
            name, arguments, named = connection.recv()
            if name == "quit":
                break
            try:
                connection.send((True, globals()[name](*arguments, **named)))
            except Exception:
                connection.send((False, traceback.format_exc()))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
