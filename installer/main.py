"""The commands of the installer: `demo` and `test`."""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import time
from pathlib import Path

from installer import debian
from installer.environment import ROOT, Environment, InstallError
from installer.progress import Bar

# Quicker on a CPU: waiting threads sleep, and freed memory is kept for the next layer. Read when a process starts.
QUICK = {"OMP_WAIT_POLICY": "PASSIVE", "MALLOC_MMAP_THRESHOLD_": "268435456", "MALLOC_TRIM_THRESHOLD_": "1073741824"}

CHECKS = {"ruff": ["ruff", "check", "."], "mypy": ["mypy"], "pytest": ["pytest"]}


def main(arguments: list[str]) -> int:
    """Run one command. The exit status: 0 done, 2 impossible with this Python, 130 interrupted, else failed."""
    started = time.time()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a path may hold letters that this terminal cannot show
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    parser = argparse.ArgumentParser(
        "python3 -m installer", description="Sets the project up in this checkout's .venv."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("demo", help="harmonize the pictures in examples/ into out/demo")
    test = commands.add_parser("test", help="run the linter, the type check and the test suite")
    test.add_argument(
        "--ci",
        action="store_true",
        help="for CI: installs Debian's venv and GIMP 3, and what is missing fails the tests",
    )
    options = parser.parse_args(arguments)
    try:
        if options.command == "demo":
            return demo(started)
        if options.ci:
            debian.ensure_venv()
            debian.ensure_gimp()
        return check({"GKNET_CI": "1"} if options.ci else {})
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on where this one stopped", file=sys.stderr)
        return 130


def demo(started: float) -> int:
    """Harmonize the examples. `started` is when the command was given, in seconds since the epoch."""
    command = [str(prepared("")), "-m", "installer.demo", str(started)]
    return subprocess.run(command, cwd=ROOT, env={**QUICK, **os.environ}).returncode


def check(variables: dict[str, str]) -> int:
    """Run every check, the test suite last, and return the first exit status that is not 0."""
    python = prepared("dev")
    failed: dict[str, int] = {}
    for name, command in CHECKS.items():
        print(f"== {' '.join(command)}", flush=True)
        status = subprocess.run([python, "-m", *command], cwd=ROOT, env={**os.environ, **variables}).returncode
        if status:
            failed[name] = status
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return next(iter(failed.values()), 0)


def prepared(extra: str) -> Path:
    """The Python of the checkout's environment, with the project and the packages of `extra` installed."""
    environment = Environment(ROOT / ".venv")
    if not environment.is_ready(extra):
        environment.install(extra, Bar(sys.stdout))
    return environment.python
