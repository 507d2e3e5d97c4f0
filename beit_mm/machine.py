"""What is fast on this machine: decided by what the processor can do, never by a stopwatch.

A choice follows from the instruction set, the vendor and the device alone, so that a run repeats
bit for bit. :func:`beit_mm.layers.fast_paths` says what was chosen and why; training logs it.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

# NVIDIA's Ampere: the first whose compiled kernels have bfloat16 and were worth their start-up.
MIN_CAPABILITY = (8, 0)


class Processor(NamedTuple):
    """What a choice may depend on.

    Attributes:
        vendor: As the processor names it, such as 'AuthenticAMD' or 'GenuineIntel'; '' if unknown.
        instructions: The widest instructions that PyTorch uses: 'AVX512', 'AVX2', 'DEFAULT' ...
        has_amx: Whether it multiplies matrices of bfloat16 as a whole.
    """

    vendor: str
    instructions: str
    has_amx: bool = False


class Choice(NamedTuple):
    """A line of the log."""

    what: str
    chosen: str
    why: str

    def __str__(self) -> str:
        return f'{self.what}: {self.chosen} ({self.why})'


@cache
def processor() -> Processor:
    """The processor of this machine."""
    cpuinfo = Path('/proc/cpuinfo')
    told: dict[str, str] = {}
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(':')
            told.setdefault(name.strip(), value.strip())
    return Processor(
        vendor=told.get('vendor_id', ''),
        instructions=torch.backends.cpu.get_cpu_capability(),
        has_amx='amx_bf16' in told.get('flags', '').split(),
    )


def choose_products(processor: Processor, has_onednn: bool) -> Choice:
    """Which library takes large float32 products on the CPU, 'oneDNN' or 'PyTorch'.

    PyTorch gives them to MKL, which does without AVX-512 on processors that are not Intel's, where
    oneDNN uses it. Without AVX-512 oneDNN's products are the slower ones.
    """
    what = 'linear layers, float32, CPU'
    if not has_onednn:
        return Choice(what, 'PyTorch', 'this build of PyTorch has no oneDNN product')
    if not processor.instructions.startswith('AVX512'):
        return Choice(what, 'PyTorch', f'instructions are {processor.instructions}, not AVX-512')
    if processor.vendor in ('GenuineIntel', ''):
        return Choice(
            what, 'PyTorch', 'MKL uses all of an Intel processor, or its maker is unknown'
        )
    return Choice(what, 'oneDNN', f'AVX-512 of {processor.vendor}, which MKL does without')


def choose_half_attention(has_products: bool) -> Choice:
    """How attention is trained in bfloat16 on the CPU, by 'the formula, in place' or 'PyTorch'.

    Args:
        has_products: Whether oneDNN has products of bfloat16 here; without, those of the formula
            take two to six times as long as all of PyTorch's attention.
    """
    what = 'attention, bfloat16, training, CPU'
    if not has_products:
        return Choice(what, 'PyTorch', 'oneDNN has no products of bfloat16 on this processor')
    return Choice(what, 'the formula, in place', "the gradients of PyTorch's own are slower")


def judge_half(processor: Processor, has_products: bool) -> Choice:
    """Whether the CPU trains in bfloat16 'faster' or 'slower' than in float32.

    Args:
        processor: What it says of itself.
        has_products: Whether oneDNN has products of bfloat16 here.
    """
    what = 'bfloat16 (--amp) beside float32, CPU'
    if not has_products:
        return Choice(what, 'slower', 'oneDNN has no products of bfloat16 on this processor')
    if processor.vendor == 'GenuineIntel' and not processor.has_amx:
        return Choice(
            what, 'slower', 'without AMX an Intel processor multiplies it at half the rate'
        )
    return Choice(what, 'faster', 'the processor multiplies bfloat16')


def choose_compiling(device: torch.device, enough_torch: bool) -> Choice:
    """Whether blocks and tokenizer are compiled where a config leaves it open: 'yes' or 'no'."""
    what = 'compiled blocks and tokenizer'
    if device.type != 'cuda':
        return Choice(what, 'no', 'on a CPU they are no faster')
    if not enough_torch:
        return Choice(what, 'no', f'that takes PyTorch 2.5, this is {torch.__version__}')
    capability = torch.cuda.get_device_capability(device)
    if capability < MIN_CAPABILITY:
        return Choice(what, 'no', f'compute capability {capability}, less than {MIN_CAPABILITY}')
    if not _has_triton():
        return Choice(what, 'no', 'the package triton, which the compiler needs, is missing')
    return Choice(what, 'yes', 'fewer passes over the memory; parts of a million weights or more')


@cache
def _has_triton() -> bool:
    try:
        import triton  # noqa: F401
    except ImportError:
        return False
    return True
