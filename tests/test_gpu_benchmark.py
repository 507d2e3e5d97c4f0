"""The GPU's benchmark, rehearsed on the CPU: every stage, and what it leaves in its files."""

import json
import os
import sys
import time
from pathlib import Path

import forked
import mmpretrain.apis  # noqa: F401, for the processes that are forked
import pytest
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / 'benchmarks'))

import attention  # noqa: E402
import gpu  # noqa: E402


def rehearse(out, *arguments):
    command = [sys.executable, ROOT / 'benchmarks/gpu.py', '--device', 'cpu', '--quick']
    env = {**os.environ, 'OMP_NUM_THREADS': '1'}
    result = forked.run([*command, '--out', out, *arguments], env=env)
    return result, json.loads((out / 'gpu.json').read_text())


@pytest.mark.slow
def test_every_stage_runs_and_writes_its_figures(tmp_path):
    result, record = rehearse(tmp_path)
    assert result.returncode == 0, result.stdout[-3000:]
    commands = record['commands']
    assert [row['code'] for row in commands.values()] == [0] * 11
    assert record['failed'] == record['left_out'] == []
    assert 'passed' in commands['check']['tail'][-1]
    for name in ('step_base_default', 'step_large_plain'):
        steps = json.loads((tmp_path / f'{name}.json').read_text())
        assert commands[name]['ratios'] == steps['ratios']
    forms = {row['form'] for row in json.loads((tmp_path / 'attention.json').read_text())['rows']}
    assert forms == set(attention.FORMS)
    for name in ('pipeline_computed', 'pipeline_cached'):
        assert commands[name]['images_per_second'] > 0
        assert 0 <= commands[name]['waited'] < 1
    report = json.loads((tmp_path / 'quickstart/report.json').read_text())
    assert commands['claims']['report'] == report
    assert commands['claims']['iterations_per_second'] > 0


def test_what_does_not_fit_the_time_is_left_out_and_named(tmp_path):
    out = tmp_path / 'out'
    command = [sys.executable, ROOT / 'benchmarks/gpu.py', '--device', 'cpu', '--minutes', '0.1']
    result = forked.run([*command, '--stages', 'attention,claims', '--out', out], env=os.environ)
    assert result.returncode == 0
    assert json.loads((out / 'gpu.json').read_text())['left_out'] == ['attention', 'claims']
    assert 'claims: left out, it takes 4 minutes' in result.stdout


def test_what_runs_out_of_time_is_stopped_with_all_that_it_has_started(tmp_path):
    """A child that outlived it would hold the GPU, and here the output."""
    child = 'import time; time.sleep(60)'
    code = (
        'import subprocess, sys, time\n'
        f'child = subprocess.Popen([sys.executable, "-c", {child!r}])\n'
        'print(child.pid, flush=True)\n'
        'time.sleep(60)'
    )
    log = tmp_path / 'log'
    start = time.monotonic()
    assert gpu.run_within(1, [sys.executable, '-c', code], dict(os.environ), log) is None
    assert time.monotonic() - start < 30
    state = Path('/proc', log.read_text().strip(), 'stat')
    for _ in range(100):
        # Killed, it is gone, or waits as a zombie for whoever inherits it.
        if not state.exists() or state.read_text().rpartition(')')[2].split()[0] == 'Z':
            break
        time.sleep(0.1)
    else:
        pytest.fail('the child lives on')
    assert gpu.run_within(60, [sys.executable, '-c', 'exit(3)'], dict(os.environ), log) == 3


def chunk_of_gradients(qkv, as_one):
    """q, k and v whose backward pass makes three parts of one tensor, or three tensors."""

    class Parts(torch.autograd.Function):
        @staticmethod
        def forward(ctx, q, k, v):
            return q * 2, k * 3, v * 4

        @staticmethod
        def backward(ctx, *grads):
            batch, heads, length, width = grads[0].shape
            chunk = torch.empty(batch, length, 3, heads, width, dtype=grads[0].dtype)
            made.append(chunk)
            for index, (grad, factor) in enumerate(zip(grads, (2, 3, 4), strict=True)):
                chunk[:, :, index] = (grad * factor).transpose(1, 2)
            parts = [chunk[:, :, index].transpose(1, 2) for index in range(3)]
            return tuple(parts if as_one else [part.clone() for part in parts])

    made = []
    return Parts.apply(*attention.SplitWithoutCopy.apply(qkv)), made


@pytest.mark.parametrize('as_one', [True, False])
def test_gradients_that_are_parts_of_one_are_not_copied(as_one):
    torch.manual_seed(0)
    qkv = torch.randn(2, 5, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 2, 4, 5, 6, dtype=torch.float64)
    parts, made = chunk_of_gradients(qkv, as_one)
    loss = sum((p * w).sum() for p, w in zip(parts, weights, strict=True))
    (grad,) = torch.autograd.grad(loss, qkv)
    plain = [part * n for part, n in zip(attention.split(qkv), (2, 3, 4), strict=True)]
    loss = sum((p * w).sum() for p, w in zip(plain, weights, strict=True))
    (expected,) = torch.autograd.grad(loss, qkv)
    assert torch.equal(grad, expected)
    assert (grad.data_ptr() == made[0].data_ptr()) == as_one
