"""GKNet: image harmonization with learned global-aware kernels (Shen et al., ICCV 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gknet.harmonizer import Harmonizer

__all__ = ["Harmonizer"]


def __getattr__(name: str) -> Any:
    # torch takes a second to import; `import gknet` must not.
    if name == "Harmonizer":
        from gknet.harmonizer import Harmonizer

        return Harmonizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
