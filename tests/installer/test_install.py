"""Real installations, into a home of its own and without a network: out of a bundle that is made once and kept."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer import command, manifest
from installer.bundle import PLUGINS
from installer.debian import FIRST_START, gimp_root
from installer.environment import ROOT, InstallError
from installer.manifest import Manifest
from installer.product import CODE, NO_CACHES, Product, choices
from tests.need import need
from tests.places import EXAMPLES

KRITARC = b"[python]\nenable_other=true\n\n[theme]\nTheme=Krita dark\n"
CHANGE = ("harmonize_layer.py", "\n# A change of the user's.\n")


class Home:
    """A user's home with Krita and GIMP 3 in it, and a checkout.

    Attributes:
        folder: HOME.
        prefix: where the product is installed.
        checkout: what installs it.
        said: what the first installation printed.
    """

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder = folder / "Zoë B"
        self.prefix = self.folder / ".local" / "share" / "harmonize"
        self.krita = self.folder / ".local" / "share" / "krita" / "pykrita" / "harmonize_layer"
        self.gimp = self.folder / ".config" / "GIMP" / "3.0" / "plug-ins" / "harmonize_layer"
        self.kritarc = self.folder / ".config" / "kritarc"
        self.settings = self.folder / ".config" / "harmonize" / "settings.toml"
        self.checkout = folder / "checkout"
        self.bundle = bundle
        self.runtime = folder / "run"
        self.said = ""
        # On PYTHONPATH, as on a cluster: a package that lacks another, which pip would complain of.
        self.elsewhere = folder / "elsewhere"
        strange = self.elsewhere / "strange-1.0.dist-info" / "METADATA"
        strange.parent.mkdir(parents=True)
        strange.write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\nRequires-Dist: nowhere-to-be-had\n")
        for path in (self.krita.parent, self.gimp.parent.parent, self.settings.parent):
            path.mkdir(parents=True)
        self.kritarc.write_bytes(KRITARC)
        self.settings.write_text('device = "cpu"\n')
        for name in (*CODE, *PLUGINS):
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, self.checkout / name, ignore=NO_CACHES)
            else:
                shutil.copy(ROOT / name, self.checkout)

    @property
    def variables(self) -> dict[str, str]:
        hidden = ("PIP_", "PYTHON", "XDG_", "LD_")
        variables = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        own = {"HOME": str(self.folder), "HARMONIZE_RUNTIME_DIR": str(self.runtime), "PIP_NO_INDEX": "1"}
        return {
            **variables,
            **own,
            "PIP_CONFIG_FILE": os.devnull,
            "PYTHONIOENCODING": "utf-8",
            "PYTHONPATH": str(self.elsewhere),
        }

    def line(self, *arguments: str) -> list[str]:
        offline = ["--offline", str(self.bundle), "--torch", "cpu"] if arguments[0] == "install" else []
        # A namespace without a network; where that takes rights that are lacking, pip at least looks for none.
        alone = ["unshare", "--net"] if can("unshare", "--net", "true") else []
        return [*alone, sys.executable, "-m", "installer", *arguments, *offline]

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.line(*arguments), cwd=self.checkout, env=self.variables, capture_output=True, encoding="utf-8"
        )

    def kill_at(self, step: str, *arguments: str) -> None:
        """Run it, and end it and all that it has started when it says that it begins with a step."""
        process = subprocess.Popen(
            self.line(*arguments),
            cwd=self.checkout,
            env=self.variables,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith(f"step: {step}"):
                os.killpg(process.pid, signal.SIGKILL)
                break
        else:
            pytest.fail(f"there was no step {step!r}: {lines}")
        process.wait()
        process.stdout.close()

    def manifest(self) -> Manifest:
        found = manifest.read(self.prefix)
        assert found is not None
        return found

    def backends(self) -> list[Path]:
        """The interpreters that the plugins start."""
        files = (self.krita / "backend.json", self.gimp / "harmonize" / "backend.json")
        return [Path(json.loads(file.read_text(encoding="utf-8"))["python"]) for file in files]

    def harmonize(self, *arguments: str, python: Path | None = None) -> subprocess.CompletedProcess[str]:
        line = [str(python or self.backends()[0]), "-m", "backend.cli", *arguments]
        return subprocess.run(line, cwd=self.folder, env=self.variables, capture_output=True, encoding="utf-8")

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """By the command that `install` names, which has the same path in every version."""
        line = [str(command.path(self.prefix)), *arguments]
        return subprocess.run(line, cwd=self.folder, env=self.variables, capture_output=True, encoding="utf-8")

    def files(self) -> dict[str, tuple[int, int]]:
        """All of the user's files, but for what Python compiles when it runs: size and time."""
        paths = [path for path in self.folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


@functools.cache
def can(*line: str) -> bool:
    """Whether the command is there, and this user may run it."""
    return shutil.which(line[0]) is not None and subprocess.run(line, capture_output=True).returncode == 0


@pytest.fixture(scope="session")
def bundle() -> Path:
    """An archive with all packages for this machine: made with the network once, and kept until a pin changes."""
    try:
        product = Product(Path(), choices("cpu")[0])
    except InstallError as error:  # it is not pinned for every Python
        pytest.skip(f"needs torch without CUDA: {error}")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "harmonize"
    path = cache / f"bundle-{product.packages_digest()[:16]}.zip"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        line = [sys.executable, "-m", "installer", "bundle", str(path), "--torch", "cpu"]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, encoding="utf-8")
        need(done.returncode == 0, f"the network, or a bundle in {cache}: {done.stderr}")
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Home]:
    """The product, installed. The tests of this file use it one after another, as its user would."""
    home = Home(tmp_path_factory.mktemp("home"), bundle)
    done = home("install")
    assert done.returncode == 0, done.stdout + done.stderr
    home.said = done.stdout
    yield home
    if home.prefix.exists():
        home("uninstall")


def test_it_installs_without_a_network(home: Home) -> None:
    steps = re.findall(r"^step: (.+)$", home.said, re.MULTILINE)
    assert [step.split()[0] for step in steps] == [
        *("unpacking", "the", "pip", "torch", "the", "harmonize", "checking", "the", "the")
    ]
    assert "weights gknet-lite " in home.said
    assert home.kritarc.read_bytes() == KRITARC.replace(b"[python]\n", b"[python]\nenable_harmonize_layer=true\n")
    assert os.access(home.gimp / "harmonize_layer.py", os.X_OK)
    assert {python.parents[1].name for python in home.backends()} == {home.manifest().environment}
    log = json.loads((home.krita / "backend.json").read_text(encoding="utf-8"))["log"]
    assert log.startswith(str(home.folder))


def test_it_works_when_the_checkout_is_gone(home: Home, tmp_path: Path) -> None:
    away = home.checkout.rename(tmp_path / "away")
    try:
        picture, mask = (EXAMPLES / f"astronaut{end}" for end in (".jpg", "_mask.png"))
        done = home.harmonize("run", str(picture), str(mask), "-o", str(tmp_path / "out.png"))
        assert done.returncode == 0 and (tmp_path / "out.png").exists(), done.stderr
        program = home.prefix / home.manifest().environment / "bin" / "harmonize"
        assert subprocess.run([program, "--help"], env=home.variables, capture_output=True).returncode == 0
    finally:
        away.rename(home.checkout)


def test_twice_is_no_change(home: Home) -> None:
    before = home.files()
    done = home("install")
    assert done.returncode == 0 and "no change" in done.stdout, done.stdout + done.stderr
    assert home.files() == before


def test_doctor_sees_all(home: Home) -> None:
    done = home("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("installation", "Krita", "GIMP 3.0", "packages", "weights", "self-test"):
        assert re.search(rf"^ok  {name}", done.stdout, re.MULTILINE), done.stdout
    assert "all is as it should be" in done.stdout


def test_doctor_says_what_to_do(home: Home) -> None:
    link = home.krita / "link" / "client.py"
    (home.gimp / "icon.svg").unlink()
    link.write_text(link.read_text(encoding="utf-8") + "# another version\n", encoding="utf-8")
    done = home("doctor")
    assert done.returncode == 1
    assert re.search(r"^BAD Krita .*another version.*client\.py\n    -> run `python3 -m", done.stdout, re.MULTILINE)
    assert re.search(r"^BAD GIMP 3.0 .*are missing.*icon\.svg\n    -> run `python3 -m", done.stdout, re.MULTILINE)
    assert f"your change of {link} is replaced" in home("install").stdout
    home.kritarc.write_bytes(home.kritarc.read_bytes().replace(b"layer=true", b"layer=false"))
    done = home("doctor")
    assert done.returncode == 1
    assert re.search(r"^BAD Krita .*not enabled.*\n    -> enable it in Krita", done.stdout, re.MULTILINE)
    assert "ok  GIMP 3.0" in done.stdout
    # What the user has disabled stays so.
    assert home("install").returncode == 0 and b"layer=false" in home.kritarc.read_bytes()
    home.kritarc.write_bytes(home.kritarc.read_bytes().replace(b"layer=false", b"layer=true"))


def test_krita_sees_the_plugin(home: Home, tmp_path: Path) -> None:
    need(all(map(shutil.which, ("krita", "Xvfb"))), "Krita and Xvfb")
    (tmp_path / ".local" / "share" / "krita").mkdir(parents=True)
    variables = installed_for_another(home, tmp_path)
    read, write = os.pipe()
    line = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1024x768x24", "-nolisten", "tcp"]
    screen = subprocess.Popen(line, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as pipe:
        # Krita's Python takes the modules of the first python3 on the path for its own, be it that of an environment.
        variables.update(DISPLAY=f":{pipe.readline().strip()}", LC_ALL="C.UTF-8", PATH=os.defpath)
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    krita = subprocess.Popen(["krita", "--nosplash"], env=variables, **silent)
    plugin = tmp_path / ".local" / "share" / "krita" / "pykrita" / "harmonize_layer"
    try:
        deadline = time.monotonic() + 300
        # Python compiles what is imported, and Krita imports what it has found and is told to enable.
        while not list(plugin.glob("__pycache__/extension.*.pyc")):
            assert krita.poll() is None and time.monotonic() < deadline, "Krita has not loaded the plugin"
            time.sleep(0.2)
    finally:
        for process in (krita, screen):
            process.kill()
            process.wait()


def test_gimp_sees_the_plug_in(home: Home) -> None:
    root = gimp_root()
    need(root.exists(), f"GIMP 3 in {root}")
    folder = Path(tempfile.mkdtemp(prefix="hz", dir=root / "tmp"))
    try:
        shutil.copytree(root / FIRST_START, folder / "Zoë B")
        variables = installed_for_another(home, folder / "Zoë B")
        inside = root / root.relative_to("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        if not inside.is_symlink():
            inside.symlink_to("/")  # paths mean the same inside as outside
        answer = folder / "answer"
        ask = f"open({str(answer)!r}, 'w').write(str(Gimp.get_pdb().procedure_exists('plug-in-harmonize-layer')))"
        gimp = ["gimp-console-3.0", "-i", "-d", "--batch-interpreter=python-fu-eval", "-b", ask, "--quit"]
        subprocess.run(["chroot", str(root), *gimp], env=variables, capture_output=True, timeout=300)
        assert answer.read_text() == "True"
    finally:
        shutil.rmtree(folder)


def installed_for_another(home: Home, folder: Path) -> dict[str, str]:
    """Install for an editor's own home too, since it fills it with files; what is returned are its variables."""
    variables = {**home.variables, "HOME": str(folder)}
    line = home.line("install", "--prefix", str(home.prefix))
    subprocess.run(line, cwd=home.checkout, env=variables, check=True, stdout=subprocess.DEVNULL)
    return variables


def test_what_is_damaged_is_made_anew(home: Home) -> None:
    environment = home.prefix / home.manifest().environment
    (library,) = environment.glob("lib/python3.*/site-packages")
    shutil.rmtree(library / "safetensors")
    assert home("doctor").returncode == 1
    done = home("install")
    assert done.returncode == 0 and "is damaged, and is made anew" in done.stdout, done.stdout + done.stderr
    assert home("doctor").returncode == 0


def test_of_two_installations_each_takes_its_own(home: Home, tmp_path: Path) -> None:
    other = tmp_path / "other"
    done = home("install", "--prefix", str(other))
    assert done.returncode == 0 and other in home.backends()[0].parents
    assert home("install").returncode == 0 and home.prefix in home.backends()[0].parents
    done = home("uninstall", "--prefix", str(other))
    assert done.returncode == 0 and done.stdout.count("left as it is: the plugin") == 2 and not other.exists()
    assert home("doctor").returncode == 0


def test_a_folder_with_other_things_is_refused_and_left_alone(home: Home, tmp_path: Path) -> None:
    for name in ("environment-study/thesis.txt", "environment-notes.txt", "install.log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    done = home("install", "--prefix", str(tmp_path))
    assert done.returncode == 2 and "holds other things" in done.stderr
    assert "nothing is installed" in home("uninstall", "--prefix", str(tmp_path)).stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_advised_names_the_folder(home: Home, tmp_path: Path) -> None:
    said = home("doctor", "--prefix", str(tmp_path)).stdout
    assert f"run `python3 -m installer install --prefix {tmp_path}`" in said
    done = home("bundle", str(tmp_path / "no" / "bundle.zip"))
    assert done.returncode == 2 and f"there is no folder {tmp_path / 'no'}" in done.stderr


def test_full_disk_is_told_and_leaves_nothing(home: Home, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not can("unshare", "--mount", "mount", "-t", "tmpfs", "none", str(disk)):
        pytest.skip("needs the right to make a small disk, which root has")
    before = home.files()
    inner = home.line("install", "--prefix", str(disk / "p"))
    script = 'mount -t tmpfs -o size=24m none "$0" && "$@"; echo "status $?"; find "$0/p" -mindepth 1'
    line = ["unshare", "--mount", "sh", "-c", script, str(disk), *inner]
    done = subprocess.run(line, cwd=home.checkout, env=home.variables, capture_output=True, encoding="utf-8")
    said, _, left = done.stdout.partition("status 1\n")
    kept = [str(disk / "p" / name) for name in ("install.log", manifest.LOCK)]
    assert sorted(left.split()) == kept, done.stdout + done.stderr
    assert "No space left" in done.stderr and "ake room" in done.stderr, done.stderr
    assert home.files() == before


def test_an_upgrade_that_is_killed_at_any_step_leaves_what_works(home: Home) -> None:
    project = home.checkout / "pyproject.toml"
    project.write_text(project.read_text(encoding="utf-8").replace('version = "0.1.0"', 'version = "0.1.1"'))
    old = home.backends()[0]
    assert home.harmonize("status").returncode == 3
    daemon = subprocess.Popen(
        [str(old), "-m", "backend.cli", "serve"], cwd=home.folder, env=home.variables, stderr=subprocess.DEVNULL
    )
    try:
        for step in ("the environment", "harmonize itself", "checking", "the plugin for Krita", "the plugin for GIMP"):
            home.kill_at(step, "install")
            assert set(home.backends()) == {old}
            assert home.harmonize("--help").returncode == home.command("--help").returncode == 0
        assert daemon.poll() is None
        home.kill_at("removing", "install")  # from here on, the new version is what works
        assert old not in home.backends()
        assert home.harmonize("--help").returncode == home.command("--help").returncode == 0
        done = home("install")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "weights" not in done.stdout  # the environment had been completed before
        assert daemon.wait(20) == 0  # one of another version is not to answer the plugins
    finally:
        daemon.kill()
        daemon.wait()
    (environment,) = home.prefix.glob("environment-*")
    assert environment.name.startswith("environment-0.1.1-") and not old.exists()
    assert {python.parents[1] for python in home.backends()} == {environment}
    assert home.settings.read_text() == 'device = "cpu"\n'
    assert home.manifest().version == "0.1.1"
    done = home("doctor")
    assert done.returncode == 0 and "harmonize 0.1.1" in done.stdout, done.stdout
    assert command.starts(home.prefix, environment) and home.command("status").returncode == 3


def test_uninstall_takes_all_and_nothing_else(home: Home) -> None:
    changed, mine = home.gimp / CHANGE[0], home.krita / "mine.txt"
    changed.write_text(changed.read_text(encoding="utf-8") + CHANGE[1], encoding="utf-8")
    mine.write_text("not of the installer")
    home.kill_at("the plugin for GIMP", "uninstall")
    done = home("uninstall")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"kept, for it was changed: {changed}" in done.stdout
    # Other programs write into a home as well, and the log is the user's.
    ours = tuple(str(home.folder / name) for name in (".config", ".local/share"))
    left = {Path(path) for path in home.files() if path.startswith(ours)}
    assert left == {home.kritarc, home.settings, changed, mine}
    assert home.kritarc.read_bytes() == KRITARC
    assert not home.prefix.exists() and not (home.krita.parents[1] / "actions").exists()
    done = home("uninstall")
    assert done.returncode == 0 and "nothing is installed" in done.stdout
    assert "nothing is installed" in home("doctor").stdout
