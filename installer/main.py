"""The commands of the installer."""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import time
from pathlib import Path

from installer import debian
from installer.bundle import bundle, package
from installer.doctor import examine
from installer.editors import EDITORS
from installer.environment import ROOT, Environment, InstallError, variables
from installer.install import Order, install
from installer.manifest import ManifestError, default_prefix
from installer.product import choices
from installer.progress import Bar
from installer.uninstall import uninstall

# Quicker on a CPU: freed memory is kept for the next layer. Read when a process starts.
QUICK = {"MALLOC_MMAP_THRESHOLD_": "268435456", "MALLOC_TRIM_THRESHOLD_": "1073741824"}

CHECKS = {"ruff": ["ruff", "check", "."], "mypy": ["mypy"], "pytest": ["pytest"]}


def main(arguments: list[str]) -> int:
    """Run one command. The exit status: 0 done, 2 impossible with this Python, 130 interrupted, else failed."""
    started = time.time()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a path may hold letters that this terminal cannot show
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    options = parser().parse_args(arguments)
    try:
        if options.command in PRODUCT:
            return PRODUCT[options.command](options)
        if options.command == "demo":
            return demo(started)
        if options.ci:
            debian.ensure_venv()
            debian.ensure_krita()
            debian.ensure_gimp()
            debian.ensure_chromium()
        return check({"GKNET_CI": "1"} if options.ci else {})
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except (ManifestError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on where this one stopped", file=sys.stderr)
        return 130


def _add_product_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    prefix = argparse.ArgumentParser(add_help=False)
    prefix.add_argument(
        "--prefix", type=Path, default=default_prefix(), help="the installation's folder (%(default)s)", metavar="DIR"
    )
    torch = argparse.ArgumentParser(add_help=False)
    torch.add_argument(
        "--torch",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="auto: for CUDA where there is an NVIDIA GPU, else the smaller one",
    )
    torch.add_argument("--torch-index", metavar="URL", help="an index of packages that has torch")
    command = commands.add_parser(
        "install", parents=[prefix, torch], help="install the program and the editors' plugins for this user"
    )
    command.add_argument(
        "--editors", type=_editors, default=EDITORS, help="krita, gimp, or both with a comma (default)", metavar="NAMES"
    )
    command.add_argument("--offline", type=Path, metavar="BUNDLE", help="take all packages from what `bundle` wrote")
    command = commands.add_parser("bundle", parents=[torch], help="write one archive that installs without a network")
    command.add_argument("archive", type=Path, help="such as harmonize.zip")
    command = commands.add_parser("package", help='write the archive for Krita\'s "Import Python Plugin from File"')
    command.add_argument("archive", type=Path, help="such as harmonize_layer.zip")
    commands.add_parser("uninstall", parents=[prefix], help="remove all that install made, and nothing else")
    commands.add_parser("doctor", parents=[prefix], help="say what is installed where, test it, and what to do")


def _editors(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not set(names) <= set(EDITORS):
        raise argparse.ArgumentTypeError(f"choose of {', '.join(EDITORS)}")
    return names


def _install(options: argparse.Namespace) -> int:
    offline = options.offline and options.offline.absolute()
    order = Order(options.prefix.absolute(), options.editors, options.torch, options.torch_index, offline)
    install(order, Bar(sys.stdout))
    return 0


def _uninstall(options: argparse.Namespace) -> int:
    uninstall(options.prefix.absolute(), Bar(sys.stdout))
    return 0


def _doctor(options: argparse.Namespace) -> int:
    return examine(options.prefix.absolute(), Bar(sys.stdout))


def _bundle(options: argparse.Namespace) -> int:
    torch = choices(options.torch)[0]
    bundle(options.archive.absolute(), torch, options.torch_index, Bar(sys.stdout))
    return 0


def _package(options: argparse.Namespace) -> int:
    package(options.archive.absolute(), prepared(""), Bar(sys.stdout))
    return 0


PRODUCT = {"bundle": _bundle, "package": _package, "install": _install, "uninstall": _uninstall, "doctor": _doctor}


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    found = argparse.ArgumentParser(
        "python3 -m installer", description="Installs harmonize, for the editors and for the command line."
    )
    commands = found.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_product_commands(commands)
    commands.add_parser("demo", help="harmonize the pictures in examples/ into out/demo")
    test = commands.add_parser("test", help="run the linter, the type check and the test suite")
    test.add_argument(
        "--ci",
        action="store_true",
        help="for CI: installs Debian's venv, Krita, GIMP 3 and Chromium, and missing data fails the tests",
    )
    return found


def demo(started: float) -> int:
    """Harmonize the examples. `started` is when the command was given, in seconds since the epoch."""
    command = [str(prepared("")), "-m", "installer.demo", str(started)]
    return subprocess.run(command, cwd=ROOT, env={**QUICK, **variables()}).returncode


def check(more: dict[str, str]) -> int:
    """Run every check, the test suite last, with `more` variables, and return the first exit status that is not 0."""
    python = prepared("dev")
    failed: dict[str, int] = {}
    for name, command in CHECKS.items():
        print(f"== {' '.join(command)}", flush=True)
        status = subprocess.run([python, "-m", *command], cwd=ROOT, env={**os.environ, **more}).returncode
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
