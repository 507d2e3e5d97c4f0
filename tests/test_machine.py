"""What is chosen for a machine, from what it says of itself."""

import os
import subprocess
import sys

import pytest
import torch

from beit_mm import machine
from beit_mm.layers import linear
from beit_mm.layers.attention import HALF
from beit_mm.layers.compiling import can_compile
from beit_mm.layers.fast_paths import fast_paths
from beit_mm.machine import (
    Processor,
    choose_compiling,
    choose_half_attention,
    choose_products,
    judge_half,
    processor,
)


@pytest.mark.parametrize(
    ('vendor', 'instructions', 'has_onednn', 'chosen'),
    [
        ('AuthenticAMD', 'AVX512', True, 'oneDNN'),
        ('AuthenticAMD', 'AVX512_BF16', True, 'oneDNN'),
        ('AuthenticAMD', 'AVX512', False, 'PyTorch'),
        ('AuthenticAMD', 'AVX2', True, 'PyTorch'),
        ('AuthenticAMD', 'DEFAULT', True, 'PyTorch'),
        ('GenuineIntel', 'AVX512', True, 'PyTorch'),
        ('', 'AVX512', True, 'PyTorch'),
        ('', 'SVE256', True, 'PyTorch'),
    ],
)
def test_products(vendor, instructions, has_onednn, chosen):
    assert choose_products(Processor(vendor, instructions), has_onednn).chosen == chosen


def test_attention_in_bfloat16():
    assert choose_half_attention(True).chosen == 'the formula, in place'
    assert choose_half_attention(False).chosen == 'PyTorch'


@pytest.mark.parametrize(
    ('vendor', 'has_amx', 'has_products', 'judged'),
    [
        ('AuthenticAMD', False, True, 'faster'),
        ('AuthenticAMD', False, False, 'slower'),
        ('GenuineIntel', True, True, 'faster'),
        ('GenuineIntel', False, True, 'slower'),
        ('GenuineIntel', False, False, 'slower'),
        ('', False, True, 'faster'),
    ],
)
def test_training_in_bfloat16(vendor, has_amx, has_products, judged):
    assert judge_half(Processor(vendor, 'AVX512', has_amx), has_products).chosen == judged


@pytest.mark.parametrize(
    ('cpuinfo', 'told'),
    [
        ('vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16 amx_bf16 amx_tile\n', True),
        ('vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16\n', False),
    ],
)
def test_whether_there_is_amx_is_read_from_what_linux_says(monkeypatch, cpuinfo, told):
    monkeypatch.setattr(machine.Path, 'is_file', lambda path: True)
    monkeypatch.setattr(machine.Path, 'read_text', lambda path: cpuinfo)
    ours = processor.__wrapped__()
    assert (ours.vendor, ours.has_amx) == ('GenuineIntel', told)


@pytest.mark.parametrize('limit', ['ATEN_CPU_CAPABILITY=default', 'ONEDNN_MAX_CPU_ISA=AVX2'])
def test_attention_follows_the_products_of_onednn_not_the_instructions_of_pytorch(limit):
    """Only what limits oneDNN takes its products of bfloat16 away."""
    name, value = limit.split('=')
    if name.startswith('ONEDNN') and not can_compile():
        pytest.skip('older PyTorch asks the processor, not oneDNN')
    code = 'from beit_mm.layers import attention; print(attention.HALF.chosen)'
    chosen = subprocess.run(
        [sys.executable, '-c', code], env={**os.environ, name: value},
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert chosen == ('PyTorch' if name.startswith('ONEDNN') else HALF.chosen)


def test_the_instructions_are_those_that_pytorch_was_told_to_use():
    """A processor without AVX-512, acted by one with: nothing but PyTorch's own products."""
    code = (
        'import torch; from beit_mm.machine import processor; from beit_mm.layers import linear;'
        'print(processor().instructions, linear.PRODUCTS.chosen, sep="\\n")'
    )
    env = {**os.environ, 'ATEN_CPU_CAPABILITY': 'default'}
    result = subprocess.run(
        [sys.executable, '-c', code], env=env, capture_output=True, text=True, check=True
    )
    instructions, products = result.stdout.splitlines()
    assert instructions in ('DEFAULT', 'NO AVX')  # the latter before torch 2.2
    assert products == 'PyTorch'


def test_the_same_machine_is_always_answered_alike():
    processor.cache_clear()
    first = processor()
    processor.cache_clear()
    assert processor() == first
    assert first.instructions == torch.backends.cpu.get_cpu_capability()


@pytest.mark.parametrize(
    ('capability', 'enough_torch', 'has_triton', 'chosen'),
    [
        ((9, 0), True, True, 'yes'),
        ((8, 0), True, True, 'yes'),
        ((7, 5), True, True, 'no'),
        ((9, 0), False, True, 'no'),
        ((9, 0), True, False, 'no'),
    ],
)
def test_compiling_on_a_gpu(monkeypatch, capability, enough_torch, has_triton, chosen):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: capability)
    monkeypatch.setattr(machine, '_has_triton', lambda: has_triton)
    assert choose_compiling(torch.device('cuda'), enough_torch).chosen == chosen
    assert choose_compiling(torch.device('cpu'), enough_torch).chosen == 'no'


def test_the_log_names_each_choice_with_its_reason(monkeypatch):
    lines = [str(choice) for choice in fast_paths(torch.device('cpu'))]
    assert str(linear.PRODUCTS) in lines
    assert lines[0].startswith('processor: ')
    assert all(line.endswith(')') and ' (' in line for line in lines)
