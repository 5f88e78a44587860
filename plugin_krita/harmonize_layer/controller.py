"""What menu and docker share: the one run at a time, what is known of it, and the settings."""

from __future__ import annotations

import time
import traceback
from pathlib import Path

from krita import Krita

from .link.installation import read_installation
from .link.messages import Code, LinkError, Result
from .link.texts import Refusal, explain, summary, text
from .picture import Picture
from .qt import QtCore, QtGui, QtWidgets
from .results import Results
from .run import Run

_FOLDER = Path(__file__).resolve().parent
_SETTINGS = "harmonize_layer"
_FLOATING = 4000  # milliseconds


class Controller(QtCore.QObject):
    """Harmonizes, one picture at a time.

    Signals:
        changed: something of the attributes has.

    Attributes:
        running: a run is going on.
        line: what it does, or what the last one did.
        fraction: 0..1 of it that is done; -1 where nobody knows.
        engine: model and device of the last run.
        strength: the next result's opacity in percent.
        feather: document pixels by which the next object's edge is softened.
    """

    changed = QtCore.pyqtSignal()

    def __init__(self) -> None:
        super().__init__()
        # True from the click on: while Krita waits for itself, it may take another one.
        self.running = False
        self.line, self.fraction, self.engine = "", 0.0, text("engine.none")
        self.strength = int(Krita.instance().readSetting(_SETTINGS, "strength", "100"))
        self.feather = int(Krita.instance().readSetting(_SETTINGS, "feather", "0"))
        self._results = Results()
        self._run: Run | None = None
        self._picture: Picture | None = None
        self._started = 0.0

    def set_strength(self, percent: int) -> None:
        """For the next result, in this session and later ones."""
        self.strength = percent
        Krita.instance().writeSetting(_SETTINGS, "strength", str(percent))
        self.changed.emit()

    def set_feather(self, pixels: int) -> None:
        """For the next run, in this session and later ones."""
        self.feather = pixels
        Krita.instance().writeSetting(_SETTINGS, "feather", str(pixels))
        self.changed.emit()

    def log(self) -> Path | None:
        """The daemon's log; None where it is not known."""
        try:
            return read_installation(_FOLDER).log
        except LinkError:
            return None

    def harmonize(self) -> None:
        """Start with the active document; what is wrong is told to the user."""
        if self.running:
            self._complain(text("running"))
            return
        self.running, self._started = True, time.monotonic()
        self._show(text("stage.reading"), -1)
        try:
            document = Krita.instance().activeDocument()
            if document is None:
                raise Refusal("no_document")
            client = read_installation(_FOLDER).client("Krita")
            self._picture = Picture.of(document, self.feather)
        except Exception as error:
            self._fail(error)
        else:
            self._run = Run(client, self._picture.request, self)
            self._run.progressed.connect(self._show)
            self._run.ended.connect(self._finish)
            self._run.begin()

    def cancel(self) -> None:
        """Stop what is running."""
        if self._run:
            self._run.cancel()
        elif not self.running:
            self._end(text("not_running"))

    def _finish(self, outcome: Result | Exception) -> None:
        picture = self._picture
        assert picture is not None
        try:
            if isinstance(outcome, Exception):
                raise outcome
            picture.check()
            self._results.put(picture, outcome.pixels, self.strength)
        except Exception as error:
            self._fail(error)
        else:
            self.engine = text("engine", model=outcome.model, device=outcome.device)
            done = summary(outcome, time.monotonic() - self._started)
            self._end(" ".join(filter(None, [done, picture.note])))

    def _fail(self, error: Exception) -> None:
        """Say why there is no result; that of a fault of the plugin's too, or it would count as running for ever."""
        if isinstance(error, Refusal):
            self._end(str(error), complain=True)
        elif isinstance(error, LinkError):
            self._end(explain(error), complain=error.code != Code.CANCELLED)
        else:
            traceback.print_exception(type(error), error, error.__traceback__)
            self._end(text("unexpected", error=repr(error)), complain=True)

    def _end(self, line: str, complain: bool = False) -> None:
        """Nothing runs any more; say what came of it."""
        self.running, self._run, self._picture = False, None, None
        self._show(line, 0.0)
        if complain:
            self._complain(line)
            return
        window = Krita.instance().activeWindow()
        view = window and window.activeView()
        if view:
            view.showFloatingMessage(line, QtGui.QIcon(), _FLOATING, 1)

    def _show(self, line: str, fraction: float) -> None:
        self.line, self.fraction = line, fraction
        self.changed.emit()

    def _complain(self, line: str) -> None:
        """Say what the user is to do, in a window that does not stop Krita."""
        window = Krita.instance().activeWindow()
        box = QtWidgets.QMessageBox(window and window.qwindow())
        box.setWindowTitle(text("docker"))
        box.setIcon(QtWidgets.QMessageBox.Icon.Warning)
        box.setText(line)
        box.setAttribute(QtCore.Qt.WidgetAttribute.WA_DeleteOnClose)
        box.open()
