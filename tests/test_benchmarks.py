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

from beit_mm.layers import linear

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / 'benchmarks'))

import scaling  # noqa: E402
import step  # noqa: E402

pytest.importorskip('mmpretrain')


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
