"""Tokenizers of any size, by their weights alone."""

import pytest
import torch

from beit_mm.checkpoints import CheckpointError
from beit_mm.models import DiscreteVAE
from beit_mm.models.tokenizer_shapes import load_tokenizer, settings_of_tokenizer

SMALL = dict(vocab_size=12, hidden=8, num_groups=3, blocks_per_group=2, decoder_input=6)


@pytest.mark.parametrize(
    'settings',
    [
        {},
        dict(quantizer='vector', code_dims=5),
        dict(quantizer='vector', in_channels=2, bands=('red', 'nir'), num_groups=1),
        dict(with_decoder=False, blocks_per_group=1),
    ],
)
def test_the_same_tokenizer_is_built_again(settings, tmp_path):
    torch.manual_seed(0)
    built = DiscreteVAE(**{**SMALL, **settings}).eval()
    torch.save(dict(state_dict=built.state_dict()), tmp_path / 'tokenizer.pth')
    loaded = load_tokenizer(tmp_path / 'tokenizer.pth')
    assert not any(module.training for module in loaded.modules())
    images = torch.rand(2, built.in_channels, 16, 16)
    ids = built.tokenize(images)
    assert loaded.tokenize(images).equal(ids)
    assert loaded.bands == built.bands
    assert (loaded.decoder is None) == (built.decoder is None)
    if built.decoder is not None:
        assert loaded.decode(ids).equal(built.decode(ids))


def test_weights_of_half_an_encoder_are_refused(tmp_path):
    weights = DiscreteVAE(**SMALL).state_dict()
    del weights['encoder.group_2.block_1.res_path.conv_1.weight']
    torch.save(weights, tmp_path / 'tokenizer.pth')
    with pytest.raises(CheckpointError, match='no whole tokenizer'):
        load_tokenizer(tmp_path / 'tokenizer.pth')
    with pytest.raises(CheckpointError, match='it lacks'):
        settings_of_tokenizer({'encoder.input.weight': torch.zeros(1, 3, 7, 7)})
