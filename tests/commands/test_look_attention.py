"""``beit-mm look attention``, ``rollout``, ``distance`` and ``positions`` on files."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from beit_mm.commands import look_attention as attention_look
from beit_mm.commands.look_attention import look_attention, look_distance, look_rollout
from beit_mm.commands.look_positions import look_positions
from beit_mm.component import ConfigError
from beit_mm.models import BEiT

HEADS, BLOCKS = 2, 3


def write_weights(path, **settings):
    torch.manual_seed(0)
    arch = dict(embed_dims=8, num_layers=BLOCKS, num_heads=HEADS, feedforward_channels=8)
    model = BEiT(arch=arch, img_size=16, patch_size=8, **settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


@pytest.fixture
def photos(tmp_path):
    """Twenty, of which one is broken."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (20, 24, 40, 3), dtype=np.uint8)
    for index, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f'{index:02}.png')
    (folder / '00.png').write_bytes(b'no image')
    return folder


def test_attention_of_points(tmp_path, photos, capsys):
    weights, out = write_weights(tmp_path / 'w.pth'), tmp_path / 'a.png'
    points = [(0.1, 0.1), (0.9, 0.4)]
    look_attention(weights, [photos], 24, out, block=1, head='all', points=points)
    assert Image.open(out).size[0] > 400
    shown = np.load(tmp_path / 'a.npz')
    assert shown['attention'].shape == (7, 2, HEADS, 3, 3)
    np.testing.assert_allclose(shown['attention'].sum((3, 4)) + shown['to_s'], 1, rtol=1e-5)
    np.testing.assert_array_equal(shown['points'], points)
    # From all over the folder, and without the broken one, which is told.
    assert shown['names'].tolist() == [f'{n:02}.png' for n in (3, 5, 8, 11, 14, 16, 19)]
    assert shown['photos'].shape == (7, 24, 24, 3)
    assert '00.png: left out' in capsys.readouterr().err
    look_attention(weights, [photos], out=out, head='1')
    assert np.isnan(np.load(tmp_path / 'a.npz')['points'][0]).all()


def test_what_is_drawn_is_of_the_block_and_the_head(tmp_path, photos, monkeypatch):
    weights, out, drawn = write_weights(tmp_path / 'w.pth'), tmp_path / 'a.png', []

    def noted(rows, columns, title, draw=attention_look.draw_attention):
        drawn.append((np.stack([row.maps for row in rows]), columns, title))
        return draw(rows, columns, title)

    monkeypatch.setattr(attention_look, 'draw_attention', noted)
    images = [photos / '03.png', photos / '04.png']
    found = {}
    for block, head in ((1, 'mean'), (1, '1'), (1, 'all'), (-2, 'mean'), (-1, 'mean')):
        look_attention(weights, images, 24, out, block=block, head=head, points=[(0.9, 0.1)])
        found[block] = dict(np.load(tmp_path / 'a.npz'))
    mean, second, each, counted_back, _ = drawn
    maps = found[1]['attention']
    assert maps.shape == (2, 1, HEADS, 3, 3)
    np.testing.assert_allclose(mean[0], maps.mean(axis=2), rtol=1e-6)
    np.testing.assert_array_equal(second[0], maps[:, :, 1])
    np.testing.assert_array_equal(each[0][:, 1:], maps[:, 0])
    np.testing.assert_array_equal(each[0][:, :1], mean[0])
    assert each[1] == ['mean', 'head 0', 'head 1']
    assert second[2] == 'Self-attention, block 1, head 1'
    np.testing.assert_array_equal(counted_back[0], mean[0])
    assert not np.allclose(found[-1]['attention'], maps, atol=0.01)


def test_rollouts_and_distances(tmp_path, photos):
    weights = write_weights(tmp_path / 'w.pth')
    look_rollout(weights, [photos], out=tmp_path / 'r.png')
    shown = np.load(tmp_path / 'r.npz')
    assert shown['rollout'].shape == (15, 2, 2)
    np.testing.assert_allclose(shown['rollout'].sum((1, 2)) + shown['on_s'], 1, rtol=1e-5)
    # More than a batch: each photo stands beside its name, and has its own map.
    for name, photo in zip(shown['names'], shown['photos'], strict=True):
        whole = Image.open(photos / name)
        np.testing.assert_array_equal(photo, ImageOps.fit(whole, (16, 16), Image.BICUBIC))
    look_rollout(weights, [photos / shown['names'][-1]], out=tmp_path / 'r.png')
    alone = np.load(tmp_path / 'r.npz')['rollout']
    np.testing.assert_allclose(alone[0], shown['rollout'][-1], rtol=1e-4)
    look_distance(weights, [photos], out=tmp_path / 'd.png')
    shown = np.load(tmp_path / 'd.npz')
    assert shown['distances'].shape == (19, BLOCKS, HEADS)
    assert shown['uniform'] == pytest.approx(8 * (2 + 2**0.5) / 4)


def test_positions_of_all_kinds(tmp_path):
    relative = dict(use_rel_pos_bias=False, use_shared_rel_pos_bias=True)
    absolute = dict(use_rel_pos_bias=False, use_abs_pos_emb=True)
    out = tmp_path / 'p.png'
    own = write_weights(tmp_path / 'own.pth')
    assert look_positions(own, out) == [out]
    assert np.load(tmp_path / 'p.npz')['tables'].shape == (BLOCKS, HEADS, 3, 3)
    both = write_weights(tmp_path / 'both.pth', **{**absolute, **relative, 'use_abs_pos_emb': True})
    assert look_positions(both, out) == [out, tmp_path / 'p_absolute.png']
    assert np.load(tmp_path / 'p.npz')['tables'].shape == (1, HEADS, 3, 3)
    assert np.load(tmp_path / 'p_absolute.npz')['similarities'].shape == (2, 2, 2, 2)


def test_what_is_not_there_is_told(tmp_path, photos):
    weights = write_weights(tmp_path / 'w.pth')
    for settings, said in (
        (dict(block=3), '--block is 3; there are 3, 0 to 2'),
        (dict(head='2'), '--head is 2; it must be all, mean, or one of 0 to 1'),
        (dict(points=[(0.5, 1.5)]), '--points has 0.5,1.5; it must be two fractions from 0 to 1'),
    ):
        with pytest.raises(ConfigError, match=said):
            look_attention(weights, [photos], out=tmp_path / 'a.png', **settings)
    small = dict(arch='tiny', use_rel_pos_bias=False)
    torch.save(dict(state_dict=BEiT(**small).state_dict()), tmp_path / 'none.pth')
    with pytest.raises(ConfigError, match='neither relative tables nor absolute'):
        look_positions(tmp_path / 'none.pth', tmp_path / 'p.png')
    assert not list(tmp_path.glob('*.png'))
