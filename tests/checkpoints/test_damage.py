"""Damaged checkpoints: an error that names the file, or the very weights that were saved."""

import io
import random
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import safetensors.torch
import torch
from mmengine.logging import HistoryBuffer

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


# ----------------------------------------------------------------------------------------------
# 10,000 changed bytes
# ----------------------------------------------------------------------------------------------


def written_by_mmengine() -> dict:
    """A small one of everything that a run's checkpoint holds."""
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    return dict(
        meta=dict(epoch=3, iter=7, seed=np.int64(5), classes=('a', 'b'), cfg='a = 1'),
        state_dict=OrderedDict(weight=torch.ones(2, 3), steps=torch.tensor(4)),
        optimizer=dict(state={0: dict(step=torch.tensor(7.0))}, param_groups=[dict(lr=1e-3)]),
        message_hub=dict(log_scalars=OrderedDict(loss=history), runtime_info=OrderedDict()),
    )


def changed(content: bytes, rng: random.Random) -> bytes:
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def with_pickle(archive: bytes, change) -> bytes:
    """The same zip archive with another pickle in it, and a checksum that agrees."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(target, 'w') as new:
        for record in old.infolist():
            content = old.read(record)
            if record.filename.endswith('data.pkl'):
                content = change(content)
            new.writestr(record.filename, content)
    return target.getvalue()


@pytest.mark.parametrize('form', ['zip', 'pickle in a zip', 'before torch 1.6', 'safetensors'])
def test_2500_files_with_changed_bytes_give_this_projects_errors_only(tmp_path, form):
    """Nothing is run, nothing else is raised, whether or not a checksum tells of the change."""
    path = tmp_path / ('a.safetensors' if form == 'safetensors' else 'a.pth')
    if form == 'safetensors':
        safetensors.torch.save_file(dict(weight=torch.ones(2, 3), steps=torch.tensor(4)), path)
    else:
        torch.save(
            written_by_mmengine(), path, _use_new_zipfile_serialization=form != 'before torch 1.6'
        )
    content = path.read_bytes()
    rng = random.Random(0)
    read = refused = 0
    for _ in range(2500):
        if form == 'pickle in a zip':
            path.write_bytes(with_pickle(content, lambda pickled: changed(pickled, rng)))
        else:
            path.write_bytes(changed(content, rng))
        try:
            load_state_dict(path)
            read += 1
        except CheckpointError as error:
            assert str(path) in str(error)  # noqa: PT017
            refused += 1
    assert refused > 250
    # Without checksums a changed value cannot be told; with them next to nothing gets through.
    assert form != 'zip' or refused > 4 * read
