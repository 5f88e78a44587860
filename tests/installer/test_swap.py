"""A plugin replaced by another: whole at every moment that a kill can leave, and back as it was when undone."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from installer import swap
from installer.editors import Place
from installer.swap import Swap

PYTHON = Path(sys.executable)


class Killed(BaseException):
    """The process ends here: nothing after this call has happened."""


@pytest.fixture(params=["krita", "gimp"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, "native", tmp_path / "Zoë B" / "3.0")


def tree(place: Place) -> dict[str, bytes]:
    folder = place.folder.parent
    return {str(one.relative_to(folder)): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}


def older(place: Place) -> dict[str, bytes]:
    """Put an older plugin there, which has a file of its own, and return what there is."""
    for item in place.items:
        path = place.folder / item
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            path.write_text("old")
        else:
            path.mkdir()
            (path / "old.py").write_text("old")
    (place.folder / "of_the_user").write_text("mine")
    return tree(place)


def test_files_are_those_that_it_says_and_the_old_ones_are_gone(place: Place) -> None:
    older(place)
    one = Swap(place)
    plugin = one.stage(PYTHON)
    one.put()
    one.finish()
    assert {f"3.0/{name}" for name in plugin.files} | {"3.0/of_the_user"} == set(tree(place))
    assert not plugin.changed() and not plugin.missing() and plugin.folders == []
    assert (place.package / "backend.json").is_file() and (place.package / "link" / "client.py").is_file()


def test_what_the_user_has_put_beside_the_older_one_comes_along(place: Place) -> None:
    one = Swap(place)
    known = one.stage(PYTHON).files
    one.put()
    one.finish()
    mine, obsolete = place.package / "deep" / "mine.txt", place.package / "obsolete.py"
    mine.parent.mkdir()
    mine.write_text("mine")
    obsolete.write_text("of an older version")
    one = Swap(place)
    plugin = one.stage(PYTHON, {**known, obsolete.relative_to(place.folder).as_posix(): []})
    one.put()
    one.finish()
    assert mine.read_text() == "mine" and not obsolete.exists()
    assert set(plugin.files) == set(known)


def test_undone_it_is_as_before(place: Place) -> None:
    before = older(place)
    one = Swap(place)
    one.stage(PYTHON)
    one.put()
    assert tree(place) != before
    one.undo()
    assert tree(place) == before


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs another disk")
def test_a_link_to_another_disk(place: Place) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as disk:
        older(place)
        item = place.folder / Path(place.items[0]).parts[0]
        shutil.copytree(item, Path(disk) / "there")
        shutil.rmtree(item)
        item.symlink_to(Path(disk) / "there")
        before = tree(place), sorted(Path(disk).rglob("*"))
        one = Swap(place)
        one.stage(PYTHON)
        one.put()
        one.undo()
        assert (tree(place), sorted(Path(disk).rglob("*"))) == before
        one = Swap(place)
        plugin = one.stage(PYTHON)
        one.put()
        one.finish()
        assert not plugin.missing() and not plugin.changed() and item.is_symlink()


def test_undone_where_there_was_none_nothing_is_left(place: Place) -> None:
    place.folder.parent.mkdir()
    one = Swap(place)
    plugin = one.stage(PYTHON)
    one.put()
    assert plugin.folders[0] == str(place.folder)
    one.undo()
    assert not place.folder.exists() and place.folder.parent.exists()


def test_killed_at_any_renaming_each_part_is_old_or_new_after_the_next_run(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    older(place)
    rename, whole = os.replace, 0
    for survivors in range(2 * len(place.items)):
        left = survivors

        def replace(source: Path, target: Path) -> None:
            nonlocal left
            if not left:
                raise Killed
            left -= 1
            rename(source, target)

        one = Swap(place)
        one.stage(PYTHON)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(os, "replace", replace)
            one.put()
        swap.heal(place)
        assert all((place.folder / item).exists() for item in place.items)
        assert {path.name for path in place.folder.iterdir()} <= {"pykrita", "actions", "plug-ins", "of_the_user"}
        whole += 1
    assert whole == 2 * len(place.items)
