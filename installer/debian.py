"""What only CI does, as root on Debian: installs the system packages that the tests need and a bare system lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from installer.environment import lacks_venv

FIRST_START = "first-start"
"""The home in GIMP's root with which it has been started once: it has looked at all of its plug-ins then."""

_QUIET = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
_KRITA = ("krita", "python3-pyqt5", "python3-pyqt5.sip", "xvfb")
_GIMP = (
    *("gimp", "gir1.2-gimp-3.0", "python3-gi"),
    *("xvfb", "openbox", "xdotool", "imagemagick", "adwaita-icon-theme", "fonts-dejavu-core"),
)
_NO_DAEMONS = "#!/bin/sh\nexit 101\n"  # policy-rc.d: a package's services are not to start


def ensure_venv() -> None:
    """Install python3-venv if this is Debian's own Python and it cannot make virtual environments."""
    if sys.base_prefix == "/usr" and lacks_venv():
        _install("python3-venv")


def ensure_krita() -> None:
    """Install Krita, and a screen that nobody sees, for the tests of the plugin."""
    if not all(map(shutil.which, ("krita", "Xvfb"))):
        _install(*_KRITA)


def ensure_chromium() -> None:
    """Install Chromium, for the tests of the pages that `gknet` makes."""
    if not shutil.which("chromium"):
        _install("chromium")


def gimp_root() -> Path:
    """Where GIMP 3 is, once ensure_gimp() has been called: Debian 12 has none, so it is in a Debian 13 of its own."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "harmonize" / "gimp-3"


def ensure_gimp() -> None:
    """Build that Debian 13, which takes some minutes, if it is not there. It is for `chroot`; nothing is mounted."""
    root = gimp_root()
    if root.exists() or not _can_install():
        return
    started = time.monotonic()
    print(f"building a Debian 13 with GIMP 3 in {root}", flush=True)
    _install("debootstrap")
    partial = root.with_name(f"{root.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        _run("debootstrap", "--variant=minbase", "trixie", str(partial), _mirror())
        policy = partial / "usr" / "sbin" / "policy-rc.d"
        policy.write_text(_NO_DAEMONS)
        policy.chmod(0o755)
        shutil.copy("/etc/resolv.conf", partial / "etc")
        inside = ("chroot", str(partial))
        _run(*inside, "apt-get", "-qq", "update")
        _run(*inside, "apt-get", "-qq", "install", "--yes", "--no-install-recommends", *_GIMP)
        _run(*inside, "apt-get", "clean")
        (partial / FIRST_START).mkdir()
        _run(*inside, "env", f"HOME=/{FIRST_START}", "gimp-console-3.0", "-i", "-d", "--quit")
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stdout", None) or ""
        print(f"{said[-2000:]}\nerror: GIMP 3 could not be installed: {error}", file=sys.stderr)
        return  # the tests that need it fail
    partial.rename(root)
    print(f"GIMP 3 is in {root} ({time.monotonic() - started:.0f} s)", flush=True)


def _can_install() -> bool:
    return shutil.which("apt-get") is not None and os.geteuid() == 0


def _install(*packages: str) -> None:
    if _can_install():
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
            subprocess.run(["apt-get", "-qq", *arguments], check=False, env=_QUIET, stdout=subprocess.DEVNULL)


def _mirror() -> str:
    """Debian's mirror that this machine uses."""
    line = ["apt-get", "indextargets", "--format", "$(REPO_URI)"]
    uris = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return next((uri for uri in uris if uri.rstrip("/").endswith("/debian")), uris[0] if uris else "")


def _run(*line: str) -> None:
    environment = {name: value for name, value in _QUIET.items() if name != "LD_PRELOAD"}
    subprocess.run(line, check=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
