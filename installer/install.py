"""`install`: the environment, then the plugins, then what is not needed any more. Each step is done or undone."""

from __future__ import annotations

import copy
import subprocess
from dataclasses import dataclass
from pathlib import Path

from installer import command, editors, kritarc, manifest, product
from installer.editors import Place
from installer.environment import Environment, InstallError
from installer.manifest import Manifest, Plugin
from installer.product import Product
from installer.progress import Bar
from installer.swap import Swap


@dataclass(frozen=True)
class Order:
    """What the user asks for: the options of the command."""

    prefix: Path
    editors: tuple[str, ...] = editors.EDITORS
    torch: str = "auto"
    torch_index: str | None = None
    offline: Path | None = None


def install(order: Order, bar: Bar) -> None:
    """Install, or bring an installation up to date.

    Raises:
        InstallError, ManifestError: a step failed, and why; what worked before still does.
    """
    order.prefix.mkdir(parents=True, exist_ok=True)
    if _is_foreign(order.prefix):
        raise InstallError(f"{order.prefix} holds other things: name a folder for harmonize alone", status=2)
    with manifest.locked(order.prefix):
        before = manifest.read(order.prefix)
        for folder in product.leftovers(order.prefix):
            product.remove(folder)
        places = _places(order, before, bar)
        found, is_new = _environment(order, bar)
        try:
            changed = _plugins(order.prefix, before, found, places, bar)
        except (OSError, subprocess.CalledProcessError) as error:
            if is_new and (before is None or before.environment != found.folder.name):
                product.remove(found.folder)
            raise InstallError(
                f"a plugin could not be put into its place: {error}. Make room and allow writing there, and run this "
                "again; the plugins are as they were"
            ) from error
        if not changed and not is_new:
            bar.finish("no change: all of this is installed already")
        try:
            command.write(order.prefix, found.folder)
        except OSError as error:
            raise InstallError(f"{command.path(order.prefix)} cannot be written: {error}. Run this again") from error
        _clear(order.prefix, found, bar)
    bar.finish(f"harmonize {product.version()} is installed; its command is {command.path(order.prefix)}")
    if changed and places:
        bar.finish("start your editor anew: Krita has Tools > Scripts > Harmonize Layer, GIMP Filters > Harmonize")


def _is_foreign(prefix: Path) -> bool:
    """Whether a folder that the user has named holds things, but nothing of an installer's."""
    ours = (prefix / manifest.FILE).exists() or product.environments(prefix)
    left = ("install.log", manifest.LOCK)  # of an installer that failed, or that is at work
    return prefix != manifest.default_prefix() and not ours and any(path.name not in left for path in prefix.iterdir())


def _places(order: Order, before: Manifest | None, bar: Bar) -> list[Place]:
    found = [place for place in editors.find() if place.editor in order.editors]
    for place in found:
        bar.finish(f"found {place}")
        if place.advice:
            bar.finish(f"  note: {place.advice}")
    if not found:
        bar.finish("found no Krita and no GIMP 3 of yours: start them once, and run this again; the command line works")
    # Those of an earlier installation that are not asked for now stay, and are brought up to date with the rest.
    known = [plugin.place for plugin in before.plugins] if before else []
    folders = [place.folder for place in found]
    return [*found, *(place for place in known if place.folder not in folders and place.folder.is_dir())]


def _environment(order: Order, bar: Bar) -> tuple[Product, bool]:
    """The environment, and whether it was made just now."""
    candidates = [Product(order.prefix, files) for files in product.choices(order.torch)]
    for candidate in candidates:
        if candidate.is_complete:
            fault = candidate.fault()
            if not fault:
                return candidate, False
            bar.finish(f"note: {candidate.folder.name} is damaged, and is made anew ({fault})")
            product.remove(candidate.folder)
    for candidate in candidates:
        try:
            candidate.make(bar, order.torch_index, order.offline)
        except InstallError as error:
            if candidate is candidates[-1] or "satisfies the requirement torch==" not in str(error):
                raise
            bar.finish("torch without CUDA is not on the index: taking the usual one, which is larger (--torch-index)")
        else:
            return candidate, True
    raise AssertionError("there is a candidate, and the last one returns or raises")


def _plugins(prefix: Path, before: Manifest | None, found: Product, places: list[Place], bar: Bar) -> bool:
    """Put the plugins into their places, all or none. Whether any was not there already."""
    after = Manifest(product.version(), found.folder.name)
    swaps: list[Swap] = []
    enabled: list[tuple[Path, bytes | None]] = []
    try:
        for place in places:
            bar.finish(f"step: the plugin for {place}")
            swaps.append(Swap(place))
            known = before.plugin(place.folder) if before else None
            plugin = swaps[-1].stage(found.python, known.files if known else ())
            if known:
                for path in known.changed():
                    bar.finish(f"note: your change of {path} is replaced")
                plugin.folders = [*known.folders, *(one for one in plugin.folders if one not in known.folders)]
            after.plugins.append(plugin)
            if _is_there(plugin):
                swaps.pop().finish()
        if after != before:  # an uninstall is to know all files, should this be killed from here on
            _both(before, after).write(prefix)
        for swap in swaps:
            swap.put()
        for plugin in after.plugins:
            if plugin.config and _must_enable(
                Path(plugin.config), before.plugin(Path(plugin.folder)) if before else None
            ):
                path = Path(plugin.config)
                enabled.append((path, path.read_bytes() if path.exists() else None))
                kritarc.enable(path)
        if after != before:
            after.write(prefix)
    except BaseException:
        for swap in reversed(swaps):
            swap.undo()
        for path, content in enabled:
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(content)
        if before:
            before.write(prefix)
        else:
            (prefix / manifest.FILE).unlink(missing_ok=True)
        raise
    for swap in swaps:
        swap.finish()
    return bool(swaps or enabled)


def _is_there(plugin: Plugin) -> bool:
    return not plugin.missing() and not plugin.changed()


def _must_enable(path: Path, known: Plugin | None) -> bool:
    """Whether the kritarc needs a line; a user who has disabled a plugin that was installed keeps it so."""
    enabled = kritarc.is_enabled(path)
    return enabled is None or (enabled is False and known is None)


def _both(before: Manifest | None, after: Manifest) -> Manifest:
    """While files are being replaced: what was there, and what will be."""
    both = copy.deepcopy(after)
    for plugin in before.plugins if before else []:
        new = both.plugin(Path(plugin.folder))
        if new is None:
            both.plugins.append(plugin)
            continue
        for name, sums in plugin.files.items():
            new.files[name] = list(dict.fromkeys([*sums, *new.files.get(name, [])]))
    return both


def _clear(prefix: Path, found: Product, bar: Bar) -> None:
    """End the daemon of another version, and remove its environment."""
    stale = [path for path in product.environments(prefix) if path != found.folder]
    for path in stale:
        bar.finish(f"step: removing {path.name}")
        stop_daemon(path, bar)
        try:
            product.remove(path)
        except OSError as error:  # Windows does not remove what a program uses
            bar.finish(f"note: {path} is in use and stays until you install again ({error})")


def stop_daemon(environment: Path, bar: Bar) -> None:
    """Stop the daemon, if one is running; the user hears of one that does not stop."""
    its = Environment(environment)
    if not its.python.exists():
        return
    done = its.run("-m", "backend.cli", "stop")
    if done.returncode:
        bar.finish(f"note: the daemon did not stop ({done.stderr.strip()}): end its process, or log out and in")
