"""Tokenizer weights under this project's names, whoever published them."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from dall_e import Decoder, Encoder, map_pixels, unmap_pixels
from mmpretrain.models.selfsup.cae import DALLEEncoder

from beit_mm.checkpoints import CheckpointError, load_tokenizer_state_dict
from beit_mm.models import DiscreteVAE, DVAETargetGenerator


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
    ],
)
def test_a_file_without_a_tokenizer_is_refused_by_name(tmp_path, weights):
    path = tmp_path / 'other.pth'
    torch.save(weights, path)
    with pytest.raises(CheckpointError, match=r'other\.pth holds no image tokenizer.*train\.py'):
        load_tokenizer_state_dict(path)


# --- OpenAI's pickled modules -----------------------------------------------------------------


@pytest.fixture(scope='module')
def openai(tmp_path_factory):
    """The two networks, small, and the folder where they lie as OpenAI publishes them."""
    folder = tmp_path_factory.mktemp('openai')
    torch.manual_seed(0)
    encoder, decoder = Encoder(n_hid=64, vocab_size=512), Decoder(n_hid=64, vocab_size=512)
    with torch.no_grad():
        for parameter in (*encoder.parameters(), *decoder.parameters()):
            # Biases are zero at first, which would hide their loss.
            parameter.add_(torch.randn_like(parameter) * 0.01)
    for name, module in (('encoder', encoder), ('decoder', decoder)):
        torch.save(module, folder / f'{name}.pkl')
        torch.save(module, folder / f'{name}_old.pkl', _use_new_zipfile_serialization=False)
    return encoder, decoder, folder


@pytest.mark.parametrize('ending', ['.pkl', '_old.pkl'])
def test_openais_pickles_give_its_logits_tokens_and_images(openai, ending):
    encoder, decoder, folder = openai
    paths = [folder / f'encoder{ending}', str(folder / f'decoder{ending}')]
    model = DiscreteVAE(vocab_size=512, hidden=64)
    model.load_state_dict(load_tokenizer_state_dict(paths))
    # Squares of one colour each: to a network of random weights all noise looks alike.
    images = torch.rand(2, 3, 4, 3).repeat_interleave(16, 2).repeat_interleave(16, 3)
    with torch.no_grad():
        logits = encoder(map_pixels(images))
        tokens = logits.argmax(dim=1)
        codes = F.one_hot(tokens, 512).permute(0, 3, 1, 2).float()
        pictures = unmap_pixels(torch.sigmoid(decoder(codes)[:, :3]))
        assert logits.std() > 0.1
        assert len(tokens.unique()) > 10
        torch.testing.assert_close(model.encode(images), logits, rtol=0, atol=1e-4)
        assert model.tokenize(images).equal(tokens)
        torch.testing.assert_close(model.decode(tokens), pictures, rtol=0, atol=1e-4)


def test_openais_pickles_are_read_without_its_package(openai):
    *_, folder = openai
    program = """
import sys
sys.modules['dall_e'] = sys.modules['attr'] = None  # any import of them fails
from beit_mm.checkpoints import load_tokenizer_state_dict
weights = load_tokenizer_state_dict(sys.argv[1:])
print(len(weights), sum(tensor.numel() for tensor in weights.values()))
"""
    result = subprocess.run(
        [sys.executable, '-c', program, folder / 'encoder.pkl', folder / 'decoder.pkl'],
        capture_output=True,
        text=True,
        check=False,
    )
    encoder, decoder, _ = openai
    parameters = [*encoder.parameters(), *decoder.parameters()]
    expected = f'{len(parameters)} {sum(parameter.numel() for parameter in parameters)}'
    assert result.stdout.strip() == expected, result.stderr[-2000:]


def test_openais_decoder_alone_is_refused_by_name(openai):
    *_, folder = openai
    with pytest.raises(CheckpointError, match=r'decoder\.pkl holds a decoder and no encoder'):
        load_tokenizer_state_dict(folder / 'decoder.pkl')


def test_the_target_generator_takes_openais_encoder(openai):
    encoder, _, folder = openai
    generator = DVAETargetGenerator(
        dict(type='beit_mm.DiscreteVAE', vocab_size=512, hidden=64), str(folder / 'encoder.pkl')
    )
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert generator(images).equal(encoder(map_pixels(images)).argmax(dim=1))


def test_the_tokenizer_of_mmpretrains_pretraining_run_is_taken(tmp_path):
    torch.manual_seed(0)
    peer = DALLEEncoder(n_hid=8, vocab_size=32)
    saved = {f'target_generator.{name}': tensor for name, tensor in peer.state_dict().items()}
    path = tmp_path / 'mim.pth'
    torch.save(dict(state_dict=saved | {'backbone.cls_token': torch.ones(3)}), path)
    model = random_tokenizer(with_decoder=False)
    model.load_state_dict(load_tokenizer_state_dict(path))
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model.encode(images), peer(0.8 * images + 0.1), rtol=1e-5, atol=1e-5)
