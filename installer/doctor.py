"""`doctor`: what is installed where, whether it fits together and works, and what to do about what does not."""

from __future__ import annotations

import filecmp
import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from installer import command, editors, kritarc, manifest
from installer.environment import Environment
from installer.manifest import Manifest, ManifestError, Plugin
from installer.progress import Bar, Step

_LINK = "import backend.link; print(backend.link.__path__[0])"


@dataclass(frozen=True)
class Finding:
    """One look; `advice` says what to do where it is not fine, or what to know."""

    name: str
    fine: bool
    text: str
    advice: str = ""


def _again(prefix: Path) -> str:
    named = "" if prefix == manifest.default_prefix() else f" --prefix {shlex.quote(str(prefix))}"
    return f"run `python3 -m installer install{named}` again"


def examine(prefix: Path, bar: Bar) -> int:
    """Show all findings. The exit status: 0 when all are fine."""
    bad = 0
    for finding in _findings(prefix, bar):
        bar.finish(f"{'ok ' if finding.fine else 'BAD'} {finding.name}: {finding.text}")
        if finding.advice:
            bar.finish(f"    -> {finding.advice}")
        bad += not finding.fine
    bar.finish("all is as it should be" if not bad else f"{bad} of these are not as they should be: see the arrows")
    return 1 if bad else 0


def _findings(prefix: Path, bar: Bar) -> Iterator[Finding]:
    try:
        found = manifest.read(prefix)
    except ManifestError as error:
        yield Finding("installation", False, str(error))
        return
    if found is None:
        yield Finding("installation", False, f"nothing is installed in {prefix}", _again(prefix).removesuffix(" again"))
        return
    environment = Environment(prefix / found.environment)
    if not environment.python.exists():
        text = f"version {found.version}, but there is no Python at {environment.python}"
        yield Finding("installation", False, text, _again(prefix))
        return
    yield Finding("installation", True, f"version {found.version} in {environment.folder}")
    place = command.path(prefix)
    if command.starts(prefix, environment.folder):
        yield Finding("command", True, str(place))
    else:
        yield Finding("command", False, f"{place} does not start this version", _again(prefix))
    yield from _places(found, environment)
    bar.show(Step("testing the environment"))
    yield from _environment(environment)


def _places(found: Manifest, environment: Environment) -> Iterator[Finding]:
    """Of every editor that has the plugin, or could have it."""
    again = _again(environment.folder.parent)
    asked = environment.run("-c", _LINK)
    link = None if asked.returncode else Path(asked.stdout.strip())  # else the program itself is what is reported
    for plugin in found.plugins:
        yield _plugin(plugin, link, environment)
    known = [plugin.folder for plugin in found.plugins]
    for place in editors.find():
        if str(place.folder) not in known:
            yield Finding(str(place), True, "does not have the plugin", f"{again} to put it there")
    if not known and not editors.find():
        yield Finding("editors", True, "no Krita and no GIMP 3 of this user is here", f"start one, and {again}")


def _plugin(plugin: Plugin, link: Path | None, environment: Environment) -> Finding:
    """Of one plugin; `link` is the program's own, where that can be compared."""
    place, again = plugin.place, _again(environment.folder.parent)
    name = str(place)
    if missing := plugin.missing():
        return Finding(name, False, f"{len(missing)} files are missing, such as {missing[0]}", again)
    try:
        python = plugin.python()
    except (OSError, ValueError) as error:
        return Finding(name, False, f"backend.json cannot be read ({error})", again)
    if python != str(environment.python):
        return Finding(name, False, f"the plugin starts {python}, which is of another installation", again)
    if link:
        files = [path.name for path in link.glob("*.py")]
        same, different, absent = filecmp.cmpfiles(link, place.package / "link", files, shallow=False)
        if different or absent or not same:
            text = f"the plugin's link is of another version than the program's: {', '.join([*different, *absent])}"
            return Finding(name, False, text, again)
    if place.config and not kritarc.is_enabled(place.config):
        text = f"the plugin is not enabled in {place.config}"
        return Finding(name, False, text, "enable it in Krita: Settings > Configure Krita > Python Plugin Manager")
    advice = next((one.advice for one in editors.find() if one.folder == place.folder), "")
    if changed := plugin.changed():
        advice = f"to have it as it was, {again}; " + advice
        return Finding(name, True, f"the plugin is there, with changes of yours in {changed[0]}", advice.rstrip("; "))
    text = "the plugin is there, enabled, and of the program's version" if link else "the plugin is there and enabled"
    return Finding(name, True, text, advice)


def _environment(environment: Environment) -> Iterator[Finding]:
    """What the program itself finds."""
    done = environment.run("-m", "backend.cli", "doctor", "--json")
    try:
        for one in json.loads(done.stdout):
            yield Finding(one["name"], one["fine"], one["text"], one["advice"])
    except (ValueError, KeyError, TypeError):
        said = " ".join((done.stdout + done.stderr).split())[-400:]
        yield Finding("program", False, f"it does not run: {said}", _again(environment.folder.parent))
