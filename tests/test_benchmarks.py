"""The benchmarks: that their commands run, and that what they count is what PyTorch counts."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from beit_mm.checkpoints import convert_state_dict
from beit_mm.layers import linear
from beit_mm.layers.attention import Attention, plain_attention

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / 'benchmarks'))

import scaling  # noqa: E402
import step  # noqa: E402

pytest.importorskip('mmpretrain')

import vit_accuracy  # noqa: E402
import vit_flop  # noqa: E402
import vit_scaling  # noqa: E402
import vit_step  # noqa: E402


@pytest.fixture(autouse=True)
def plain_products(monkeypatch):
    """PyTorch counts its own products, not oneDNN's."""
    monkeypatch.setattr(linear, 'MIN_PRODUCTS', math.inf)


def contestant(batch_size=2, **settings):
    args = step.argparse.Namespace(
        device='cpu', precision='float32', arch='base', quick=True, cfg_options=None
    )
    return scaling.contestant(args, batch_size, **settings)


def test_flop_of_the_transformer_are_those_that_pytorch_counts():
    ours = contestant()
    ours.give_tokens(True)
    ours.model.backbone.rel_pos_bias.requires_grad_(True)
    with FlopCounterMode(display=False) as counter:
        ours.forward().backward()
    # Images need no gradient: the embedding's backward pass is one product, not two.
    not_done = 2 * 196 * 32 * 3 * 16**2
    formula = step.transformer_flop(step.QUICK, masked=75) - not_done
    assert counter.get_total_flops() == pytest.approx(2 * formula, rel=1e-6)


def test_flop_of_the_tokenizer_are_those_that_pytorch_counts():
    ours = contestant()
    tokenizer = ours.computed.tokenizer
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        tokenizer.encode(torch.rand(1, 3, 112, 112))
    assert step.tokenizer_flop(tokenizer) == counter.get_total_flops()


def test_kept_bytes_grow_by_each_image_alike():
    sizes = [scaling.kept_bytes(contestant(size)) for size in (2, 3, 4)]
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0]
    # At least the input of each of a block's four products and of its two norms.
    assert sizes[1] - sizes[0] > 2 * 197 * (5 * 32 + 64) * 4


def run(script, *arguments):
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    return subprocess.run(
        [sys.executable, str(ROOT / 'benchmarks' / script), '--device', 'cpu', *arguments],
        capture_output=True,
        text=True,
        env=env,
        check=True,
    ).stdout


def test_step_measures_both_and_writes_what_it_prints(tmp_path):
    out = tmp_path / 'folder' / 'step.json'
    table = run('step.py', '--quick', '--batch-size', '2', '--repeats', '1', '--out', str(out))
    report = json.loads(out.read_text())
    rows = report['rows']
    for who in ('ours', 'MMPretrain'):
        for part in ('tokenizer', 'forward', 'backward', 'optimizer', 'step, tokens computed'):
            row = rows[f'{who} {part}']
            assert row['images_per_second'] == pytest.approx(2 / row['seconds'])
            assert f'{who} {part} ' in table
    whole = rows['MMPretrain step, tokens computed']['seconds']
    cached = rows['ours step, tokens cached']['seconds']
    assert report['ratios']['step, tokens cached'] == pytest.approx(whole / cached)
    assert report['machine']['versions']['torch'] == torch.__version__
    assert report['settings']['batch_size'] == 2
    assert report['ids_as_in_float32'] == 1  # that is the precision


def test_ids_are_compared_with_those_of_float32():
    ours = contestant()
    ours.computed.precision = 'bfloat16'
    share = step.ids_as_in_float32(ours)
    assert 0 < share < 1
    assert ours.computed.precision == 'bfloat16'


def test_scaling_measures_batches_resolutions_and_processes(tmp_path):
    out = tmp_path / 'scaling.json'
    arguments = ['--quick', '--repeats', '1', '--batch-sizes', '1', '2', '--batch-size', '2']
    run('scaling.py', *arguments, '--pixels', '224', '256', '--out', str(out))
    rows = json.loads(out.read_text())['rows']
    assert [row['kind'] for row in rows] == 2 * ['batch'] + 2 * ['resolution'] + 2 * ['processes']
    for row in rows:
        images = row.get('batch_size', 2) * row.get('processes', 1)
        assert row['images_per_second'] == pytest.approx(images / row['seconds'])


def test_shards_are_read_beside_the_folder_that_they_are_of(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / 'photos').mkdir()
    for number in range(6):
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'photos/{number}.jpg')
    out = tmp_path / 'shards.json'
    subprocess.run(
        [sys.executable, ROOT / 'benchmarks/shards.py', tmp_path / 'photos', '--rounds', '1',
         '--out', out], env=dict(os.environ, PYTHONPATH=str(ROOT)), check=True, timeout=300,
    )  # fmt: skip
    report = json.loads(out.read_text())
    assert report['images'] == 6
    rates = report['images_per_second']
    for what, ratio in report['shards_to_folder'].items():
        assert ratio == pytest.approx(rates[f'shards {what}'] / rates[f'folder {what}'], rel=0.02)


def vit_contestant(name, pixels=64, patch=16, count=2):
    torch.manual_seed(1)
    images = torch.randn(count, 3, pixels, pixels)
    return vit_step.Contestant(name, step.QUICK, images, patch, torch.float32)


def test_the_three_vits_compute_the_same_function():
    size = dict(embed_dims=64, num_layers=2, num_heads=1, feedforward_channels=128)
    images = torch.randn(2, 3, 64, 64)
    models = {name: build(size, 64, 16).eval() for name, build in vit_step.MODELS.items()}
    ours = models.pop('ours')
    for name, peer in models.items():
        weights = peer.state_dict()
        head = {n: weights.pop(f'head.{n}') for n in ('weight', 'bias')}
        if name == 'MMPretrain':
            weights = {n.removeprefix('backbone.'): w for n, w in weights.items()}
        weights = {n: w for n, w in weights.items() if not n.startswith('head')}
        ours.backbone.load_state_dict(convert_state_dict(weights, 'beit_mm'), strict=False)
        ours.head.load_state_dict(head)
        with torch.no_grad():
            torch.testing.assert_close(ours(images), peer(images), rtol=1e-4, atol=1e-4)


def test_flop_of_a_vit_are_those_that_pytorch_counts(monkeypatch):
    # It does not count the kernel of attention on CPUs.
    monkeypatch.setattr(Attention, 'attend', staticmethod(plain_attention))
    with FlopCounterMode(display=False) as counter:
        vit_contestant('ours').infer()
    head = 2 * 32 * vit_step.CLASSES
    assert counter.get_total_flops() == 2 * (vit_flop.forward_flop(step.QUICK, 16, 16) + head)


def test_a_ratio_is_the_median_of_the_rounds():
    times = dict(ours=[1, 10, 1], timm=[2, 10, 3], MMPretrain=[1, 40, 2])
    assert vit_step.ratios(times) == dict(timm=2, MMPretrain=2)


def test_memory_of_a_vit_grows_by_each_image_alike():
    used = [vit_scaling.used_bytes(vit_contestant('timm', count=count)) for count in (1, 2, 3)]
    assert used[2] - used[1] == used[1] - used[0] > 17 * 32 * 4


@pytest.mark.slow
def test_vit_scaling_goes_on_and_draws(tmp_path):
    out = tmp_path / 's.json'
    arguments = ['--archs', 'tiny', '--pixels', '32', '--repeats', '1', '--batch-size', '1']
    run('vit_scaling.py', *arguments, '--patches', '32', '--out', str(out))
    (first,) = json.loads(out.read_text())['rows']
    run('vit_scaling.py', *arguments, '--patches', '32', '16', '--out', str(out))
    rows = json.loads(out.read_text())['rows']
    assert rows[0] == first
    assert [row['patch'] for row in rows] == [32, 16]
    for memory in (row['memory']['ours'] for row in rows):
        room = 16 * 2**30 - memory['other_bytes']
        assert memory['largest_batch'] == room // memory['bytes_an_image']
    assert Image.open(tmp_path / 's.png').size[0] > 1000


@pytest.mark.slow
def test_accuracy_by_compute_goes_on_and_draws(tmp_path):
    for split, count in (('train', 8), ('val', 4)):
        for name, color in (('dark', 40), ('light', 200)):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new('RGB', (40, 40), (color + number, color, color)).save(
                    folder / f'{number}.png'
                )
    out = tmp_path / 'a.json'

    def train(*seeds):
        subprocess.run(
            [sys.executable, ROOT / 'benchmarks/vit_accuracy.py', '--data', tmp_path, '--out', out,
             '--widths', '24', '--epochs', '2', '30', '--seeds', *seeds],
            env=dict(os.environ, PYTHONPATH=str(ROOT)), check=True, timeout=300,
        )  # fmt: skip
        return json.loads(out.read_text())['rows']

    first = train('0')
    rows = train('0', '1')
    assert rows[:2] == first
    assert [(row['epochs'], row['seed']) for row in rows] == [(2, 0), (30, 0), (2, 1), (30, 1)]
    assert [row['accuracy'] for row in rows if row['epochs'] == 30] == [1, 1]
    forward = vit_flop.forward_flop(vit_accuracy.size_of(24, 4), 16, 8)
    assert first[1]['training_flop'] == 3 * forward * 16 * 30
    assert Image.open(tmp_path / 'a.png').size[0] > 1000


def test_a_point_of_the_accuracy_plot_is_the_mean_of_its_seeds_with_students_interval():
    same = dict(epochs=1, training_flop=10, flop_an_image=2)
    rows = [dict(same, width=24, accuracy=value) for value in (1.0, 2.0, 3.0)]
    rows.append(dict(same, width=48, accuracy=1.0))
    points = vit_accuracy.points(rows)
    # A table of the distribution: 4.303 for two degrees of freedom.
    assert points[24][0]['interval'] == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert (points[24][0]['accuracy'], points[24][0]['seeds']) == (2, 3)
    assert math.isnan(points[48][0]['interval'])
