"""The GPU's benchmark, rehearsed on the CPU: every stage, and what it leaves in its files."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import forked
import mmpretrain.apis  # noqa: F401, for the processes that are forked
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / 'benchmarks'))

import attention_forms  # noqa: E402
import gpu  # noqa: E402


def fork_within(seconds, arguments, environment, log):
    """``gpu.run_within`` in forks, which need not import everything for each command."""
    ended = forked.run(arguments, env=environment, cwd=ROOT, capture_output=True, text=True)
    log.write_text(ended.stdout + ('' if ended.stderr == ended.stdout else ended.stderr))
    return ended.returncode


@pytest.fixture
def rehearse(tmp_path, monkeypatch):
    """Runs the command with these arguments and gives its exit code and its record."""

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['gpu.py', '--device', 'cpu', *arguments])
        sys.argv += ['--out', str(tmp_path)]
        with pytest.raises(SystemExit) as end:
            gpu.main()
        return end.value.code, json.loads((tmp_path / 'gpu.json').read_text())

    monkeypatch.setattr(gpu, 'run_within', fork_within)
    # Other tests have imported them, at the small scale, and forks would have them.
    for name in [name for name in sys.modules if name.startswith('claim')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    return run


@pytest.fixture
def photos(tmp_path):
    """Two classes of 30 training photos and one for validation."""
    root = tmp_path / 'photos'
    for split, size in (('train', 30), ('val', 1)):
        for name in ('ant', 'bee'):
            (root / split / name).mkdir(parents=True)
            for index in range(size):
                Image.new('RGB', (64, 64), (8 * index, 0, 0)).save(
                    root / split / name / f'{index}.jpg'
                )
    return root


@pytest.mark.slow
def test_every_stage_runs_and_writes_its_figures(tmp_path, rehearse, photos):
    code, record = rehearse('--quick', '--data', str(photos))
    assert code == 0, record
    commands = record['commands']
    assert [row['code'] for row in commands.values()] == [0] * 12
    assert record['failed'] == record['left_out'] == []
    assert 'passed' in commands['check']['tail'][-1]
    for name in ('step_base_default', 'step_large_plain'):
        steps = json.loads((tmp_path / f'{name}.json').read_text())
        assert commands[name]['ratios'] == steps['ratios']
    for method in ('mae', 'vit'):
        assert (
            json.loads((tmp_path / f'step_{method}.json').read_text())['benchmark']
            == f'{method}_step'
        )
    forms = {row['form'] for row in json.loads((tmp_path / 'attention.json').read_text())['rows']}
    assert forms == set(attention_forms.FORMS)
    for name in ('pipeline_computed', 'pipeline_cached'):
        assert commands[name]['images_per_second'] > 0
        assert 0 <= commands[name]['waited'] < 1
    report = json.loads((tmp_path / 'quickstart/report.json').read_text())
    assert commands['quickstart']['report'] == report
    assert commands['quickstart']['iterations_per_second'] > 0
    (kept,) = (tmp_path / 'claims_larger').glob('*.json')
    kept = json.loads(kept.read_text())
    assert kept['settings']['options']['model.backbone.arch.embed_dims'] == 384
    assert 0 < kept['seeds']['0']['mim/mse'] < 10


def test_what_does_not_fit_the_time_is_left_out_and_named(rehearse, capsys):
    code, record = rehearse('--minutes', '0.1', '--stages', 'attention,quickstart,claims')
    assert code == 0
    assert record['left_out'] == ['attention', 'quickstart', 'claims']
    printed = capsys.readouterr().out
    assert 'quickstart: left out, it takes 4 minutes' in printed
    assert 'claims: left out, it takes --data' in printed


def test_on_a_cpu_no_command_sees_a_gpu(rehearse, monkeypatch):
    seen = []

    def keep(seconds, arguments, environment, log):
        seen.append(environment.get('CUDA_VISIBLE_DEVICES'))
        log.write_text('')
        return 1

    monkeypatch.setattr(gpu, 'run_within', keep)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0')
    for device, visible in (('cpu', ''), ('cuda', '0')):
        seen.clear()
        monkeypatch.setattr(gpu, 'describe', lambda device: {})
        assert rehearse('--device', device, '--stages', 'pipeline,quickstart')[0] == 1
        assert seen == [visible] * 2


def test_photos_that_no_stage_takes_are_refused(monkeypatch, capsys):
    command = ['gpu.py', '--data', 'photos', '--stages']
    monkeypatch.setattr(sys, 'argv', [*command, 'check,claims'])
    assert gpu.parse_args().data.name == 'photos'
    monkeypatch.setattr(sys, 'argv', [*command, 'check,step'])
    with pytest.raises(SystemExit):
        gpu.parse_args()
    assert '--data is for claims, which is not among --stages' in capsys.readouterr().err


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
    return Parts.apply(*attention_forms.SplitWithoutCopy.apply(qkv)), made


@pytest.mark.parametrize('as_one', [True, False])
def test_gradients_that_are_parts_of_one_are_not_copied(as_one):
    torch.manual_seed(0)
    qkv = torch.randn(2, 5, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 2, 4, 5, 6, dtype=torch.float64)
    parts, made = chunk_of_gradients(qkv, as_one)
    loss = sum((p * w).sum() for p, w in zip(parts, weights, strict=True))
    (grad,) = torch.autograd.grad(loss, qkv)
    plain = [part * n for part, n in zip(attention_forms.split(qkv), (2, 3, 4), strict=True)]
    loss = sum((p * w).sum() for p, w in zip(plain, weights, strict=True))
    (expected,) = torch.autograd.grad(loss, qkv)
    assert torch.equal(grad, expected)
    assert (grad.data_ptr() == made[0].data_ptr()) == as_one


def test_tritons_kernels_are_the_formula(tmp_path):
    """Output, gradients of q, k and v, and that of the bias, in Triton's interpreter."""
    pytest.importorskip('triton', minversion='3.0')
    out = tmp_path / 'a.json'
    result = subprocess.run(
        [sys.executable, ROOT / 'benchmarks/attention_forms.py', '--device', 'cpu', '--quick',
         '--dtype', 'float32', '--forms', 'Triton, whole rows', '--out', out],
        env={**os.environ, 'TRITON_INTERPRET': '1'}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    (row,) = json.loads(out.read_text())['rows']
    assert row['right'], row
