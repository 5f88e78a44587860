"""The menu: Tools > Scripts > Harmonize Layer, and Cancel Harmonize."""

from __future__ import annotations

from pathlib import Path

from krita import Extension, Window

from .controller import Controller
from .link.texts import text
from .qt import QtGui, QtWidgets

_MENU = "tools/scripts"
_ICONS = Path(__file__).resolve().parent / "icons"


class HarmonizeExtension(Extension):
    """Adds the actions to every window."""

    def __init__(self, parent: object, controller: Controller) -> None:
        super().__init__(parent)
        self._controller = controller

    def setup(self) -> None:
        """Called by Krita when it starts; there is nothing to do yet."""

    def createActions(self, window: Window) -> None:
        """Called by Krita for every window."""
        harmonize = window.createAction("harmonize_layer", text("harmonize"), _MENU)
        harmonize.setIcon(icon())
        harmonize.triggered.connect(lambda: self._controller.harmonize())
        cancel = window.createAction("harmonize_cancel", text("cancel"), _MENU)
        cancel.triggered.connect(lambda: self._controller.cancel())
        window.themeChanged.connect(lambda: harmonize.setIcon(icon()))


def icon() -> QtGui.QIcon:
    """The plugin's icon, to be seen on the colours that Krita has now."""
    dark = QtWidgets.QApplication.palette().window().color().lightness() < 128
    return QtGui.QIcon(str(_ICONS / ("for_dark.svg" if dark else "for_light.svg")))
