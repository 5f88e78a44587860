"""SCF and KPB against literal references (eq. 1-4)."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gknet.kernels import ConcatFusion, KernelPredictionBlock, SelectiveCorrelationFusion
from gknet.modulation import modulate


def make_scf() -> SelectiveCorrelationFusion:
    torch.manual_seed(0)
    scf = SelectiveCorrelationFusion(6, 10, 8, groups=4, reduction=2)
    with torch.no_grad():
        scf.balance_encoder.fill_(0.7)
        scf.balance_previous.fill_(-0.4)
    return scf.double()


def test_scf_equals_eq_2_to_4_written_out() -> None:
    scf = make_scf()
    encoder, previous = torch.randn(2, 6, 8, 8).double(), torch.randn(2, 10, 4, 4).double()
    n, m = 4, 2
    out = scf(encoder, previous)
    for image in range(2):
        alpha = {}
        for name, module, x in (
            ("E", scf.attention_encoder, encoder[image : image + 1]),
            ("KPB", scf.attention_previous, previous[image : image + 1]),
        ):
            pooled = module.conv(x).flatten(2).mean(2)  # 3x3 convolution, global pooling
            alpha[name] = module.mlp(pooled)[0]  # MLP
        a_e, a_kpb = alpha["E"].reshape(n, m), alpha["KPB"].reshape(n, m)
        relation = torch.zeros(n, n, dtype=torch.float64)
        for i in range(n):
            for j in range(n):
                relation[i, j] = sum(a_kpb[i, k] * a_e[j, k] for k in range(m))  # eq. 2: A = a_KPB a_E^T
        # The n x n convolution over A: one weighted sum of all of A for each output.
        factors = (scf.select.weight[:, 0] * relation).sum((1, 2)) + scf.select.bias
        abar_kpb, abar_e = factors[:8], factors[8:]
        s_e = torch.sigmoid(alpha["E"] + scf.balance_encoder * scf.fc_encoder(abar_e))  # eq. 3
        s_kpb = torch.sigmoid(alpha["KPB"] + scf.balance_previous * scf.fc_previous(abar_kpb))
        theirs = s_kpb[:, None, None] * scf.conv_previous(previous[image : image + 1])[0]
        up = F.interpolate(theirs[None], scale_factor=2, mode="bilinear", align_corners=False)[0]
        fused = s_e[:, None, None] * scf.conv_encoder(encoder[image : image + 1])[0] + up  # eq. 4
        torch.testing.assert_close(out[image], fused)


def test_b_starts_at_zero_so_that_the_relation_is_learned_in() -> None:
    scf = SelectiveCorrelationFusion(6, 10, 8, groups=4, reduction=2)
    s_encoder, _ = scf.weights(torch.randn(1, 6, 4, 4), torch.randn(1, 10, 2, 2))
    encoder = torch.randn(1, 6, 4, 4)
    s_encoder, _ = scf.weights(encoder, torch.randn(1, 10, 2, 2))
    torch.testing.assert_close(s_encoder, torch.sigmoid(scf.attention_encoder(encoder)))
    assert scf.balance_encoder.requires_grad and scf.balance_previous.requires_grad


def test_groups_must_divide_the_channels() -> None:
    with pytest.raises(ValueError, match="choose a divisor"):
        SelectiveCorrelationFusion(6, 10, 9, groups=4, reduction=2)


@pytest.mark.parametrize("n", [1, 3, 5])
def test_kernels_start_as_the_identity(n: int) -> None:
    block = KernelPredictionBlock(ConcatFusion(6, 10, 8), 8, 12, kernel=n, norm=True)
    kernels, features = block(torch.randn(2, 6, 8, 8), torch.randn(2, 10, 4, 4))
    assert kernels.shape == (2, 12 * n * n, 8, 8) and features.shape == (2, 8, 8, 8)  # eq. 1: K^l and F_KPB^l
    decoded = torch.randn(2, 12, 8, 8)
    assert torch.equal(modulate(decoded, kernels), decoded)


def test_every_parameter_of_a_block_learns() -> None:
    block = KernelPredictionBlock(make_scf().float(), 8, 12, kernel=3, norm=False)
    torch.nn.init.normal_(block.head.weight)
    kernels, features = block(torch.randn(2, 6, 8, 8), torch.randn(2, 10, 4, 4))
    (kernels.square().sum() + features.square().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in block.parameters())
