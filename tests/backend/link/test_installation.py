"""backend.json: what the installer leaves beside a plugin."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from backend.link.installation import FILE, Installation, read_installation
from backend.link.messages import Code, LinkError


def test_it_names_python_and_may_name_the_rest(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"python": sys.executable}))
    assert read_installation(tmp_path) == Installation(sys.executable)
    rest = {"connection": str(tmp_path / "c.json"), "log": str(tmp_path / "ä.log"), "models": ["a", "b"]}
    (tmp_path / FILE).write_text(json.dumps({"python": sys.executable, **rest}), encoding="utf-8")
    paths = tmp_path / "c.json", tmp_path / "ä.log"
    assert read_installation(tmp_path) == Installation(sys.executable, *paths, ("a", "b"))


@pytest.mark.parametrize(
    "content",
    [None, "", "[]", "null", "{}", '{"python": 3}', '{"python": "/nowhere/python"}', '{"python": "x", "log": 1}'],
)
def test_what_is_missing_or_damaged_is_told(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / FILE).write_text(content)
    with pytest.raises(LinkError) as raised:
        read_installation(tmp_path)
    assert raised.value.code == Code.NOT_INSTALLED


def test_an_interpreter_that_cannot_be_seen_from_a_sandbox_is_there(tmp_path: Path) -> None:
    link = tmp_path / "python"
    link.symlink_to("/nowhere/python")
    (tmp_path / FILE).write_text(json.dumps({"python": str(link)}))
    assert read_installation(tmp_path).python == str(link)
