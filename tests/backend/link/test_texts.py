"""The sentences that plugins show."""

from __future__ import annotations

import pytest

from backend.link.messages import Accepted, Code, LinkError, Pixels, Progress, Rect, Result
from backend.link.texts import TEXTS, Refusal, explain, layer_name, progress, summary, text
from backend.worker import STAGES

CODES = [value for name, value in vars(Code).items() if name.isupper()]


@pytest.mark.parametrize("code", CODES)
def test_every_error_says_what_happened_and_ends_as_a_sentence(code: str) -> None:
    assert f"error.{code}" in TEXTS
    said = explain(LinkError(code, "MESSAGE", "HINT"))
    assert said.endswith(".") and ".." not in said and "{" not in said


def test_every_text_for_an_error_has_its_code() -> None:
    assert {key for key in TEXTS if key.startswith("error.")} == {f"error.{code}" for code in CODES} | {"error.log"}


def test_an_unknown_error_is_told_as_the_daemon_tells_it_with_its_log() -> None:
    error = LinkError("moonlight", "the moon is up.", "wait for the sun", "/log")
    assert explain(error) == "The harmonization failed: the moon is up. Wait for the sun.\nThe log: /log"
    assert explain(LinkError("moonlight", "the moon is up")).endswith("Harmonize again.")


def test_what_to_do_about_a_bad_picture_is_told_where_the_daemon_knows_it() -> None:
    said = explain(LinkError(Code.BAD_IMAGE, "the selection contains NaN", "paint over it there"))
    assert said == "This picture cannot be harmonized: the selection contains NaN. Paint over it there."
    assert explain(LinkError(Code.BAD_IMAGE, "it is blue")) == "This picture cannot be harmonized: it is blue."


def test_every_stage_has_a_text_and_an_unknown_one_is_shown() -> None:
    for stage in (*STAGES, "queued", "starting", "copy"):
        assert progress(Progress("1", stage, 0.5)) == TEXTS[f"stage.{stage}"]
    assert progress(Progress("1", "polish", 0.5)) == "Polish"
    assert progress(Accepted("1", ahead=2)) == TEXTS["stage.queued"]
    assert progress(Accepted("1")) == TEXTS["stage.copy"]


def test_a_summary_names_time_model_device_and_notes() -> None:
    pixels = Pixels(Rect(0, 0, 1, 1), "GRAYA", "u8", b"\0\0")
    result = Result("1", pixels, "gknet-lite", "cpu", notes=("The memory of cuda did not suffice.",))
    assert summary(result, 1.26) == "Harmonized in 1.3 s: gknet-lite on cpu. The memory of cuda did not suffice."


def test_names_and_refusals() -> None:
    assert layer_name("cup {1}") == "cup {1} (harmonized)"
    assert str(Refusal("group_locked", group="tree")) == text("group_locked", group="tree")
