"""The settings file, and that the command line and the daemon do as it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend import settings
from backend.link.rendezvous import DIRECTORY_VARIABLE
from tests.places import ROOT

Write = Callable[[str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes the settings of a user who has none of his own yet."""
    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))

    def write(text: str) -> None:
        settings.path().parent.mkdir(exist_ok=True)
        settings.path().write_text(text, encoding="utf-8")

    with tempfile.TemporaryDirectory(prefix="hz") as runtime:
        monkeypatch.setenv(DIRECTORY_VARIABLE, runtime)
        yield write


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "backend.cli", *arguments]
    return subprocess.run(line, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=60)


def test_no_file_is_no_settings(write: Write) -> None:
    assert settings.load() == {}


def test_the_example_of_the_module_is_valid(write: Write) -> None:
    assert settings.__doc__
    example = [line[4:] for line in settings.__doc__.splitlines() if line.startswith("    ")]
    write("\n".join(example))
    assert len(settings.load()) == len(example) == 6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("device = ", "cannot be read"),
        ("\xff\0", "cannot be read"),
        ("colour = 3", "sets 'colour', which does not exist: choose of device, model,"),
        ("device = 3", "sets device to 3, which is not a device's name"),
        ("device = []", "which is not a device's name"),
        ("idle = -1", "which is not a number of seconds"),
        ("idle = 1e13", "which is not a number of seconds"),
        ("idle = nan", "which is not a number of seconds"),
        ("idle = inf", "which is not a number of seconds"),
        ("idle = true", "which is not a number of seconds"),
        ("tcp = 1", "which is not true or false"),
        ("queue = 0", "which is not a number of jobs"),
        ("job_bytes = 1.5", "which is not a number of bytes"),
    ],
)
def test_what_means_nothing_is_refused_with_its_place(write: Write, text: str, said: str) -> None:
    write(text)
    with pytest.raises(settings.SettingsError, match=said) as caught:
        settings.load()
    assert str(settings.path()) in str(caught.value)


@pytest.mark.parametrize("idle", ["-1", "nan", "inf", "1e13"])
def test_an_idle_time_that_no_status_could_tell_is_refused(write: Write, idle: str) -> None:
    done = command("serve", "--idle", idle)
    assert done.returncode == 2 and "--idle" in done.stderr and done.stderr.count("\n") == 1, done


def test_a_daemon_that_a_client_starts_is_as_the_settings_say(write: Write, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "in.png")
    Image.fromarray(np.pad(np.full((32, 32), 255, np.uint8), 16)).save(tmp_path / "mask.png")
    run = ["run", *(str(tmp_path / name) for name in ("in.png", "mask.png")), "-o", str(tmp_path / "out.png")]
    write("idle = 77\nmodel = 'gknet-lite'\ndevice = ['cpu', 'cpu']\n")
    try:
        assert "by the daemon" in command(*run, "--daemon").stdout
        status = json.loads(command("status", "--json").stdout)
        assert status["idle"] == 77 and len(status["workers"]) == 2
        assert "by the daemon" in command(*run).stdout, "a device in the settings does not keep it from the daemon"
    finally:
        command("stop")
    write("model = 'nonesuch'")
    assert (done := command(*run)).returncode == 2 and "nonesuch" in done.stderr
    assert command(*run, "--model", "gknet-lite").returncode == 0, "the command line counts more"
    write("idle = 'long'")
    for arguments in (run, ["serve"]):
        done = command(*arguments)
        assert done.returncode == 2 and str(settings.path()) in done.stderr, done
    done = command("status")
    assert done.returncode == 3 and "no daemon is running" in done.stderr, "it needs no settings"
