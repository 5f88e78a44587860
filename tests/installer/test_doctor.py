"""The installer's `doctor`, on installations that are damaged, with a shell script in the place of their Python."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from installer import command, editors
from installer.doctor import examine
from installer.environment import Environment
from installer.manifest import Manifest, Plugin
from installer.progress import Bar
from installer.uninstall import uninstall


class Installed:
    """An installation with the plugin of one GIMP."""

    def __init__(self, folder: Path) -> None:
        self.prefix = folder / "harmonize"
        self.environment = Environment(self.prefix / "environment-0.1.0-0123456789")
        self.environment.python.parent.mkdir(parents=True)
        self.plugin = Plugin("gimp", "native", str(folder / "GIMP" / "3.0"), None)
        self.backend = self.plugin.place.package / "backend.json"
        self.backend.parent.mkdir(parents=True)
        self.backend.write_text(json.dumps({"python": str(self.environment.python)}))
        Manifest("0.1.0", self.environment.folder.name, [self.plugin]).write(self.prefix)
        self.program("exit 1")

    def program(self, script: str) -> None:
        """Let its Python do this."""
        self.environment.python.write_text(f"#!/bin/sh\n{script}\n")
        self.environment.python.chmod(0o755)

    def doctor(self) -> str:
        said = io.StringIO()
        assert examine(self.prefix, Bar(said)) == 1
        return said.getvalue()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    monkeypatch.setattr(editors, "find", lambda: [])
    return Installed(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{}", "3", "nonsense", '{"python"'])
def test_a_damaged_backend_json_is_told(installed: Installed, content: str) -> None:
    installed.backend.write_text(content)
    assert "BAD GIMP 3.0" in (said := installed.doctor()) and "backend.json cannot be read" in said
    uninstall(installed.prefix, Bar(io.StringIO()))
    assert not installed.prefix.exists()


def test_a_command_of_another_version_is_told(installed: Installed) -> None:
    assert "BAD command" in installed.doctor()
    command.write(installed.prefix, installed.environment.folder.with_name("environment-0.0.9-0123456789"))
    assert "BAD command" in installed.doctor()
    command.write(installed.prefix, installed.environment.folder)
    assert f"ok  command: {command.path(installed.prefix)}" in installed.doctor()
    uninstall(installed.prefix, Bar(io.StringIO()))
    assert not installed.prefix.exists()


def test_a_program_that_does_not_run_is_no_fault_of_the_plugins(installed: Installed) -> None:
    installed.program("echo broken >&2; exit 1")
    said = installed.doctor()
    assert "ok  GIMP 3.0" in said and "version" not in said.partition("GIMP 3.0")[2]
    assert "BAD program: it does not run: broken" in said
    link = installed.prefix / "link"
    link.mkdir()
    (link / "client.py").touch()
    installed.program(f"echo '{link}'")
    assert "BAD GIMP 3.0" in (said := installed.doctor()) and "another version than the program's: client.py" in said
