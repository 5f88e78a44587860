"""The named networks: the paper's, the rows of its ablation (Table 4), and the one made for CPUs."""

from __future__ import annotations

from dataclasses import replace

from gknet.network import GKNet, GKNetConfig

_PAPER = GKNetConfig()

VARIANTS: dict[str, GKNetConfig] = {
    "gknet": _PAPER,
    # Table 4, as paper.md reads it. Each row adds one module; the last row is `gknet` itself.
    "gknet-baseline": replace(_PAPER, kpb=False, lre=False, scf=False),
    "gknet-kpb": replace(_PAPER, lre=False, scf=False),
    "gknet-kpb-lre": replace(_PAPER, scf=False),
    # The same modules on pixels folded four by four, with statistics tokens and a tone output; looks twice.
    "gknet-lite": GKNetConfig(
        max_size=512,
        enlarge=1.25,
        widths=(96, 64, 48, 32),
        unshuffle=4,
        separable=True,
        chroma=True,
        up_kernel=1,
        norm_from=1,
        kpb_widths=(48, 32, 24),
        decoder_levels=3,
        lre_width=96,
        lre_heads=4,
        statistics_tokens=4,
        statistics_hidden=512,
        statistics_bins=5,
        looks=2,
        output="tone",
    ),
}


def create(name: str) -> GKNet:
    """A fresh network by name, starting at the identity.

    Raises:
        ValueError: no variant has this name.
    """
    if name not in VARIANTS:
        raise ValueError(f"no network is named {name!r}; choose one of {', '.join(VARIANTS)}")
    return GKNet(VARIANTS[name])
