"""docs/protocol.md says what the code does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgpack
import pytest

from backend import worker
from backend.link import messages
from backend.link.messages import CHANNELS, ITEM_BYTES, Code, pack, unpack_reply, unpack_request
from backend.settings import Settings
from gknet import color

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")
SENT, ANSWERED = TEXT.split("## What the daemon sends")


def headers(text: str) -> list[dict[str, Any]]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]


def frames(header: dict[str, Any]) -> list[bytes]:
    """A message with this header."""

    def data(name: str) -> bytes:
        if name not in header:
            return b"profile"
        _, _, width, height = header[name]["rect"]
        return bytes(width * height * CHANNELS[header[name]["layout"]] * ITEM_BYTES[header[name]["dtype"]])

    return [msgpack.packb(header), *map(data, header.get("frames", []))]


@pytest.mark.parametrize("header", headers(SENT), ids=lambda header: header["type"])
def test_a_request_of_the_document_is_one(header: dict[str, Any]) -> None:
    message = unpack_request(frames(header))
    assert msgpack.unpackb(pack(message)[0]) == header  # no field is missing, none has another meaning


@pytest.mark.parametrize("header", headers(ANSWERED), ids=lambda header: header["type"])
def test_a_reply_of_the_document_is_one(header: dict[str, Any]) -> None:
    message = unpack_reply(frames(header))
    assert msgpack.unpackb(pack(message)[0]) == header


def test_every_message_is_there() -> None:
    assert {header["type"] for header in headers(SENT)} == set(messages._REQUESTS)
    assert {header["type"] for header in headers(ANSWERED)} == set(messages._REPLIES)


def test_the_dump_is_that_of_status() -> None:
    (dump,) = re.findall(r"^    ((?:[0-9a-f]{2} )+[0-9a-f]{2})$", TEXT, re.MULTILINE)
    (count,) = re.findall(r"one frame of (\d+) bytes", TEXT)
    assert [bytes.fromhex(dump)] == pack(messages.GetStatus()) and len(bytes.fromhex(dump)) == int(count)


def test_codes_stages_and_limits_are_the_codes() -> None:
    tables = TEXT.split("## Error codes")[1].split("## Limits")
    codes = {value for name, value in vars(Code).items() if name.isupper()}
    assert set(re.findall(r"^\| `(\w+)` \|", tables[0], re.MULTILINE)) == codes
    stages = re.findall(r"`(\w+)`", TEXT.split("the stage is")[1].split("```json")[0])
    assert stages[:-1] == ["starting", "queued", "copy", *worker.STAGES] and stages[-1] == "fraction"
    limits = dict(re.findall(r"^\| ([\w ,]+?) \| (\d+)", tables[1], re.MULTILINE))
    assert {name: int(value) for name, value in limits.items()} == {
        "header": messages.HEADER_BYTES,
        "frames of a message": messages.FRAMES,
        "a job, and all jobs that wait together": Settings().job_bytes,
        "ICC profile": messages.ICC_BYTES,
        "names": messages.NAME,
        "jobs in the daemon": Settings().queue,
        "a handshake": 10,
    }


def test_transfers_are_those_of_the_engine() -> None:
    assert messages.TRANSFERS == color.TRANSFERS


def test_the_link_runs_on_an_editors_old_python() -> None:
    """What syntax and modules it uses; an editor's tests run it on what Python that editor has."""
    line = [str(Path(sys.executable).with_name("vermin")), "--no-tips", "--target=3.8-", "--violations"]
    done = subprocess.run([*line, str(Path(messages.__file__).parent)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
