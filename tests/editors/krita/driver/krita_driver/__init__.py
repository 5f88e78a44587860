"""A plugin for tests only: calls functions of a file inside Krita, as the test suite asks for over a socket.

KRITA_DRIVER is the socket's address, KRITA_STEPS the file. A function may be a generator: each `yield` of a number of
milliseconds returns to Krita's event loop for so long. Answers are (True, value) or (False, traceback).
"""

import inspect
import os
import runpy
import traceback
from multiprocessing.connection import Client

from krita import Extension, Krita
from PyQt5.QtCore import QSocketNotifier, QTimer


class Driver(Extension):
    def setup(self):
        pass

    def createActions(self, window):
        if "KRITA_DRIVER" in os.environ:
            QTimer.singleShot(0, self.begin)

    def begin(self):
        self.connection = Client(os.environ.pop("KRITA_DRIVER"))
        self.notifier = QSocketNotifier(self.connection.fileno(), QSocketNotifier.Read)
        self.notifier.activated.connect(self.serve)
        self.functions = runpy.run_path(os.environ["KRITA_STEPS"])

    def serve(self):
        self.notifier.setEnabled(False)
        try:
            name, arguments = self.connection.recv()
        except EOFError:
            os._exit(0)  # Krita's own way out asks whether to save, and some versions crash on it
        try:
            value = self.functions[name](**arguments)
        except Exception:
            self.answer(False, traceback.format_exc())
        else:
            if inspect.isgenerator(value):
                self.step(value)
            else:
                self.answer(True, value)

    def step(self, generator):
        try:
            pause = next(generator)
        except StopIteration as end:
            self.answer(True, end.value)
        except Exception:
            self.answer(False, traceback.format_exc())
        else:
            QTimer.singleShot(pause, lambda: self.step(generator))

    def answer(self, ok, value):
        self.connection.send((ok, value))
        self.notifier.setEnabled(True)


Krita.instance().addExtension(Driver(Krita.instance()))
