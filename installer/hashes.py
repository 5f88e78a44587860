"""For the maintainers: writes installer/lock/ out of constraints.txt, with the SHA-256 of every wheel that may be used.

    .venv/bin/python -m installer.hashes

The hashes come from the index that pip is configured for. Run this whenever constraints.txt changes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename

from installer.environment import CONSTRAINTS
from installer.lock import FOLDER, cpu_torch

PYTHONS = ("310", "311", "312", "313")
MACHINES = {
    "linux-x86_64": r"manylinux.*_x86_64",
    "linux-aarch64": r"manylinux.*_aarch64",
    "windows": r"win_amd64",
    "macos": r"macosx_.*_(arm64|universal2)",
}
"""Where the product runs, by what ends a wheel's name there."""

_FILES = {
    "# The installing itself": "build.txt",
    "# The product": "product.txt",
    "# What torch brings along where it is built for CUDA": "cuda.txt",
}
_HEADER = "# Made by `python -m installer.hashes`; do not edit.\n"
_ASK = """
import json, sys
from pip._internal.models.index import PyPI
from pip._internal.network.session import PipSession
from pip._internal.configuration import Configuration
configuration = Configuration(isolated=False)
configuration.load()
index = dict(configuration.items()).get("global.index-url") or PyPI.simple_url
session = PipSession()
accepted = {"Accept": "application/vnd.pypi.simple.v1+json"}
files = {}
for name in sys.argv[1:]:
    answer = session.get(f"{index.rstrip('/')}/{name}/", headers=accepted)
    answer.raise_for_status()
    files[name] = {file["filename"]: file["hashes"]["sha256"] for file in answer.json()["files"]}
print(json.dumps(files))
"""


def main() -> int:
    """Write all files, or say which wheel is missing and write none."""
    sections = _sections()
    names = sorted({Requirement(pin).name for pins in sections.values() for pin in pins})
    index = _index(names)
    written: dict[Path, str] = {}
    for file, pins in sections.items():
        for pin in pins:
            # torch is a file of its own, since there is a choice of it.
            path = FOLDER / ("torch.txt" if Requirement(pin).name == "torch" else file)
            machines = [name for name in MACHINES if file != "cuda.txt" or name.startswith("linux")]
            written[path] = written.get(path, _HEADER) + _locked(pin, index[Requirement(pin).name], machines)
    torch = next(pin for pin in sections["product.txt"] if Requirement(pin).name == "torch")
    for python, machine in itertools.product(PYTHONS, ("x86_64", "aarch64")):
        if digest := _cpu_build(f"{torch}+cpu", python, machine):
            version = f"3.{python[1:]}"
            written[cpu_torch(version, machine)] = f"{_HEADER}{torch}+cpu \\\n    --hash=sha256:{digest}\n"
    for path in FOLDER.glob("*.txt"):
        path.unlink()
    for path, text in written.items():
        path.write_text(text, encoding="utf-8")
    print(f"{len(written)} files are in {FOLDER}")
    return 0


def _sections() -> dict[str, list[str]]:
    """The pins that an installation needs, by the file that they go to."""
    sections: dict[str, list[str]] = {}
    file: str | None = None
    for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            file = _FILES.get(line)
        elif line and file:
            sections.setdefault(file, []).append(line)
    return sections


def _index(names: list[str]) -> dict[str, dict[str, str]]:
    """For each project, what the index has: the SHA-256 by the file's name."""
    asked = subprocess.run([sys.executable, "-c", _ASK, *names], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, dict[str, str]] = json.loads(asked.stdout)
    return found


def _locked(pin: str, files: dict[str, str], machines: list[str]) -> str:
    """The pin with the hashes of the wheels that fit: for every Python and machine there must be one."""
    requirement = Requirement(pin)
    version = next(iter(requirement.specifier)).version
    fitting: set[str] = set()
    for python, machine in itertools.product(PYTHONS, machines):
        context: dict[str, Any] = {"python_version": f"3.{python[1:]}", "sys_platform": _system(machine)}
        if requirement.marker and not requirement.marker.evaluate(context):
            continue
        found = {digest for name, digest in files.items() if _fits(name, version, python, MACHINES[machine])}
        if not any(f"-{version}-" in name for name in files):  # pyvips, for one, is published as source alone
            found = {digest for name, digest in files.items() if name.endswith(f"-{version}.tar.gz")}
        if not found:
            raise SystemExit(f"error: the index has no wheel of {pin} for Python 3.{python[1:]} on {machine}")
        fitting |= found
    hashes = "".join(f" \\\n    --hash=sha256:{digest}" for digest in sorted(fitting))
    return f"{pin}{hashes}\n"


def _system(machine: str) -> str:
    return {"windows": "win32", "macos": "darwin"}.get(machine, "linux")


def _fits(name: str, version: str, python: str, machine: str) -> bool:
    if not name.endswith(".whl") or f"-{version}-" not in name:
        return False
    for tag in parse_wheel_filename(name)[3]:
        old = re.fullmatch(r"cp3(\d+)", tag.interpreter)
        stable = tag.abi == "abi3" and old is not None and int(old[1]) <= int(python[1:])
        pure = tag.interpreter == "py3" and tag.abi == "none"
        if not (stable or pure or (tag.interpreter, tag.abi) == (f"cp{python}", f"cp{python}")):
            continue
        if tag.platform == "any" or re.fullmatch(machine, tag.platform):
            return True
    return False


def _cpu_build(requirement: str, python: str, machine: str) -> str | None:
    """The SHA-256 of torch's CPU build: the usual index lacks it, but pip may be told of another place that has it."""
    with tempfile.TemporaryDirectory() as folder:
        target = ["--dest", folder, "--python-version", python, "--platform", f"manylinux_2_28_{machine}"]
        line = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", *target, requirement]
        if subprocess.run(line, capture_output=True).returncode:
            return None
        (wheel,) = Path(folder).iterdir()
        return hashlib.sha256(wheel.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
