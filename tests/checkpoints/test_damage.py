"""Damaged checkpoints: an error that names the file, or the very weights that were saved."""

import random

import pytest
import safetensors.torch
import torch

from beit_mm.checkpoints import CheckpointError, load_state_dict
from beit_mm.models import BEiT


def saved_weights(path):
    torch.manual_seed(0)
    arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
    weights = BEiT(arch, img_size=64).state_dict()
    if path.suffix == '.safetensors':
        safetensors.torch.save_file(weights, path)
    else:
        torch.save(dict(state_dict=weights, meta=dict(epoch=3)), path)
    return weights


def damage(content: bytes, rng: random.Random) -> bytes:
    """Cut the end off, or change up to 64 bytes in a row: flip a bit, zero them, make them up."""
    kind = rng.choice(['truncate', 'flip', 'zero', 'garbage', 'remove'])
    place = rng.randrange(len(content))
    length = rng.randint(1, 64)
    if kind == 'truncate':
        return content[:place]
    if kind == 'remove':
        return content[:place] + content[place + length :]
    part = content[place : place + length]
    if kind == 'flip':
        part = bytes([part[0] ^ 1 << rng.randrange(8)]) + part[1:]
    elif kind == 'zero':
        part = bytes(len(part))
    else:
        part = rng.randbytes(len(part))
    return content[:place] + part + content[place + length :]


def test_200_damaged_files_each_give_an_error_that_names_the_file(tmp_path):
    whole, path = tmp_path / 'whole.pth', tmp_path / 'damaged.pth'
    weights = saved_weights(whole)
    content = whole.read_bytes()
    rng = random.Random(0)
    harmless = refused = 0
    while refused < 200:
        path.write_bytes(damage(content, rng))
        if path.read_bytes() == content:
            continue
        try:
            loaded = load_state_dict(path)
        except CheckpointError as error:
            assert str(path) in str(error)  # noqa: PT017
            refused += 1
        else:
            # The zip format has bytes without a meaning (padding, dates): the weights are whole.
            assert loaded.keys() == weights.keys()
            assert all(loaded[name].equal(tensor) for name, tensor in weights.items())
            harmless += 1
    assert harmless < 40


def test_one_flipped_bit_in_a_weight_is_found(tmp_path):
    path = tmp_path / 'damaged.pth'
    weights = saved_weights(path)
    content = path.read_bytes()
    place = content.index(weights['blocks.0.mlp.fc1.weight'].numpy().tobytes()) + 100
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    # torch itself does not notice.
    torch.load(path, weights_only=True)
    with pytest.raises(CheckpointError, match=r'damaged\.pth.*checksum'):
        load_state_dict(path)


@pytest.mark.parametrize('share', [0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_safetensors_file_is_refused_by_name(tmp_path, share):
    path = tmp_path / 'damaged.safetensors'
    saved_weights(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r'damaged\.safetensors'):
        load_state_dict(path)


def test_a_safetensors_file_with_a_damaged_header_is_refused_or_has_other_names(tmp_path):
    path = tmp_path / 'damaged.safetensors'
    weights = saved_weights(path)
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], 'little')
    rng = random.Random(0)
    for _ in range(100):
        place = rng.randrange(header)
        path.write_bytes(content[:place] + rng.randbytes(1) + content[place + 1 :])
        try:
            loaded = load_state_dict(path)
        except CheckpointError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:
            same = loaded.keys() == weights.keys() and all(
                loaded[name].equal(tensor) for name, tensor in weights.items()
            )
            # A changed letter of a name is found when a model takes the weights; a changed shape
            # of the same number of values, or type of the same size, likewise.
            assert same or {n: (t.shape, t.dtype) for n, t in loaded.items()} != {
                n: (t.shape, t.dtype) for n, t in weights.items()
            }
