"""Axial-ViT against a loop over rows and columns with PyTorch's own attention."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import beit_mm
from beit_mm.checkpoints import CheckpointError, convert_state_dict
from beit_mm.layers.resize_positions import resize_absolute_positions
from beit_mm.models import AxialVisionTransformer, MaskedImageModeling, VisionTransformer
from beit_mm.models.fitting import fit_model

ARCH = dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=48)


def axial(**settings):
    torch.manual_seed(0)
    settings = dict(arch=ARCH, img_size=(24, 32), patch_size=8, out_type='raw') | settings
    model = AxialVisionTransformer(**settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def naive(model, images):
    """(B, h, w, C): a line of patches at a time."""
    x = model.patch_embed.proj(images).permute(0, 2, 3, 1)
    grid = tuple(x.shape[1:3])
    positions = resize_absolute_positions(model.pos_embed, model.grid, grid)
    x = x + positions.unflatten(1, grid)
    for index, block in enumerate(model.blocks):
        attention = nn.MultiheadAttention(24, 3, batch_first=True)
        attention.in_proj_weight, attention.in_proj_bias = (
            block.attn.qkv.weight,
            block.attn.qkv.bias,
        )
        attention.out_proj.weight, attention.out_proj.bias = (
            block.attn.proj.weight, block.attn.proj.bias,
        )  # fmt: skip
        normed, mixed = block.norm1(x), torch.empty_like(x)
        for line in range(grid[index % 2]):
            patches = normed[:, line] if index % 2 == 0 else normed[:, :, line]
            answer = attention(patches, patches, patches, need_weights=False)[0]
            if index % 2 == 0:
                mixed[:, line] = answer
            else:
                mixed[:, :, line] = answer
        x = x + mixed
        x = x + block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(x))))
    return model.norm(x)


@pytest.mark.parametrize('size', [(24, 32), (16, 40), (8, 8)])
@torch.no_grad()
def test_it_is_the_loop_over_rows_and_columns(size):
    model = axial()
    images = torch.randn(2, 3, *size)
    expected = naive(model, images)
    assert expected.std() > 0.5
    torch.testing.assert_close(model(images)[0], expected.flatten(1, 2), rtol=1e-5, atol=1e-5)
    model.out_type = 'featmap'
    torch.testing.assert_close(model(images)[0], expected.permute(0, 3, 1, 2), rtol=1e-5, atol=1e-5)


def test_a_patch_sees_its_row_in_one_block_and_all_in_two():
    model = axial(out_indices=(0, 1), final_norm=False)
    images = torch.randn(1, 3, 24, 32, requires_grad=True)
    one, two = model(images)
    for hidden, seen in ((one, [(1, column) for column in range(4)]), (two, None)):
        (moved,) = torch.autograd.grad(hidden[0, 5].sum(), images, retain_graph=True)
        patches = moved.abs().unfold(2, 8, 8).unfold(3, 8, 8).amax(dim=(0, 1, 4, 5)) > 0
        wanted = torch.ones_like(patches) if seen is None else torch.zeros_like(patches)
        for place in seen or []:
            wanted[place] = True
        assert torch.equal(patches, wanted)


def test_stochastic_depth_leaves_out_images_not_rows():
    model = axial(drop_path_rate=0.9, out_indices=(3,), final_norm=False).train()
    images = torch.randn(16, 3, 24, 32)
    torch.manual_seed(1)
    for block in model.blocks[:3]:
        block.drop_path.drop_prob = 0.0
    before = {}
    model.blocks[3].register_forward_pre_hook(lambda _, given: before.update(x=given[0]))
    after = model(images)[0]
    same = (after == before['x']).all(dim=-1)  # (B, h w)
    assert same.any()
    assert torch.equal(same.all(dim=1), same.any(dim=1))


def test_parameters_and_work_of_the_papers_sizes():
    """Twice ViT's blocks; at 14 x 14 patches more than twice its work is not reached."""
    with torch.device('meta'):
        settings = dict(img_size=224, positions='learned', compile_blocks=False)
        vit, of_rows = VisionTransformer('base', **settings), AxialVisionTransformer(**settings)
        images = torch.empty(1, 3, 224, 224)
    of_blocks = sum(p.numel() for p in vit.blocks.parameters())
    assert of_blocks == 85_054_464
    assert sum(p.numel() for p in of_rows.blocks.parameters()) == 2 * of_blocks
    work = []
    for model in (vit, of_rows):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.eval()(images)
        work.append(counter.get_total_flops())
    tokens, width, depth = 196, 768, 12
    # Matrices of a block, and scores and sums along the lines of 14.
    a_block = tokens * (12 * width**2) + 2 * tokens * 14 * width
    embedding = tokens * 3 * 16**2 * width
    assert work[1] == 2 * (2 * depth * a_block + embedding)
    assert 1.9 < work[1] / work[0] < 2


def test_masks_other_weights_and_what_cannot_be(tmp_path):
    model = axial(with_mask_token=True)
    task = MaskedImageModeling(
        backbone=model,
        target_generator=dict(type='beit_mm.PixelTargetGenerator', patch_size=8),
        head=dict(type='beit_mm.PixelHead', embed_dims=24, num_values=192),
    )
    mask = torch.zeros(2, 3, 4, dtype=torch.bool)
    assert task.hidden_states(torch.randn(2, 3, 24, 32), mask).shape == (2, 12, 24)

    other = axial(img_size=16)
    other.load_state_dict(fit_model(other, '', model.state_dict(), 'file'), strict=False)
    assert torch.equal(other.blocks[3].mlp.fc2.weight, model.blocks[3].mlp.fc2.weight)
    vit = VisionTransformer(dict(ARCH, num_layers=4), img_size=(24, 32), patch_size=8)
    for network, weights in ((vit, model.state_dict()), (model, vit.state_dict())):
        with pytest.raises(CheckpointError, match='no whole backbone'):
            fit_model(network, '', weights, 'file')
    with pytest.raises(CheckpointError, match='has no place for'):
        convert_state_dict(model.state_dict(), 'timm')
    torch.save(model.state_dict(), tmp_path / 'axial.pth')
    with pytest.raises(CheckpointError, match='of an AxialVisionTransformer'):
        beit_mm.load(tmp_path / 'axial.pth')
    for settings in (dict(out_type='cls_token'), dict(use_rel_pos_bias=True)):
        with pytest.raises(ValueError, match=next(iter(settings))):
            axial(**settings)
