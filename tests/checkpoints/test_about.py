"""What a file says of the images that its weights were trained on, and the names of bands."""

import json

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from beit_mm.checkpoints import (
    CheckpointError,
    load_state_dict,
    pack_names,
    read_about,
    read_band_names,
)
from beit_mm.checkpoints.writing import write_weights
from beit_mm.models import BEiT, convert, load

ABOUT = {
    'images': {
        'bands': ['red', 'green', 'blue', 'nir'],
        'value_range': {'uint16': [0, 4095]},
        'mean': [120.0, 110.0, 80.0, 60.0],
        'std': [40.0, 60.0, 90.0, 30.0],
    }
}
ARCH = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32)


def backbone(**changes):
    torch.manual_seed(0)
    return BEiT(**{**dict(arch=ARCH, img_size=16, patch_size=4, out_type='raw'), **changes})


@pytest.mark.parametrize('name', ['a.pth', 'a.safetensors'])
def test_what_is_written_is_read_and_the_weights_are_as_without(tmp_path, name):
    weights = {'blocks.0.weight': torch.arange(3.0), 'blocks.0.bias': torch.ones(2)}
    write_weights(tmp_path / name, weights, 'beit_mm', ABOUT)
    assert read_about(tmp_path / name) == ABOUT
    loaded = load_state_dict(tmp_path / name)
    assert loaded.keys() == weights.keys()
    assert all(loaded[key].equal(weights[key]) for key in weights)
    write_weights(tmp_path / name, weights, 'beit_mm')
    assert read_about(tmp_path / name) == {}


def test_peers_read_the_files_too(tmp_path):
    """torch without pickled classes, mmengine's loader, and safetensors' metadata of texts."""
    from mmengine.runner.checkpoint import _load_checkpoint

    weights = {'w': torch.arange(3.0)}
    write_weights(tmp_path / 'a.pth', weights, 'beit_mm', ABOUT)
    content = torch.load(tmp_path / 'a.pth', weights_only=True)
    assert content['meta']['about'] == ABOUT
    assert _load_checkpoint(str(tmp_path / 'a.pth'))['state_dict']['w'].equal(weights['w'])
    write_weights(tmp_path / 'a.safetensors', weights, 'timm', ABOUT)
    with safe_open(tmp_path / 'a.safetensors', 'pt') as file:
        assert json.loads(file.metadata()['about']) == ABOUT
        assert file.metadata()['format'] == 'pt'


def test_files_of_others_say_nothing(tmp_path):
    torch.save({'w': torch.ones(2)}, tmp_path / 'bare.pth')
    torch.save({'state_dict': {'w': torch.ones(2)}, 'meta': {'epoch': 3}}, tmp_path / 'mm.pth')
    safetensors.torch.save_file({'w': torch.ones(2)}, tmp_path / 'plain.safetensors')
    for name in ('bare.pth', 'mm.pth', 'plain.safetensors'):
        assert read_about(tmp_path / name) == {}
    torch.save({'w': torch.ones(2), 'meta': {'about': [1]}}, tmp_path / 'odd.pth')
    with pytest.raises(CheckpointError, match=r'about is \[1\]; it must be values by name'):
        read_about(tmp_path / 'odd.pth')
    with pytest.raises(FileNotFoundError, match='no such checkpoint'):
        read_about(tmp_path / 'none.safetensors')


@pytest.mark.parametrize('value', [torch.ones(1), float('nan'), {1, 2}])
def test_what_is_no_plain_value_is_refused_before_writing(tmp_path, value):
    with pytest.raises(ValueError, match='numbers, texts, lists and dicts'):
        write_weights(tmp_path / 'a.pth', {'w': torch.ones(2)}, 'beit_mm', {'images': value})
    assert not list(tmp_path.iterdir())


def test_a_library_of_bare_weights_has_no_place_in_pth(tmp_path):
    with pytest.raises(ValueError, match=r'timm is bare weights.*write \.safetensors'):
        write_weights(tmp_path / 'a.pth', {'w': torch.ones(2)}, 'timm', ABOUT)


def test_names_go_through_files_and_are_the_models_again(tmp_path):
    names = ('rouge', 'vert', 'bleu', 'proche infrarouge é')
    model = backbone(in_channels=4, bands=names).eval()
    assert read_band_names(model.state_dict()) == names
    for ending in ('pth', 'safetensors'):
        path = tmp_path / f'a.{ending}'
        write_weights(path, model.state_dict(), 'beit_mm', ABOUT)
        loaded = load(path)
        assert loaded.bands == names
        images = torch.rand(1, 4, 16, 16)
        assert loaded(images)[0].equal(model(images)[0])


@pytest.mark.parametrize(
    'packed', [torch.ones(2), torch.tensor([255], dtype=torch.uint8), pack_names(['a', 'a'])]
)
def test_what_is_no_names_is_refused(packed):
    with pytest.raises(CheckpointError, match='band_names must be different names'):
        read_band_names({'band_names': packed})


def test_a_conversion_keeps_what_is_said(tmp_path):
    model = backbone(in_channels=4, bands=ABOUT['images']['bands'], out_type='avg_featmap')
    write_weights(tmp_path / 'ours.pth', model.state_dict(), 'beit_mm', ABOUT)
    convert(tmp_path / 'ours.pth', tmp_path / 'timm.safetensors', to='timm')
    assert read_about(tmp_path / 'timm.safetensors') == ABOUT
    convert(tmp_path / 'ours.pth', tmp_path / 'ours.safetensors', to='beit_mm')
    assert load(tmp_path / 'ours.safetensors').bands == tuple(ABOUT['images']['bands'])
    # In a folder as the library's own: values in [0, 1].
    convert(tmp_path / 'ours.pth', tmp_path / 'folder', to='timm')
    config = json.loads((tmp_path / 'folder/config.json').read_text())
    assert config['pretrained_cfg']['mean'] == [value / 255 for value in ABOUT['images']['mean']]
    assert config['model_args']['in_chans'] == 4
