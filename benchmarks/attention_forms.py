"""Attention with a learned bias: every form that was thought of, at the shapes of BEiT.

    python benchmarks/attention_forms.py --device cuda --out attention.json
    python benchmarks/attention_forms.py --device cpu --quick

Each form takes what a block has, q, k and v in one tensor and a bias that the batch shares, both
with gradients, so that the copy of the gradients of q, k and v into one tensor is timed too. Before
it is timed it is held against the formula in float64: the error of output and gradients must be at
most twice that of the formula in the same precision. A form that fails is named, and the rest goes
on. The form without a bias is a limit, and no candidate.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from this_machine import describe
from torch import Tensor

from beit_mm.layers.attention import fused_attention, plain_attention

SHAPES = [(128, 12, 197, 64), (64, 16, 197, 64), (32, 12, 577, 64)]
QUICK_SHAPES = [(2, 3, 17, 16)]
DTYPES = dict(float32=torch.float32, bfloat16=torch.bfloat16)
# Blocks of FlexAttention's kernels; its default ones do not fit the shared memory of an H100.
SMALL_BLOCKS = dict(
    BLOCK_M=64, BLOCK_N=64, BLOCK_M1=32, BLOCK_N1=64, BLOCK_M2=64, BLOCK_N2=32, num_stages=1
)  # fmt: skip


def split(qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, N, 3, heads, d) -> three times (B, heads, N, d), views."""
    return qkv.permute(2, 0, 3, 1, 4).unbind()


class SplitWithoutCopy(torch.autograd.Function):
    """:func:`split`, whose gradients become one tensor without a copy where they are parts of one.

    PyTorch's memory-efficient kernel makes them so, when q, k and v are parts of one tensor.
    """

    @staticmethod
    def forward(ctx, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return tuple(part.detach() for part in split(qkv))

    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:
        batch, heads, length, width = grads[0].shape
        strides = (3 * heads * width * length, width, 3 * heads * width, 1)
        first = grads[0].data_ptr()
        apart = heads * width * grads[0].element_size()
        if all(
            g.stride() == strides and g.data_ptr() == first + k * apart for k, g in enumerate(grads)
        ):
            shape = (batch, length, 3, heads, width)
            strides = (strides[0], strides[2], heads * width, width, 1)
            return grads[0].as_strided(shape, strides)
        return torch.stack(grads).permute(1, 3, 0, 2, 4)


def by_formula(qkv: Tensor, bias: Tensor) -> Tensor:
    """The plain twin."""
    return plain_attention(*split(qkv), bias.to(qkv.dtype))


def in_use(qkv: Tensor, bias: Tensor) -> Tensor:
    """What the model runs."""
    return fused_attention(*split(qkv), bias)


def in_use_without_copy(qkv: Tensor, bias: Tensor) -> Tensor:
    """The same kernel, and no copy of the gradients."""
    return fused_attention(*SplitWithoutCopy.apply(qkv), bias)


def without_bias(qkv: Tensor, bias: Tensor) -> Tensor:
    """A limit: what the bias costs can at best be nothing."""
    return F.scaled_dot_product_attention(*split(qkv))


def flex(bias_dtype: torch.dtype | None, mode: str | None, options: dict | None) -> Callable:
    """FlexAttention that looks the bias up, score by score."""

    from torch.nn.attention.flex_attention import flex_attention

    compiled = torch.compile(flex_attention, mode=mode, dynamic=False)

    def attend(qkv: Tensor, bias: Tensor) -> Tensor:
        looked_up = bias if bias_dtype is None else bias.to(bias_dtype)

        def add_bias(score, b, h, i, j):
            return score + looked_up[h, i, j]

        q, k, v = split(qkv)
        return compiled(q, k, v, score_mod=add_bias, kernel_options=options)

    return attend


def compiled_formula() -> Callable:
    """The formula by PyTorch's compiler."""
    return torch.compile(by_formula)


def by_triton() -> Callable:
    """Our own kernels, for rows of scores that fit into registers."""
    from attention_by_triton import attention_by_triton

    return attention_by_triton


# Name -> what makes it, and whether it takes a GPU.
FORMS = {
    'formula': (lambda: by_formula, False),
    'in use': (lambda: in_use, False),
    'in use, no copy of gradients': (lambda: in_use_without_copy, False),
    'no bias (limit)': (lambda: without_bias, False),
    'formula compiled': (compiled_formula, True),
    'Triton, whole rows': (by_triton, 'TRITON_INTERPRET' not in os.environ),
    'FlexAttention': (lambda: flex(None, None, None), True),
    'FlexAttention, blocks of 64': (lambda: flex(None, None, SMALL_BLOCKS), True),
    'FlexAttention, bias in bfloat16': (lambda: flex(torch.bfloat16, None, SMALL_BLOCKS), True),
    'FlexAttention, max-autotune': (lambda: flex(torch.bfloat16, 'max-autotune', None), True),
}


def inputs(shape: tuple, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """qkv (B, N, 3, heads, d) and the bias (heads, N, N) in float32."""
    batch, heads, length, width = shape
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(batch, length, 3, heads, width, generator=generator)
    bias = torch.randn(heads, length, length, generator=generator)
    # What half precision cannot hold is no error of a form.
    qkv, bias = qkv.to(device, dtype), bias.to(device, dtype).float()
    return qkv.requires_grad_(), bias.requires_grad_()


def results(form: Callable, qkv: Tensor, bias: Tensor) -> list[Tensor]:
    """Output and gradients of a few images, for the comparison."""
    output = form(qkv, bias)
    weights = torch.linspace(-1, 1, output.numel(), device=output.device).view(output.shape)
    grads = torch.autograd.grad((output * weights.to(output.dtype)).sum(), [qkv, bias])
    return [t.double() for t in (output, *grads)]


def largest_errors(form: Callable, qkv: Tensor, bias: Tensor, exact: list[Tensor]) -> list[float]:
    """Of output, gradient of qkv, gradient of the bias; as shares of the largest value."""
    pairs = zip(results(form, qkv, bias), exact, strict=True)
    return [((one - right).abs().max() / right.abs().max()).item() for one, right in pairs]


def milliseconds(device: torch.device, work: Callable, repeats: int) -> float:
    """Median of one call, with the device idle before and after."""

    def wait() -> None:
        if device.type == 'cuda':
            torch.cuda.synchronize(device)

    times = []
    for _ in range(repeats + 3):
        wait()
        start = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:]) * 1e3


def measure(name: str, shape: tuple, device: torch.device, dtype: torch.dtype, repeats: int):
    """A row of the table."""
    make, takes_gpu = FORMS[name]
    row = dict(form=name, shape=shape)
    if takes_gpu and device.type != 'cuda':
        return dict(row, left_out='takes a GPU')
    try:
        form = make()
        few = (min(shape[0], 4), *shape[1:])
        qkv, bias = inputs(few, device, dtype)
        if name != 'no bias (limit)':
            double = [t.detach().double().requires_grad_() for t in (qkv, bias)]
            exact = results(by_formula, *double)
            allowed = largest_errors(by_formula, qkv, bias, exact)
            row['errors'] = largest_errors(form, qkv, bias, exact)
            row['errors_of_formula'] = allowed
            limits = [2 * error + 1e-6 for error in allowed]
            row['right'] = all(e <= m for e, m in zip(row['errors'], limits, strict=True))
        qkv, bias = inputs(shape, device, dtype)
        gradient = torch.ones_like(form(qkv, bias))
        with torch.no_grad():
            row['forward_ms'] = milliseconds(device, lambda: form(qkv, bias), repeats)

        def both() -> None:
            qkv.grad = bias.grad = None
            form(qkv, bias).backward(gradient)

        row['both_ms'] = milliseconds(device, both, repeats)
        if device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats(device)
            both()
            row['peak_mib'] = torch.cuda.max_memory_allocated(device) / 2**20
    except Exception as error:
        row['failed'] = (
            f'{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ""}'
        )
    return row


def print_row(row: dict) -> None:
    """As it is measured."""
    start = f'{row["form"]:34}{"x".join(map(str, row["shape"])):18}'
    if reason := row.get('left_out') or row.get('failed'):
        print(f'{start}{reason[:120]}', flush=True)
        return
    right = {True: 'right', False: 'WRONG'}.get(row.get('right'), '')
    memory = f'{row["peak_mib"]:8.0f} MiB' if 'peak_mib' in row else ''
    print(
        f'{start}{row["forward_ms"]:9.3f} ms{row["both_ms"]:9.3f} ms{memory}  {right}', flush=True
    )


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--dtype', choices=DTYPES, default='bfloat16')
    parser.add_argument('--forms', nargs='+', choices=FORMS, default=list(FORMS), metavar='FORM')
    parser.add_argument('--minutes', type=float, default=10, help='begin no form after these')
    parser.add_argument('--repeats', type=int, default=20)
    parser.add_argument('--quick', action='store_true', help='a tiny shape, to try the command')
    parser.add_argument('--out', type=Path, help='JSON file, written after each form')
    return parser.parse_args()


def main() -> None:
    """Measure, print and write, row by row; exit with 1 if a form was wrong."""
    args = parse_args()
    deadline = time.monotonic() + 60 * args.minutes
    device, dtype = torch.device(args.device), DTYPES[args.dtype]
    report = dict(benchmark='attention', dtype=args.dtype, machine=describe(device), rows=[])
    for shape in QUICK_SHAPES if args.quick else SHAPES:
        for name in args.forms:
            if time.monotonic() > deadline:
                row = dict(form=name, shape=shape, left_out='no time left')
            else:
                row = measure(name, shape, device, dtype, 1 if args.quick else args.repeats)
            print_row(row)
            report['rows'].append(row)
            if args.out:
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.write_text(json.dumps(report, indent=1) + '\n')
    sys.exit(any(row.get('right') is False for row in report['rows']))


if __name__ == '__main__':
    main()
