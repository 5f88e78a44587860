"""`harmonize doctor`: what it finds in a sound installation, and in one that is not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend import settings
from backend.link import rendezvous
from gknet import weights
from tests.places import ROOT

Doctor = Callable[..., tuple[int, dict[str, list[dict[str, Any]]]]]


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doctor]:
    """(folder of the program) -> exit status, and the findings by name; each says what to do if it is not fine."""
    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))

    def doctor(program: Path = ROOT) -> tuple[int, dict[str, list[dict[str, Any]]]]:
        line = [sys.executable, "-m", "backend.cli", "doctor", "--json"]
        done = subprocess.run(line, cwd=program, env=os.environ, capture_output=True, text=True)
        found: dict[str, list[dict[str, Any]]] = {}
        for finding in json.loads(done.stdout):
            assert finding["text"] and bool(finding["advice"]) != finding["fine"]
            found.setdefault(finding["name"], []).append(finding)
        assert (done.returncode == 0) == all(one["fine"] for some in found.values() for one in some)
        return done.returncode, found

    with tempfile.TemporaryDirectory(prefix="hz") as runtime:
        monkeypatch.setenv(rendezvous.DIRECTORY_VARIABLE, f"{runtime}/run")
        yield doctor


def test_a_sound_installation_is_fine(doctor: Doctor) -> None:
    status, found = doctor()
    assert status == 0
    assert found["weights"][0]["text"].endswith(weights.digest("gknet-lite"))
    (test,) = found["self-test"]
    assert "512x512 pixels in " in test["text"]
    assert "none is running" in found["daemon"][0]["text"]
    connection = rendezvous.Launch(sys.executable).wait()
    try:
        status, found = doctor()
        assert status == 0 and f"pid {connection.pid}" in found["daemon"][0]["text"]
        assert found["self-test"][1]["text"].startswith("by the daemon: 512x512 pixels in ")
    finally:
        subprocess.run([sys.executable, "-m", "backend.cli", "stop"], cwd=ROOT, check=True, capture_output=True)


def test_each_trouble_is_named_and_hides_no_other(doctor: Doctor, tmp_path: Path) -> None:
    program = tmp_path / "program"
    for package in ("backend", "gknet"):
        shutil.copytree(ROOT / package, program / package, ignore=shutil.ignore_patterns("__pycache__"))
    damaged = program / "gknet" / "weights" / "gknet-lite.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-100] ^= 1
    damaged.write_bytes(content)
    settings.path().parent.mkdir()
    settings.path().write_text("idle = 'long'")
    rendezvous.directory().symlink_to(tmp_path)  # it may lead to where others write
    status, found = doctor(program)
    assert status == 1
    unwell = {name for name, some in found.items() if not all(one["fine"] for one in some)}
    assert unwell == {"weights", "settings", "directory", "self-test"}
    assert "do not match its SHA-256" in found["weights"][0]["text"]
    assert str(settings.path()) in found["settings"][0]["text"]
    assert str(rendezvous.directory()) in found["directory"][0]["text"]
    assert "SHA-256" in found["self-test"][0]["text"]


def test_a_daemon_that_hangs_is_found(doctor: Doctor) -> None:
    connection = rendezvous.Launch(sys.executable).wait()
    os.kill(connection.pid, signal.SIGSTOP)
    try:
        status, found = doctor()
        assert status == 1 and "has not answered within" in found["daemon"][0]["text"]
    finally:
        os.kill(connection.pid, signal.SIGKILL)
