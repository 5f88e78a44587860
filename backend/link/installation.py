"""backend.json, which the installer writes beside a plugin: how the plugin reaches the daemon.

    {"python": "/path/to/python", "connection": "/path/to/connection.json", "log": "/path/to/daemon.log",
     "models": ["gknet-lite"]}

Only "python", the interpreter that has the package, must be there.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from .client import Client
from .messages import Code, LinkError

FILE = "backend.json"


@dataclass(frozen=True)
class Installation:
    """What backend.json says.

    Attributes:
        python: the interpreter to start a daemon with.
        connection: the connection file; None is rendezvous.connection_file().
        log: the daemon's log; None where the installer did not know.
        models: the networks that it has.
    """

    python: str
    connection: Path | None = None
    log: Path | None = None
    models: tuple[str, ...] = ()

    def client(self, name: str) -> Client:
        """A client that starts this daemon; `name` is who asks, for the daemon's log."""
        return Client(name, self.python, self.connection)


def read_installation(folder: Path) -> Installation:
    """What the backend.json in a plugin's folder says.

    Raises:
        LinkError: `not_installed`: there is none, it is damaged, or its interpreter is gone.
    """
    file = folder / FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        python = content["python"]
        connection, log = (Path(content[name]) if content.get(name) else None for name in ("connection", "log"))
        models = tuple(str(name) for name in content.get("models", ()))
    except OSError as error:
        raise _not_installed(f"{file} cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _not_installed(f"{file} is damaged") from error
    # Within a sandbox the link is there, but not what it leads to; a daemon that runs outside can be reached.
    if not isinstance(python, str) or not os.path.lexists(python):
        raise _not_installed(f"there is no Python at {python}")
    return Installation(python, connection, log, models)


def _not_installed(message: str) -> LinkError:
    return LinkError(Code.NOT_INSTALLED, message, "run the installer again")
