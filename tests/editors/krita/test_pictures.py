"""The real action on photographs of every kind: the result is the engine's own answer, and nothing else changes."""

from __future__ import annotations

import pytest

from gknet import Harmonizer
from tests.editors.krita.photos import PLACE, SRGB, Array, Space, background, cut_out, engine, layers
from tests.editors.krita.session import Krita

HEIGHT, WIDTH = background().shape[:2]
WHOLE = (0, 0, WIDTH, HEIGHT)
RESULT = "Person (harmonized)"
LINEAR = ("sRGB-elle-V2-g10.icc", "sRGB-elle-V2-g10.icc")
GREY = ("Gray-D50-elle-V2-srgbtrc.icc", "Gray-D50-elle-V2-srgbtrc.icc")
GREY_LINEAR = ("Gray-D50-elle-V2-g10.icc", "Gray-D50-elle-V2-g10.icc")
SPACES = [
    SRGB,
    Space("RGBA", "U16", *LINEAR),
    Space("RGBA", "U16", SRGB.profile, SRGB.file),
    Space("RGBA", "F16", *LINEAR),
    Space("RGBA", "F32", *LINEAR),
    Space("RGBA", "U8", "ClayRGB-elle-V2-g22.icc", "ClayRGB-elle-V2-g22.icc"),
    Space("GRAYA", "U8", *GREY),
    Space("GRAYA", "U16", *GREY_LINEAR),
    Space("GRAYA", "F32", *GREY_LINEAR),
]


def seen(krita: Krita, space: Space) -> Array:
    """What the document shows."""
    return space.decode(krita("seen", rect=WHOLE), WHOLE)


def shown(krita: Krita, name: str, space: Space) -> Array:
    """A layer's own pixels within the document."""
    return space.decode(krita("pixels", name=name, rect=WHOLE, projection=True), WHOLE)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: f"{space.model}-{space.depth}-{space.profile}")
def test_a_pasted_layer(krita: Krita, harmonizer: Harmonizer, space: Space) -> None:
    assert krita("create", **layers(space)) == space.profile
    picture, person, before = seen(krita, space), shown(krita, "Person", space), krita("state")
    line, boxes = krita("harmonize")
    assert boxes == [] and harmonizer.model in line
    rect, expected = engine(harmonizer, space, picture, person[..., -1])
    got = space.decode(krita("pixels", name=RESULT, rect=list(rect)), rect)
    visible = expected[..., -1] > 0
    assert (got[..., -1] == expected[..., -1]).all()
    assert (got[visible] == expected[visible]).all()
    assert (got[visible] != picture[rect.y : rect.y + rect.height, rect.x : rect.x + rect.width][visible]).any()
    assert krita("box", name=RESULT) == tuple(rect)
    assert krita("tree") == ["Photo", "Person", RESULT]
    assert (shown(krita, "Person", space) == person).all() and krita("state") == before
    assert (seen(krita, space)[person[..., -1] == 0] == picture[person[..., -1] == 0]).all()
    assert krita("modified")
