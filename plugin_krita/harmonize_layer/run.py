"""A job on its way through the daemon, driven by Krita's event loop: nothing in it waits."""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from typing import TYPE_CHECKING

from .link.messages import Code, LinkError
from .link.texts import progress, text
from .qt import QtCore

if TYPE_CHECKING:
    from collections.abc import Callable

    from .link import Client
    from .link.client import Job
    from .link.messages import Accepted, Harmonize, Progress
    from .link.rendezvous import Launch

_STARTING = 50  # milliseconds between looks at a daemon that is starting
_RUNNING = 250


class Run(QtCore.QObject):
    """Starts the daemon if need be, sends a job and waits for its result.

    Signals:
        progressed: what is being done, and the fraction 0..1 done; -1 where nobody knows.
        ended: a Result or an exception, most often a LinkError.
    """

    progressed = QtCore.pyqtSignal(str, float)
    ended = QtCore.pyqtSignal(object)

    def __init__(self, client: Client, request: Harmonize, parent: QtCore.QObject) -> None:
        """Nothing happens before `begin`."""
        super().__init__(parent)
        self._client = client
        self._request: Harmonize | None = request
        self._launch: Launch | None = None
        self._job: Job | None = None
        self._again = False
        self._notifiers: list[QtCore.QSocketNotifier] = []
        self._timer = QtCore.QTimer(self)
        self._timer.timeout.connect(self._tick)

    def begin(self) -> None:
        """Start; `ended` may come at once."""
        self._timer.start(_STARTING)
        self._tick()

    def cancel(self) -> None:
        """Stop; `ended` comes soon, with `cancelled`."""
        if self._job is None:
            self._end(LinkError(Code.CANCELLED, "the job was cancelled"))
        else:
            # A daemon that hangs would hold Krita up for as long as its answer is waited for.
            threading.Thread(target=_cancel, args=(self._job,), daemon=True).start()

    def _tick(self) -> None:
        if self._job is not None:
            self._job.on_timer()
            self._look()
            return
        try:
            if self._launch is None or self._launch.poll():
                self._launch = self._client.launch()
            if self._launch is None:
                self._send()
            else:
                self.progressed.emit(text("stage.starting"), -1)
        except Exception as error:  # such as no room for a temporary file; a run that does not end would block others
            self._end(error)

    def _send(self) -> None:
        assert self._request is not None
        self.progressed.emit(text("stage.sending"), -1)
        self._job = self._client.begin(self._request, self._report)
        kinds = QtCore.QSocketNotifier.Type
        for kind, act in ((kinds.Read, self._job.on_readable), (kinds.Write, self._job.on_writable)):
            notifier = QtCore.QSocketNotifier(self._job.fileno(), kind, self)
            notifier.activated.connect(partial(self._act, act))
            self._notifiers.append(notifier)
        self._timer.start(_RUNNING)

    def _act(self, act: Callable[[], None], *_: object) -> None:
        act()
        self._look()

    def _look(self) -> None:
        """See where the job is."""
        if self._job is None:
            return
        if not self._job.done:
            self._notifiers[1].setEnabled(self._job.wants_write)
            return
        try:
            self._end(self._job.result())
        except LinkError as error:
            if error.code == Code.NOT_RUNNING and not self._again:  # it left just as it was asked
                self._again, self._job = True, None
                self._unwatch()
                self._timer.start(_STARTING)
            else:
                self._end(error)

    def _report(self, report: Accepted | Progress) -> None:
        self.progressed.emit(progress(report), getattr(report, "fraction", 0) or -1)

    def _end(self, outcome: object) -> None:
        if self._request is None:
            return
        self._unwatch()
        self._timer.stop()
        self._client.close()
        self._job = self._request = None
        self.ended.emit(outcome)
        self.deleteLater()

    def _unwatch(self) -> None:
        """Leave a socket that is closed, or somebody else's soon."""
        while self._notifiers:
            notifier = self._notifiers.pop()
            notifier.setEnabled(False)
            notifier.deleteLater()


def _cancel(job: Job) -> None:
    with contextlib.suppress(LinkError):  # the job itself ends with what is wrong
        job.cancel()
