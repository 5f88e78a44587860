"""Qt as Krita has it: PyQt5 up to Krita 5, PyQt6 from Krita 6 on."""

from __future__ import annotations

import sys

import krita  # noqa: F401  # brings its own Qt along

# Not whichever can be imported: another Qt in the same process would end Krita.
if "PyQt5.QtCore" in sys.modules:
    from PyQt5 import QtCore, QtGui, QtWidgets
else:
    from PyQt6 import QtCore, QtGui, QtWidgets

__all__ = ["QtCore", "QtGui", "QtWidgets"]
