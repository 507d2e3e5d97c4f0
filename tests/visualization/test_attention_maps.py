"""What is recorded of attention, beside the formula written out, and transformers' own."""

import pytest
import torch
from transformers import BeitModel

from beit_mm.layers.attention import fused_attention, plain_attention
from beit_mm.layers.compiling import can_compile
from beit_mm.models import BEiT, convert
from beit_mm.relative_index import relative_position_index
from beit_mm.visualization import (
    attention_distances,
    attention_rollout,
    attention_rows,
    place_of,
    watched_attention,
)

WIDTH, DEPTH, HEADS, PATCH = 24, 3, 4, 8
ARCH = dict(embed_dims=WIDTH, num_layers=DEPTH, num_heads=HEADS, feedforward_channels=32)
OWN = dict(use_rel_pos_bias=True)
SHARED = dict(use_rel_pos_bias=False, use_shared_rel_pos_bias=True)
ABSOLUTE = dict(use_rel_pos_bias=False, use_abs_pos_emb=True)


def random_model(seed=0, **settings):
    torch.manual_seed(seed)
    settings = {**dict(arch=ARCH, img_size=32, patch_size=PATCH, out_type='raw'), **settings}
    model = BEiT(**settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.eval()


def images(height=32, width=32):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def inputs_of_blocks(model, x):
    """What goes into each block, seen from outside of it."""
    seen = []
    hooks = [
        b.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for b in model.blocks
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return seen


def by_hand(model, index, x, grid):
    """softmax(q k^T / sqrt(d) + bias) of a block by its weights, one head and query at a time."""
    attn = model.blocks[index].attn
    h = model.blocks[index].norm1(x)
    q = h @ attn.qkv.weight[:WIDTH].T + attn.q_bias
    k = h @ attn.qkv.weight[WIDTH : 2 * WIDTH].T
    table = attn.rel_pos_bias or model.rel_pos_bias
    rows = relative_position_index(grid)
    d = WIDTH // HEADS
    found = torch.zeros(len(x), HEADS, len(rows), len(rows))
    for head in range(HEADS):
        part = slice(head * d, (head + 1) * d)
        for i in range(len(rows)):
            scores = (k[..., part] * q[:, i, None, part]).sum(dim=-1) / d**0.5
            if table is not None:
                scores = scores + table.table[rows[i], head]
            found[:, head, i] = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)
    return found


@torch.no_grad()
@pytest.mark.parametrize('positions', [OWN, SHARED, ABSOLUTE], ids=['own', 'shared', 'absolute'])
@pytest.mark.parametrize('block', [0, -1])
def test_rows_are_the_formula_of_the_blocks_weights(positions, block):
    model, x = random_model(**positions), images()
    expected = by_hand(model, block % DEPTH, inputs_of_blocks(model, x)[block], (4, 4))
    rows = attention_rows(model, x, [0, 7, 16], block)
    assert rows.shape == (2, 3, HEADS, 17)
    torch.testing.assert_close(rows, expected[:, :, [0, 7, 16]].transpose(1, 2))


@torch.no_grad()
def test_rows_of_another_grid_are_those_of_a_network_with_its_positions_resampled():
    model, grid = random_model(), (3, 5)
    other = random_model(img_size=(24, 40))
    # Loading resamples the tables, once; here they are looked up as they then are.
    other.load_state_dict(model.state_dict())
    x = images(24, 40)
    expected = by_hand(other, 2, inputs_of_blocks(other, x)[2], grid)
    rows = attention_rows(model, x, range(16))
    torch.testing.assert_close(rows, expected.transpose(1, 2), rtol=1e-4, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize('shared', [False, True])
def test_rows_are_the_attentions_of_transformers(tmp_path, shared):
    model = random_model(**(SHARED if shared else OWN), final_norm=True)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'ours.pth')
    convert(tmp_path / 'ours.pth', tmp_path / 'folder', 'huggingface')
    peer = BeitModel.from_pretrained(tmp_path / 'folder', attn_implementation='eager').eval()
    attentions = peer(images(), output_attentions=True).attentions
    for block, expected in enumerate(attentions):
        rows = attention_rows(model, images(), range(17), block)
        torch.testing.assert_close(rows.transpose(1, 2), expected, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_rows_of_parts_are_those_of_the_whole(monkeypatch):
    model, x = random_model(), images()
    whole = attention_rollout(model, x), attention_distances(model, x)
    # Three queries at a time, so that the last part is a smaller one.
    monkeypatch.setattr('beit_mm.visualization.attention_maps.AT_ONCE', 2 * HEADS * 17 * 3)
    torch.testing.assert_close(attention_rollout(model, x), whole[0])
    torch.testing.assert_close(attention_distances(model, x), whole[1])


@torch.no_grad()
@pytest.mark.parametrize('compile_blocks', [False, True])
def test_watching_leaves_output_and_network_as_they_were(compile_blocks, monkeypatch):
    if compile_blocks:
        from beit_mm.layers import compiling

        def must_not_run(method):
            raise AssertionError('a compiled form would not show what it attends to')

        monkeypatch.setattr(compiling, 'compiled', must_not_run)
    model, x, seen = random_model(), images(), []
    expected = model(x)[0]
    for block in model.blocks:
        block.compile_branches = compile_blocks
    # Somebody's own form stays in force, below and after.
    model.blocks[1].attn.attend = plain_attention
    before = [dict(vars(m)) for m in model.modules()]
    with watched_attention(model, lambda block, q, k, bias: seen.append((block, bias.shape))):
        assert vars(model.blocks[0].attn)['attend'] is not fused_attention
        torch.testing.assert_close(model(x)[0], expected, rtol=0, atol=1e-5)
    assert seen == [(0, (4, 17, 17)), (1, (4, 17, 17)), (2, (4, 17, 17))]

    def fails(*given):
        raise KeyError('of the watcher')

    with pytest.raises(KeyError), watched_attention(model, fails):
        model(x)
    assert [dict(vars(m)) for m in model.modules()] == before


@torch.no_grad()
def test_output_is_the_same_to_the_bit():
    model, x = random_model(), images(24, 40)
    expected = model(x)[0]
    with watched_attention(model, lambda *given: None):
        assert torch.equal(model(x)[0], expected)


@torch.no_grad()
@pytest.mark.skipif(not can_compile(), reason='takes PyTorch 2.5')
def test_what_is_compiled_as_a_whole_is_watched_too():
    model, x, seen = random_model(), images(), []
    whole = torch.compile(model, backend='eager')
    expected = whole(x)[0]
    with watched_attention(whole, lambda block, *given: seen.append(block)):
        assert torch.equal(whole(x)[0], expected)
    assert seen == [0, 1, 2]
    whole(x)
    assert len(seen) == 3


def uniform_model(table, grid=(2, 2), depth=2):
    """A network whose keys are zero, so that a table alone says where it looks."""
    arch = dict(embed_dims=8, num_layers=depth, num_heads=2, feedforward_channels=8)
    img_size = (grid[0] * PATCH, grid[1] * PATCH)
    model = random_model(arch=arch, img_size=img_size)
    with torch.no_grad():
        for block in model.blocks:
            block.attn.qkv.weight.zero_()
            block.attn.rel_pos_bias.table.copy_(table)
    return model


def test_rollout_is_a_closed_form():
    # All tokens alike give each 1 / N: a step is J / 2 N + I / 2, and after L of them a token
    # keeps 1 / 2**L of itself and the rest is spread evenly.
    tokens = 5
    rollout = attention_rollout(uniform_model(torch.zeros(12, 2), depth=3), images(16, 16))
    expected = torch.full((2, tokens), (1 - 1 / 8) / tokens)
    expected[:, 0] += 1 / 8
    torch.testing.assert_close(rollout, expected)


def test_rollout_goes_from_the_first_block_to_the_last():
    # The first block: patches look at their right neighbour; the second: [S] at every patch. Only
    # in this order does [S] see the right column more than the left one.
    table, grid, far = torch.zeros(12, 2), (2, 2), 40.0
    model = uniform_model(table)
    first, second = (block.attn.rel_pos_bias.table.detach() for block in model.blocks)
    index = relative_position_index(grid)
    first[index[1, 2]], first[index[0, 0]], first[index[2, 2]] = far, far, far / 2
    second[index[0, 1]], second[index[1, 1]] = far, far
    rollout = attention_rollout(model, images(16, 16))[0]
    # [S] keeps 1/2 of itself. Each patch gets 1/8; the left half of what it got goes right.
    torch.testing.assert_close(rollout, torch.tensor([1 / 2, 1 / 16, 3 / 16, 1 / 16, 3 / 16]))


def test_distance_of_hand_made_cases():
    right, far = relative_position_index((2, 2))[1, 2], 80.0
    uniform, itself, neighbour = torch.zeros(12, 2), torch.zeros(12, 2), torch.zeros(12, 2)
    itself[relative_position_index((2, 2))[1, 1]] = far
    # One head looks to the right, where there is a patch; else, of the two on its left, evenly.
    neighbour[right, 1] = far
    # However much goes to [S], it has no place.
    uniform[-2] = 20.0
    of_uniform = PATCH * (0 + 1 + 1 + 2**0.5) / 4
    for table, expected in (
        (uniform, [of_uniform, of_uniform]),
        (itself, [0.0, 0.0]),
        (neighbour, [of_uniform, (PATCH + of_uniform) / 2]),
    ):
        found = attention_distances(uniform_model(table), images(16, 16))
        torch.testing.assert_close(found, torch.tensor(expected).expand(2, 2, 2))


def test_points_lie_in_their_patches():
    assert [place_of(p, (2, 4)) for p in [(0, 0), (0, 1), (0.49, 0.5), (1, 1)]] == [1, 4, 3, 8]


def test_blocks_that_are_not_there_or_not_run_are_told():
    with pytest.raises(ValueError, match='there is no block 3; there are 3'):
        attention_rows(random_model(), images(), [0], 3)
    model = random_model(out_indices=1)
    for look in (attention_rollout, attention_distances, lambda *x: attention_rows(*x, [0])):
        with pytest.raises(ValueError, match=r'block 2 is not run: out_indices .* end at 1'):
            look(model, images())
    assert attention_rows(model, images(), [0], 1).shape == (2, 1, HEADS, 17)
