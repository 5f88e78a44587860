"""The docker "Harmonize": settings, progress, and what the last run did."""

from __future__ import annotations

from krita import Canvas, DockWidget

from .controller import Controller
from .link.messages import MOST_FEATHER
from .link.texts import text
from .qt import QtCore, QtGui, QtWidgets

_STEPS = 1000


class Docker(DockWidget):
    """One a window; all show the same run."""

    controller: Controller
    """Set before Krita makes the first docker."""

    def __init__(self) -> None:
        super().__init__()
        self.setWindowTitle(text("docker"))
        controller = self.controller
        self._engine = _Line()
        self._line = _Line()
        self._bar = QtWidgets.QProgressBar()
        self._bar.setTextVisible(False)
        self._harmonize = QtWidgets.QPushButton(text("button"))
        self._harmonize.setToolTip(text("harmonize.tip"))
        self._harmonize.clicked.connect(lambda: controller.harmonize())
        self._cancel = QtWidgets.QPushButton(text("button.cancel"))
        self._cancel.setToolTip(text("cancel.tip"))
        self._cancel.clicked.connect(lambda: controller.cancel())
        log = QtWidgets.QLabel(f'<a href="log">{text("log")}</a>')
        log.linkActivated.connect(self._open_log)

        settings = QtWidgets.QFormLayout()
        self._strength = _Slider(100, text("percent"), controller.strength, controller.set_strength)
        self._strength.setToolTip(text("strength.tip"))
        settings.addRow(text("strength"), self._strength)
        self._feather = _Number(MOST_FEATHER, text("pixels"), controller.feather, controller.set_feather)
        self._feather.setToolTip(text("feather.tip"))
        settings.addRow(text("feather"), self._feather)
        settings.addRow(text("engine.label"), self._engine)
        buttons = QtWidgets.QHBoxLayout()
        buttons.addWidget(self._harmonize)
        buttons.addWidget(self._cancel)

        widget = QtWidgets.QWidget()
        column = QtWidgets.QVBoxLayout(widget)
        column.addLayout(settings)
        column.addLayout(buttons)
        column.addWidget(self._bar)
        column.addWidget(self._line)
        column.addWidget(log)
        column.addStretch()
        self.setWidget(widget)
        controller.changed.connect(self._update)
        self._update()

    def canvasChanged(self, canvas: Canvas) -> None:
        """Called by Krita; the docker is the same for every canvas."""

    def _update(self) -> None:
        controller = self.controller
        self._strength.number.setValue(controller.strength)  # another window's docker may have set them
        self._feather.setValue(controller.feather)
        self._engine.setText(controller.engine)
        self._line.setText(controller.line)
        # A bar without a range shows that something is going on.
        self._bar.setRange(0, 0 if controller.running and controller.fraction < 0 else _STEPS)
        self._bar.setValue(round(_STEPS * max(controller.fraction, 0)))
        self._harmonize.setEnabled(not controller.running)
        self._cancel.setEnabled(controller.running)

    def _open_log(self) -> None:
        log = self.controller.log()
        if log and log.is_file():
            QtGui.QDesktopServices.openUrl(QtCore.QUrl.fromLocalFile(str(log)))
        else:
            self._line.setText(text("log.missing"))


class _Line(QtWidgets.QLabel):
    """Text that wraps rather than widen the docker."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextFormat(QtCore.Qt.TextFormat.PlainText)


class _Number(QtWidgets.QSpinBox):
    """A whole number from 0 on that tells `changed` of its value."""

    def __init__(self, highest: int, unit: str, value: int, changed: object) -> None:
        super().__init__()
        self.setRange(0, highest)
        self.setSuffix(unit)
        self.setValue(value)
        self.valueChanged.connect(changed)


class _Slider(QtWidgets.QWidget):
    """As a number, with a slider beside it."""

    def __init__(self, highest: int, unit: str, value: int, changed: object) -> None:
        super().__init__()
        self.number = number = _Number(highest, unit, value, changed)
        slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        slider.setRange(0, highest)
        slider.setValue(value)
        slider.valueChanged.connect(number.setValue)
        number.valueChanged.connect(slider.setValue)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(slider)
        row.addWidget(number)
