"""GKNet: encoder, harmony kernel prediction, modulated decoder, output composition (paper sec. 3.1, Fig. 4).

Levels are numbered from the deepest, as in the paper: ``F_E^1`` is the deepest encoder feature, ``F_E^L`` the finest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gknet import tone
from gknet.attention import S2AM
from gknet.kernels import ConcatFusion, KernelPredictionBlock, SelectiveCorrelationFusion
from gknet.layers import conv_block, fold, luma, resize, separable_block
from gknet.modulation import modulate
from gknet.reference import LongDistanceReference
from gknet.statistics import StatisticsPath

STEP = 32
"""Sides of what the network sees are multiples of this many pixels."""
CUT = 0.55
"""A soft mask is hard above this share of its highest value. Not at half: hard masks that were made smaller or larger
have halves all along their edges, and rounding would fray them."""


@dataclass(frozen=True, kw_only=True)
class GKNetConfig:
    """Everything that shapes a GKNet. Fields marked OPEN are left open by the paper; the defaults are our choice for
    `gknet`."""

    size: int = 256
    """Least side at which documents are shown, pixels. 256, at which the paper trains and runs (sec. 4.1)."""
    max_size: int = 0
    """Documents that have the pixels are shown at up to this many a side, a multiple of :data:`STEP`. 0 = at ``size``,
    as in the paper."""
    enlarge: float = 1.0
    """Documents that have fewer pixels are shown this much larger a side than they are. Training enlarges crops, so
    things look larger there (the train-test resolution discrepancy of Touvron et al., NeurIPS 2019)."""
    widths: tuple[int, ...] = (256, 128, 64, 32)
    """Encoder channels ``C_E^l``, deepest first. OPEN: the iSSAM U-Net's depth 4 and 32 base channels."""
    trunk: int = 0
    """Encoder and decoder see a picture of n times this many pixels a side averaged over n x n pixels, n rounded down.
    0 = as it is, the paper's. Only with the ``tone`` output, which takes detail from the composite."""
    unshuffle: int = 1
    """The stem folds blocks of this many pixels a side into channels. 1 = the paper's full-resolution U-Net."""
    up_kernel: int = 3
    """Side of the convolution that halves the channels on the way up. OPEN: 3, as in iSSAM."""
    separable: bool = False
    """The second convolution of each encoder block is depthwise and pointwise: fewer weights learn from fewer
    photos."""
    chroma: bool = False
    """Red and blue less luma join the encoder's input."""
    norm_from: int = 2
    """Batch norm from this level of the U-Net on, counted from the finest (1). OPEN: 2, as in iSSAM."""
    attend: tuple[int, ...] = (2, 3)
    """Decoder levels, counted from the deepest (1), that end in an S2AM block. OPEN: iSSAM's deeper up-blocks."""
    attention_mid_factor: float = 0.5
    """Width of S2AM's learning block. OPEN: 0.5 (iSSAM)."""
    attention_reduction: int = 16
    """Bottleneck of S2AM's channel gates. OPEN: 16 (S2AM)."""
    kpb: bool = True
    """Predict harmony kernels and modulate the decoder with them (Table 4, + KPB)."""
    kpb_widths: tuple[int, ...] = (128, 64, 32, 16)
    """Channels ``C_l`` of ``F_KPB^l``, deepest first; every level is modulated. OPEN: half of the encoder's; all
    levels."""
    kernel: int = 3
    """N, the side of a harmony kernel. OPEN: 3. Kernels start as the identity and are not normalised (OPEN): a kernel
    that may sum to other than one is what lets modulation change tone."""
    lre: bool = True
    """Feed ``F_LR`` instead of ``F_E^1`` into the first KPB (Table 4, + LRE)."""
    lre_layers: int = 2
    """l. OPEN: 2."""
    lre_heads: int = 8
    """OPEN: 8."""
    lre_width: int = 256
    """Token width. OPEN: that of ``F_E^1``. Position encoding (OPEN): fixed 2-D sine over relative positions."""
    lre_mlp_factor: float = 2.0
    """Hidden width of the LRE's MLPs over the token width. OPEN: 2."""
    scf: bool = True
    """Fuse by SCF in every KPB, else by concatenation and a 1x1 convolution (Table 4, + SCF). OPEN: in every block."""
    scf_groups: int = 8
    """n of eq. 2; m = C_l / n. OPEN: 8."""
    scf_reduction: int = 4
    """Bottleneck of the attention vectors' MLP. OPEN: 4."""
    statistics_tokens: int = 0
    """Foreground/background statistics tokens that join the LRE (gknet.statistics). 0 = none, the paper's network."""
    statistics_hidden: int = 256
    """Width of the statistics' MLP."""
    statistics_bins: int = 0
    """Tones by which the statistics tell detail apart. 0 = statistics of colour alone."""
    looks: int = 1
    """How often the picture is looked at: every other time mirrored, the last time not. Each look but the last decides
    a global tone alone, and the next one sees what that has made of the composite. 1 = the paper's."""
    decoder_levels: int = 0
    """Levels that decoder and kernels reach, counted from the deepest; above them is the encoder alone. 0 = all, the
    paper's. Fewer only with the ``tone`` output, whose coefficients may be coarse."""
    output: str = "blend"
    """``blend``: ``a * composite + (1 - a) * rgb`` with a learned map a, as in iSSAM; rgb is the composite plus a
    change that starts at zero, so that training starts at the identity. ``tone``: coefficients of a colour transform
    (gknet.tone)."""

    def __post_init__(self) -> None:
        if self.output != "tone" and (self.trunk or self.unshuffle > 1 or self.decoder_levels):
            raise ValueError("trunk, unshuffle and decoder_levels need the tone output: theirs is coarse")
        if self.looks > 1 and not (self.output == "tone" and self.statistics_tokens):
            raise ValueError("several looks need the tone output and statistics: all but the last decide a global tone")

    @property
    def decoded_widths(self) -> tuple[int, ...]:
        """``widths`` of the levels that decoder and kernels reach."""
        return self.widths[: self.decoder_levels or None]

    def side(self, height: int, width: int) -> int:
        """Side of the square at which a document of this size is shown: that of a square of as many pixels as it has,
        times ``enlarge``, but at least ``size`` and at most ``max_size``."""
        side = round(self.enlarge * math.sqrt(height * width) / STEP) * STEP
        return max(self.size, min(side, self.max_size))


def hard(mask: Tensor) -> Tensor:
    """[B, 1, H, W] -> bool: above :data:`CUT` of each mask's highest value."""
    return mask > CUT * mask.amax((1, 2, 3), keepdim=True)


class UpBlock(nn.Module):
    """One decoder level: grow, halve the channels, join the encoder feature, two convolutions, S2AM where asked."""

    def __init__(self, deeper: int, channels: int, *, up_kernel: int, norm: bool, attention: S2AM | None) -> None:
        super().__init__()
        self.up = conv_block(deeper, channels, norm=norm, kernel=up_kernel)
        self.convs = nn.Sequential(
            conv_block(2 * channels, channels, norm=norm),
            conv_block(channels, channels, norm=norm),
        )
        self.attention = attention

    def forward(self, deeper: Tensor, encoder: Tensor, mask: Tensor) -> Tensor:
        """``F_D^{l-1}`` [B, C_{l-1}, H/2, W/2] and ``F_E^l`` [B, C_l, H, W] -> ``F_D^l`` [B, C_l, H, W]."""
        # OPEN in the paper: convolving before growing gives the same reach at a quarter of the cost.
        features: Tensor = self.convs(torch.cat([resize(self.up(deeper), encoder), encoder], 1))
        return features if self.attention is None else self.attention(features, resize(mask, features))


class GKNet(nn.Module):
    """GKNet (Shen et al., ICCV 2023). Starts as the identity: an untrained network returns the composite.

    Attributes:
        LOCAL_PART: the modules that ``global_only`` leaves out.
    """

    LOCAL_PART = ("tokens", "reference", "kernels", "decoder", "head", "blend")

    def __init__(self, config: GKNetConfig) -> None:
        super().__init__()
        self.config = config
        self.global_only = False
        """Leave out the local part, decoder and kernels: training sets it while the global tone learns alone."""
        levels = len(config.widths)
        norms = [levels - level >= config.norm_from - 1 for level in range(1, levels + 1)]  # deepest first
        finest_first = list(reversed(range(levels)))

        inputs = (4 + 2 * config.chroma) * config.unshuffle**2
        encoder = []
        for i in finest_first:
            width = config.widths[i]
            encoder.append(
                nn.Sequential(
                    conv_block(inputs, width, norm=norms[i]),
                    separable_block(width, norm=norms[i])
                    if config.separable
                    else conv_block(width, width, norm=norms[i]),
                )
            )
            inputs = width
        self.encoder = nn.ModuleList(encoder)  # finest first: the order of computation

        self.statistics = None
        if config.statistics_tokens:
            self.statistics = StatisticsPath(
                config.widths, hidden=config.statistics_hidden, bins=config.statistics_bins, remember=config.looks > 1
            )
            self.tokens = nn.Linear(config.statistics_hidden, config.statistics_tokens * config.lre_width)
        self.reference = None
        if config.lre:
            self.reference = LongDistanceReference(
                config.widths[0],
                width=config.lre_width,
                layers=config.lre_layers,
                heads=config.lre_heads,
                mlp_factor=config.lre_mlp_factor,
            )
        self.kernels = nn.ModuleList(self._kernel_blocks(norms)) if config.kpb else None

        self.decoder = nn.ModuleList(
            UpBlock(
                config.widths[i - 1],
                config.widths[i],
                up_kernel=config.up_kernel,
                norm=norms[i],
                attention=S2AM(
                    config.widths[i],
                    mid_factor=config.attention_mid_factor,
                    reduction=config.attention_reduction,
                    norm=norms[i],
                )
                if i + 1 in config.attend
                else None,
            )
            for i in range(1, len(config.decoded_widths))
        )
        finest = config.decoded_widths[-1]
        if config.output == "blend":
            self.blend = nn.Conv2d(finest, 1, 1)
            self.head = nn.Conv2d(finest, 3, 1)
        else:
            self.head = nn.Conv2d(finest, tone.COEFFICIENTS, 1)
            if config.statistics_tokens:
                self.global_tone = nn.Linear(config.statistics_hidden, tone.COEFFICIENTS)
                nn.init.zeros_(self.global_tone.weight)
                nn.init.zeros_(self.global_tone.bias)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def _kernel_blocks(self, norms: list[bool]) -> list[KernelPredictionBlock]:
        config = self.config
        blocks = []
        previous = config.widths[0]  # F_KPB^0 := F_LR, or F_E^1 without the LRE: both have C_E^1 channels
        norms = norms[: len(config.decoded_widths)]
        for width, channels, norm in zip(config.decoded_widths, config.kpb_widths, norms, strict=True):
            fusion: nn.Module
            if config.scf:
                fusion = SelectiveCorrelationFusion(
                    width, previous, channels, groups=config.scf_groups, reduction=config.scf_reduction
                )
            else:
                fusion = ConcatFusion(width, previous, channels)
            blocks.append(KernelPredictionBlock(fusion, channels, width, kernel=config.kernel, norm=norm))
            previous = channels
        return blocks

    def forward(self, composite: Tensor, mask: Tensor) -> Tensor:
        """Harmonize a batch (sec. 3.1).

        Args:
            composite: ``I_c``, [B, 3, H, W], float, sRGB 0..1; H and W multiples of :data:`STEP`.
            mask: ``M``, [B, 1, H, W], 0..1, 1 = foreground. Soft edges are for the composition; what decides the change
                sees them hard, cut at :data:`CUT` of the mask's highest value.

        Returns:
            ``I_h``, [B, 3, H, W], not clamped. Where the mask is 0 the pixel is the composite's, bit for bit.
        """
        inside = hard(mask)
        changed, memory = composite, None
        for remaining in reversed(range(self.config.looks)):
            change, memory = self._look(composite, changed, inside, memory, remaining)
            changed = (changed + change).to(composite.dtype)
        # I_h = decoder * M + (1 - M) * I_c: a lerp for soft masks, a select for the background (sec. 3.1).
        return torch.where(mask > 0, torch.lerp(composite, changed, mask), composite)

    def _look(
        self,
        composite: Tensor,
        changed: Tensor,
        inside: Tensor,
        memory: Tensor | None,
        remaining: int,
    ) -> tuple[Tensor, Tensor | None]:
        """A look at the composite with its foreground as changed so far, and how many are left after it: what is to be
        added to ``changed``, all of it [B, 3, H, W], and what the next look remembers of this one."""
        small, small_mask = torch.where(inside, changed, composite), inside.to(composite.dtype)
        factor = composite.shape[-1] // self.config.trunk if self.config.trunk else 1
        if factor > 1:
            small, small_mask = F.avg_pool2d(small, factor), F.avg_pool2d(small_mask, factor)
        # Every other look sees a mirrored picture: then what one gets wrong the next does not get wrong alike. It can,
        # as it decides a global tone, which has no left and right.
        if remaining % 2 == 1:
            small, small_mask = small.flip(-1), small_mask.flip(-1)
        features = self._encode(small, small_mask)  # deepest first
        statistics = tokens = None
        if self.statistics is not None:
            statistics = self.statistics(small, small_mask, features, memory)
            if remaining or self.global_only:
                return self._tone(changed, self._global(statistics)), statistics
            tokens = self.tokens(statistics).unflatten(1, (self.config.statistics_tokens, -1))
        reference = features[0] if self.reference is None else self.reference(features[0], tokens)
        decoded = self._decode(features, reference, small_mask)
        return self._change(changed, decoded, statistics), statistics

    def _encode(self, composite: Tensor, mask: Tensor) -> list[Tensor]:
        planes = [composite * 2 - 1, mask * 2 - 1]
        if self.config.chroma:
            planes.append(composite[:, 0::2] - luma(composite))
        x = torch.cat(planes, 1)
        if self.config.unshuffle > 1:
            x = fold(x, self.config.unshuffle)
        features: list[Tensor] = []
        for block in self.encoder:
            x = block(x if not features else F.max_pool2d(x, 2))
            features.insert(0, x)
        return features

    def _decode(self, features: list[Tensor], reference: Tensor, mask: Tensor) -> Tensor:
        """Kernels and decoder level by level, deepest first. ``F_D^1`` is ``F_E^1`` itself; OPEN in the paper."""
        decoded, previous = features[0], reference
        for i, encoder in enumerate(features[: len(self.config.decoded_widths)]):
            if i > 0:
                decoded = self.decoder[i - 1](decoded, encoder, mask)
            if self.kernels is not None:
                kernels, previous = self.kernels[i](encoder, previous)  # eq. 1
                decoded = modulate(decoded, kernels.to(decoded.dtype))  # eq. 5
        return decoded

    def _change(self, composite: Tensor, decoded: Tensor, statistics: Tensor | None) -> Tensor:
        head = self.head(decoded)
        if self.config.output == "blend":
            # a * composite + (1 - a) * (composite + head) = composite + (1 - a) * head
            change: Tensor = (1 - torch.sigmoid(self.blend(decoded))) * head
            return change
        if statistics is not None:
            head = head + self._global(statistics)
        return self._tone(composite, head)

    def _global(self, statistics: Tensor) -> Tensor:
        out: Tensor = self.global_tone(statistics)[:, :, None, None]
        return out

    @staticmethod
    def _tone(composite: Tensor, coefficients: Tensor) -> Tensor:
        # Adam moves every weight by the learning rate whatever the gradient's size, so that a head with hundreds of
        # inputs would jump by whole units of colour a step.
        return tone.change(composite, 0.1 * coefficients)
