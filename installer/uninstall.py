"""`uninstall`: removes what `install` made, and nothing else. What the user has changed is kept, and named."""

from __future__ import annotations

from pathlib import Path

from installer import command, editors, kritarc, manifest, product
from installer.install import stop_daemon
from installer.manifest import Plugin
from installer.progress import Bar
from installer.swap import heal


def uninstall(prefix: Path, bar: Bar) -> None:
    """Remove an installation, or what an installer that was killed has left of one.

    Raises:
        ManifestError: it cannot be known what was installed.
        OSError: something cannot be removed; the next run goes on from there.
    """
    if not prefix.is_dir():
        bar.finish(f"nothing is installed in {prefix}")
        return
    with manifest.locked(prefix):
        found = manifest.read(prefix)
        environments = product.environments(prefix)
        for environment in environments:
            stop_daemon(environment, bar)
        for place in editors.find():  # an installer that was killed may have left something beside a plugin
            heal(place)
        for plugin in found.plugins if found else []:
            if other := _other_owner(plugin, prefix):
                bar.finish(f"left as it is: the plugin for {plugin.place}, which {other} has now")
                continue
            bar.finish(f"step: the plugin for {plugin.place}")
            for path in _remove(plugin):
                bar.finish(f"kept, for it was changed: {path}")
        for environment in environments:
            bar.finish(f"step: {environment.name}")
            product.remove(environment)
        if found or environments:
            command.remove(prefix)
            (prefix / "install.log").unlink(missing_ok=True)
        (prefix / manifest.FILE).unlink(missing_ok=True)
    (prefix / manifest.LOCK).unlink(missing_ok=True)
    if not any(prefix.iterdir()):
        prefix.rmdir()
    bar.finish(
        "harmonize is uninstalled; its settings and its log are yours, and were kept"
        if found or environments
        else f"nothing is installed in {prefix}"
    )


def _other_owner(plugin: Plugin, prefix: Path) -> str:
    """The Python that a plugin starts if it is of another installation, which has put its own in the place of ours."""
    try:
        python = plugin.python()
    except (OSError, ValueError):
        return ""
    return "" if Path(python).is_relative_to(prefix) else python


def _remove(plugin: Plugin) -> list[Path]:
    """Remove the files that are as they were installed, and then empty folders; return the changed ones."""
    heal(plugin.place)
    kept = plugin.changed()
    folder = Path(plugin.folder)
    for name in plugin.files:
        if folder / name not in kept:
            (folder / name).unlink(missing_ok=True)
    for item in plugin.place.items:
        _prune(folder / item)
    for made in map(Path, reversed(plugin.folders)):
        if made.is_dir() and not any(made.iterdir()):
            made.rmdir()
    if plugin.config:
        kritarc.forget(Path(plugin.config))
    return kept


def _prune(folder: Path) -> None:
    """Remove the folder and those in it, but for those that hold a file other than what Python compiled."""
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("__pycache__/*.pyc")):
        path.unlink()
    for path in sorted([folder, *folder.rglob("*")], reverse=True):
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()
