"""``beit-mm look vit``: all that the single looks show, in one figure."""

import numpy as np
import pytest
import torch
from PIL import Image

from beit_mm.commands.look_attention import look_distance, look_rollout
from beit_mm.commands.look_filters import look_filters
from beit_mm.commands.look_positions import look_positions
from beit_mm.commands.look_vit import look_vit
from beit_mm.commands.picture_files import write_picture
from beit_mm.models import BEiT, VisionTransformer

# As wide as one whose heads are known by its width.
ARCH = dict(embed_dims=192, num_layers=3, num_heads=3, feedforward_channels=8)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (20, 24, 40, 3), dtype=np.uint8)
    for index, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f'{index:02}.png')
    (folder / '00.png').write_bytes(b'no image')
    return folder


def write_weights(path, kind, **settings):
    torch.manual_seed(0)
    model = kind(arch=ARCH, img_size=16, patch_size=8, **settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


@pytest.fixture
def figures(monkeypatch):
    """The figures that are written."""
    written = []

    def noted(figure, path, arrays):
        written.append(figure)
        return write_picture(figure, path, arrays)

    monkeypatch.setattr('beit_mm.commands.look_vit.write_picture', noted)
    return written


@pytest.mark.parametrize(
    ('settings', 'side'),
    [
        ({}, 8),
        (dict(positions_at='every_block_shared'), 8),
        # The filters that see the image are the stem's.
        (dict(stem=dict(type='beit_mm.HybridStem', stages=())), 7),
    ],
)
def test_it_shows_what_the_single_looks_do(tmp_path, photos, figures, capsys, settings, side):
    settings = dict(positions='learned', **settings)
    weights = write_weights(tmp_path / 'w.pth', VisionTransformer, **settings)
    out = tmp_path / 'v.png'
    assert look_vit(weights, [photos], 24, out) == [out, tmp_path / 'v_rollout.png']
    assert '00.png: left out' in capsys.readouterr().err
    look_distance(weights, [photos], 24, tmp_path / 'distance.png')
    look_filters(weights, tmp_path / 'filters.png')
    look_positions(weights, tmp_path / 'positions.png')
    look_rollout(weights, [photos], 24, tmp_path / 'rollout.png')
    shown = np.load(tmp_path / 'v.npz')
    single = {
        name: values
        for what in ('distance', 'filters', 'positions')
        for name, values in np.load(tmp_path / f'{what}.npz').items()
    }
    assert set(shown) == set(single)
    for name, values in single.items():
        np.testing.assert_array_equal(shown[name], values)
    rollout = np.load(tmp_path / 'v_rollout.npz')
    for name, values in np.load(tmp_path / 'rollout.npz').items():
        np.testing.assert_array_equal(rollout[name], values)
    # Each panel holds its own.
    filters, positions, distances = figures[0].axes[:3]
    assert shown['filters'].shape[1:] == (3, side, side)
    assert filters.images[0].get_array().shape[1] > 7 * side
    places = positions.images[0].get_array()
    assert np.nanmax(places) == pytest.approx(1, abs=1e-5)
    dots = distances.collections[0].get_offsets()
    mean = shown['distances'].mean(axis=0)
    np.testing.assert_allclose(dots, [(b, mean[b, h]) for b in range(3) for h in range(3)], 1e-5)


@pytest.mark.parametrize(
    ('kind', 'settings', 'said'),
    [
        (BEiT, {}, 'each block has a table'),
        (BEiT, dict(use_rel_pos_bias=False, use_shared_rel_pos_bias=True), 'serves all blocks'),
        (VisionTransformer, dict(positions=None), 'This network has no positions.'),
    ],
)
def test_a_network_without_absolute_positions_says_so(
    tmp_path, photos, figures, kind, settings, said
):
    weights = write_weights(tmp_path / 'w.pth', kind, **settings)
    look_vit(weights, [photos / '03.png'], out=tmp_path / 'v.png')
    assert 'similarities' not in np.load(tmp_path / 'v.npz')
    panel = figures[0].axes[1]
    assert not panel.images
    assert said in panel.texts[0].get_text()
