#!/usr/bin/env python3
"""GIMP 3: Filters > Harmonize > Harmonize Layer..."""

from __future__ import annotations

import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gi

gi.require_version("Gimp", "3.0")
from gi.repository import Gimp, Gio, GLib, GObject  # noqa: E402
from harmonize import picture  # noqa: E402
from harmonize.link.client import Client  # noqa: E402
from harmonize.link.installation import read_installation  # noqa: E402
from harmonize.link.messages import MOST_FEATHER, Code, LinkError  # noqa: E402
from harmonize.link.texts import Refusal, explain, progress, text  # noqa: E402

if TYPE_CHECKING:
    from harmonize.link.messages import Accepted, Progress
    from harmonize.link.rendezvous import Launch

NAME = "plug-in-harmonize-layer"
FOLDER = Path(__file__).resolve().parent
_LOOK = 0.05
_LONG_FEATHER = 100  # pixels: where the slider ends


class HarmonizeLayer(Gimp.PlugIn):
    """The plug-in, as GIMP sees it."""

    def do_set_i18n(self, name: str) -> bool:
        """The sentences are in one table, not in catalogues that GIMP would look for."""
        return False

    def do_query_procedures(self) -> list[str]:
        return [NAME]

    def do_create_procedure(self, name: str) -> Gimp.Procedure:
        procedure = Gimp.ImageProcedure.new(self, name, Gimp.PDBProcType.PLUGIN, run, None)
        procedure.set_image_types("RGB*, GRAY*")
        procedure.set_sensitivity_mask(Gimp.ProcedureSensitivityMask.DRAWABLE)
        procedure.set_menu_label(text("menu"))
        procedure.add_menu_path("<Image>/Filters/" + text("menu.group"))
        procedure.set_icon_file(Gio.File.new_for_path(str(FOLDER / "icon.svg")))
        procedure.set_documentation(text("harmonize.tip"), text("help"), None)
        procedure.set_attribution("The GKNet Harmonize authors", "MIT License", "2026")
        for argument, most in (("strength", 100), ("feather", MOST_FEATHER)):
            default = most if argument == "strength" else 0
            label, tip = text(f"{argument}.label"), text(f"{argument}.tip")
            procedure.add_double_argument(argument, label, tip, 0, most, default, GObject.ParamFlags.READWRITE)
        procedure.add_choice_argument(
            "model", text("model.label"), text("model.tip"), _models(), "auto", GObject.ParamFlags.READWRITE
        )
        return procedure


def run(
    procedure: Gimp.Procedure,
    mode: Gimp.RunMode,
    image: Gimp.Image,
    drawables: list[Gimp.Drawable],
    config: Gimp.ProcedureConfig,
    data: Any,
) -> Gimp.ValueArray:
    """Harmonize the one drawable; what prevents that ends in a status with a message, and leaves the image alone."""
    status = Gimp.PDBStatusType.EXECUTION_ERROR
    try:
        layer = picture.active_layer(image, drawables)
        with read_installation(FOLDER / "harmonize").client("GIMP") as client:
            launch = client.launch()  # it gets ready while the user looks at the dialog
            if mode == Gimp.RunMode.INTERACTIVE:
                if not _confirmed(procedure, config):
                    return procedure.new_return_values(Gimp.PDBStatusType.CANCEL, None)
                launch = client.launch()  # the user may have looked for longer than a daemon waits
            _harmonize(client, launch, image, layer, config)
        return procedure.new_return_values(Gimp.PDBStatusType.SUCCESS, None)
    except Refusal as refusal:
        message = str(refusal)
    except LinkError as error:
        message = explain(error)
        if error.code == Code.CANCELLED:
            status = Gimp.PDBStatusType.CANCEL
    except Exception as error:
        traceback.print_exc()
        message = text("unexpected", error=f"{type(error).__name__}: {error}")
    return procedure.new_return_values(status, GLib.Error.new_literal(Gimp.PlugIn.error_quark(), message, 0))


def _harmonize(
    client: Client, launch: Launch | None, image: Gimp.Image, layer: Gimp.Layer, config: Gimp.ProcedureConfig
) -> None:
    Gimp.progress_init(text("stage.reading"))
    place = picture.place(image, layer)
    request = picture.read(image, layer, config.get_property("feather"), config.get_property("model"))
    Gimp.progress_set_text(text("stage.starting"))
    while launch is not None and launch.poll() is None:
        Gimp.progress_pulse()
        time.sleep(_LOOK)
    pixels = client.harmonize(request, _show).pixels
    if picture.place(image, layer) != place:
        raise Refusal("document_changed")
    picture.put(image, layer, pixels, config.get_property("strength"), request.selection is not None)
    Gimp.displays_flush()


def _show(report: Accepted | Progress) -> None:
    Gimp.progress_set_text(progress(report))
    Gimp.progress_update(getattr(report, "fraction", 0.0))


def _confirmed(procedure: Gimp.Procedure, config: Gimp.ProcedureConfig) -> bool:
    """Ask for the arguments; False: the user cancels."""
    gi.require_version("GimpUi", "3.0")
    from gi.repository import GimpUi  # needs a screen

    GimpUi.init(NAME)
    dialog = GimpUi.ProcedureDialog.new(procedure, config, text("harmonize"))
    dialog.get_scale_entry("strength", 1.0)
    dialog.get_scale_entry("feather", 1.0).set_bounds(0, _LONG_FEATHER, False)
    dialog.fill(["strength", "feather", "model"])
    confirmed: bool = dialog.run()
    dialog.destroy()
    return confirmed


def _models() -> Gimp.Choice:
    """The networks that are installed."""
    choice = Gimp.Choice.new()
    choice.add("auto", 0, text("model.auto"), text("model.auto.tip"))
    try:
        names = read_installation(FOLDER / "harmonize").models
    except LinkError:
        names = ()  # of which the user hears when he harmonizes
    for number, name in enumerate(names, 1):
        choice.add(name, number, name, "")
    return choice


Gimp.main(HarmonizeLayer.__gtype__, sys.argv)
