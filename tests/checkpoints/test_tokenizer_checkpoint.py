"""Tokenizer weights under this project's names, whoever published them."""

import pytest
import torch
from mmpretrain.models.selfsup.cae import DALLEEncoder

from beit_mm.checkpoints import CheckpointError, load_tokenizer_state_dict
from beit_mm.models import DiscreteVAE


def random_tokenizer(**changes):
    torch.manual_seed(0)
    return DiscreteVAE(**{**dict(vocab_size=32, hidden=8, decoder_input=8), **changes})


def assert_same_tensors(loaded, expected):
    assert loaded.keys() == expected.keys()
    for name, tensor in expected.items():
        assert loaded[name].equal(tensor), name


@pytest.mark.parametrize('prefix', ['', 'module.', 'target_generator.tokenizer.'])
@pytest.mark.parametrize('with_decoder', [False, True])
def test_a_checkpoint_of_this_project_is_read_under_its_own_names(tmp_path, prefix, with_decoder):
    weights = random_tokenizer(with_decoder=with_decoder).state_dict()
    saved = {prefix + name: tensor for name, tensor in weights.items()}
    path = tmp_path / 'dvae.pth'
    torch.save(dict(state_dict=saved, meta=dict(iter=3)), path)
    assert_same_tensors(load_tokenizer_state_dict(path), weights)


def test_from_a_pretraining_run_only_the_tokenizer_is_taken(tmp_path):
    weights = random_tokenizer(with_decoder=False).state_dict()
    saved = {f'target_generator.tokenizer.{name}': t for name, t in weights.items()}
    saved |= {
        'backbone.cls_token': torch.ones(3),
        'head.classifier.weight': torch.ones(3),
        'data_preprocessor.mean': torch.ones(3),
    }
    path = tmp_path / 'mim.pth'
    torch.save(dict(state_dict=saved), path)
    assert_same_tensors(load_tokenizer_state_dict(str(path)), weights)


@pytest.mark.parametrize('wrapped', [False, True])
def test_mmpretrains_encoder_is_renamed_tensor_by_tensor(tmp_path, wrapped):
    torch.manual_seed(0)
    peer = DALLEEncoder(n_hid=8, vocab_size=32)
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.normal_()
    path = tmp_path / 'dalle_encoder.pth'
    torch.save(dict(state_dict=peer.state_dict()) if wrapped else peer.state_dict(), path)
    loaded = load_tokenizer_state_dict(path)
    model = random_tokenizer(with_decoder=False)
    model.load_state_dict(loaded)
    # Names alone could be permuted among tensors of one shape; the logits could not.
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model.encode(images), peer(0.8 * images + 0.1), rtol=1e-5, atol=1e-5)
    assert loaded['encoder.group_2.block_1.id_path.bias'].equal(
        peer.blocks.group_2.block_1.id_path.b
    )


def test_a_missing_file_is_reported_with_two_ways_to_get_one(tmp_path):
    path = tmp_path / 'missing.pth'
    with pytest.raises(FileNotFoundError) as error:
        load_tokenizer_state_dict(path)
    message = str(error.value)
    assert str(path) in message
    assert 'https://download.openmmlab.com/' in message
    assert 'dalle_encoder.pth' in message
    assert 'tools/train.py configs/dvae_train.py' in message


@pytest.mark.parametrize(
    'weights',
    [
        {'backbone.cls_token': torch.zeros(3)},
        # A U-Net has an encoder and a decoder too.
        {'encoder.layer.weight': torch.zeros(3), 'decoder.layer.weight': torch.zeros(3)},
        {'decoder.input.weight': torch.zeros(3)},
    ],
)
def test_a_file_without_a_tokenizer_is_refused_by_name(tmp_path, weights):
    path = tmp_path / 'other.pth'
    torch.save(weights, path)
    with pytest.raises(CheckpointError, match=r'other\.pth holds no image tokenizer.*train\.py'):
        load_tokenizer_state_dict(path)
