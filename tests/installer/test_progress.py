"""What the bar makes of pip's output: of lines that pip 26.3 printed, and of a pip that downloads from this machine."""

from __future__ import annotations

import functools
import http.server
import io
import os
import random
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from installer.progress import Bar, PipOutput, Step

PRINTED = """\
Obtaining file:///somewhere/main
  Checking if build backend supports build_editable: started
Requirement already satisfied: setuptools<82 in ./.venv/lib/python3.11/site-packages (from torch) (66.1.1)
Collecting pillow
  Downloading pillow-13.0.0-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl (7.1 MB)
Progress 0 of 7140667
Progress 262144 of 7140667
Progress 7140667 of 7140667
Collecting grpcio<2.0,>=1.74.0 (from tensorboard)
  Using cached grpcio-1.85.3-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl (7.4 MB)
Processing /wheels/tensorboard_data_server-0.7.2-py3-none-manylinux_2_31_x86_64.whl (from tensorboard)
Installing collected packages: typing-extensions, pillow, grpcio
Successfully installed grpcio-1.85.3 pillow-13.0.0 typing-extensions-4.16.0
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def steps(text: str) -> list[Step]:
    output = PipOutput()
    return [step for line in text.splitlines(keepends=True) if (step := output.read(line))]


def test_steps_of_printed_output() -> None:
    download = "downloading pillow (7.1 MB)"
    assert steps(PRINTED) == [
        Step("finding packages: setuptools (1)"),
        Step("finding packages: pillow (2)"),
        Step(download),
        Step(download, 0, 7140667, "MB"),
        Step(download, 262144, 7140667, "MB"),
        Step(download, 7140667, 7140667, "MB"),
        Step("finding packages: grpcio (3)"),
        Step("finding packages: tensorboard_data_server (4)"),
        Step("installing typing-extensions", 0, 3),
    ]


def test_package_that_is_being_installed_is_named() -> None:
    output = PipOutput()
    for line in PRINTED.splitlines():
        output.read(line)
    assert [output.installing(done).label.split()[1] for done in range(4)] == [
        "typing-extensions",
        "pillow",
        "grpcio",
        "grpcio",
    ]


@pytest.fixture
def wheels(tmp_path: Path) -> Iterator[str]:
    """Two wheels, one of a megabyte that needs the other, offered by a web server on this machine."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, needs, payload in (("alpha", "Requires-Dist: beta\n", 1_000_000), ("beta", "", 10)):
        info = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}.bin", random.Random(0).randbytes(payload))
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", f"{name}.bin,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.skipif(
    int(version("pip").split(".")[0]) < 25, reason="this environment's pip is older than the pinned one"
)
def test_steps_of_a_real_pip(wheels: str, tmp_path: Path) -> None:
    command = "-m pip install --isolated --no-cache-dir --no-index --progress-bar raw".split()
    environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "no_proxy": "127.0.0.1"}
    printed = subprocess.run(
        [sys.executable, *command, "--find-links", wheels, "--target", str(tmp_path / "target"), "alpha"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    seen = steps(printed)
    size = (tmp_path / "wheels" / "alpha-1.0-py3-none-any.whl").stat().st_size
    assert seen[0] == Step("finding packages: alpha (1)")
    assert [step.total for step in seen if step.unit == "MB"][-1] == size
    assert [step.done for step in seen if step.unit == "MB"][-1] == size
    assert Step("finding packages: beta (2)") in seen
    assert seen[-1] == Step("installing beta", 0, 2)


def test_terminal_gets_one_line_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    terminal = Terminal()
    bar = Bar(terminal)
    bar.show(Step("downloading torch (190.0 MB)", 95_000_000, 190_000_000, "MB"))
    bar.show(Step("installing packages", 3, 12))
    bar.finish("done")
    first, second, last = terminal.getvalue().split("\r\x1b[K")[1:]
    assert first == "downloading torch (190.0 MB) [" + "#" * 15 + "." * 15 + "] 95/190 MB"
    assert second == "installing packages [" + "#" * 7 + "." * 23 + "] 3/12"
    assert last == "done\n"


@pytest.mark.parametrize("columns", [12, 30, 45, 200])
def test_bar_never_wraps(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal = Terminal()
    for step in steps(PRINTED):
        Bar(terminal).show(step)
    assert max(len(line) for line in terminal.getvalue().split("\r\x1b[K")) < columns


def test_file_gets_a_plain_line_for_whatever_begins() -> None:
    file = io.StringIO()
    bar = Bar(file)
    for step in steps(PRINTED):
        bar.show(step)
    bar.finish("done")
    lines = file.getvalue().splitlines()
    assert "\x1b" not in file.getvalue() and "\r" not in file.getvalue()
    assert lines.count("downloading pillow (7.1 MB)") == 1
    assert lines[-2:] == ["installing typing-extensions", "done"]
