"""How the cost of the pre-training step grows: with the batch, the resolution, processes.

    python benchmarks/scaling.py --device cpu --precision float32
    python benchmarks/scaling.py --device cuda --precision bfloat16 --batch-sizes 32 64 128 256

Tokens are given, so that the Transformer alone is measured. Each process sees the whole batch size,
has its own share of the cores, and exchanges gradients by gloo on the CPU and NCCL on GPUs.

`--memory` measures instead what an image adds to the memory of a step, and estimates from it how
many fit, beside MMPretrain's model. On a GPU that is the peak of a step. On the CPU it is what the
forward pass keeps for the backward pass; of ours without the attention's matrices of (N, N), which
PyTorch's kernels on a GPU do not keep and MMPretrain's formula does; with recomputation, the
blocks' inputs and what one block keeps. Temporary tensors come on top, so the largest batch is an
upper bound.
"""

import argparse
import json
import logging
import os
import statistics
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import mmpretrain
import step
import torch
import torch.distributed as dist
from mmengine.registry import DefaultScope
from step import PRECISIONS, Batch, Contestant, GivenTokens, own_config, peer_config
from this_machine import describe
from torch import Tensor, nn

from beit_mm.models.sizes import ARCHS
from beit_mm.registry import MODELS


def contestant(args, batch_size: int, pixels: int = 224, arch: str | None = None, **backbone):
    """This project's model, with a batch whose tokens are known."""
    device = torch.device(args.device)
    batch = Batch(batch_size, device, pixels)
    cfg = own_config(arch or args.arch, args.quick, args.cfg_options)
    cfg.model.backbone.update(img_size=pixels, **backbone)
    cfg.model.head.num_masked = batch.masked
    # It is not run.
    cfg.model.target_generator.tokenizer.hidden = 8
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        ours = Contestant('ours', cfg, MODELS, batch, device, PRECISIONS[args.precision])
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(8192, (batch_size, pixels // 16, pixels // 16), generator=generator)
    ours.given = GivenTokens(tokens.to(device))
    return ours


def peer_contestant(args, batch_size: int, arch: str) -> Contestant:
    """MMPretrain's model, whose targets are the logits of its tokenizer."""
    device = torch.device(args.device)
    cfg = peer_config(arch, args.quick)
    cfg.model.target_generator.n_hid = 8
    batch = Batch(batch_size, device)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        peer = Contestant(
            'MMPretrain', cfg, mmpretrain.registry.MODELS, batch, device, PRECISIONS[args.precision]
        )
    generator = torch.Generator().manual_seed(0)
    peer.given = GivenTokens(torch.randn(batch_size, 8192, 14, 14, generator=generator).to(device))
    return peer


def median_step(ours: Contestant, repeats: int) -> float:
    """Seconds of a step with given tokens, warmed up."""
    times = [ours.time_step(given=True) for _ in range(repeats + 1)]
    return statistics.median(times[1:])


def cost_row(kind: str, images: int, seconds: float, **settings) -> dict:
    """A line of the table."""
    return dict(kind=kind, **settings, seconds=seconds, images_per_second=images / seconds)


def one_process(rank: int, world: int, args, results: str) -> None:
    """Train for some steps in one of ``world`` processes; the first one writes its time."""
    logging.disable(logging.INFO)
    warnings.simplefilter('ignore')
    torch.set_num_threads(max(1, (args.threads or len(os.sched_getaffinity(0))) // world))
    if args.device == 'cuda':
        torch.cuda.set_device(rank)
    dist.init_process_group(
        'nccl' if args.device == 'cuda' else 'gloo',
        init_method=f'file://{results}.rendezvous',
        rank=rank,
        world_size=world,
    )
    ours = contestant(args, args.batch_size)
    ours.give_tokens(True)
    wrapped = nn.parallel.DistributedDataParallel(ours.model)
    images = [ours.batch.images, ours.batch.tokenizer_images]

    def train() -> None:
        with ours.autocast():
            loss = wrapped(images, ours.batch.samples, mode='loss')['loss']
        loss.backward()
        ours.update()

    times = []
    for _ in range(args.repeats + 1):
        dist.barrier()
        times.append(step.seconds(ours.device, train))
    if rank == 0:
        Path(results).write_text(json.dumps(statistics.median(times[1:])))
    dist.destroy_process_group()


def process_rows(args) -> list[dict]:
    """The same step in more and more processes."""
    rows = []
    for world in args.processes:
        with tempfile.TemporaryDirectory() as folder:
            results = str(Path(folder, 'seconds.json'))
            torch.multiprocessing.spawn(one_process, (world, args, results), nprocs=world)
            taken = json.loads(Path(results).read_text())
        rows.append(cost_row('processes', world * args.batch_size, taken, processes=world))
    return rows


def cost_rows(args) -> list[dict]:
    """Time against batch, resolution and processes."""
    rows = []
    for size in args.batch_sizes:
        taken = median_step(contestant(args, size), args.repeats)
        rows.append(cost_row('batch', size, taken, batch_size=size))
    for pixels in args.pixels:
        taken = median_step(contestant(args, args.batch_size, pixels), args.repeats)
        rows.append(cost_row('resolution', args.batch_size, taken, pixels=pixels))
    return rows + process_rows(args)


def bytes_kept_by(model: nn.Module, forward: Callable[[], Tensor], with_scores=True) -> int:
    """Bytes that a forward pass keeps for the backward pass, parameters not counted.

    Args:
        model: Whose parameters.
        forward: Makes the loss.
        with_scores: Whether matrices of (N, N) count.
    """
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        scores = tensor.ndim >= 3 and tensor.shape[-1] == tensor.shape[-2] > 3
        if storage.data_ptr() not in parameters and (with_scores or not scores):
            kept[storage.data_ptr()] = tensor, storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        loss = forward()
    total = sum(size for _, size in kept.values())
    del loss
    return total


def kept_bytes(contestant: Contestant, with_scores: bool = False) -> int:
    """:func:`bytes_kept_by` a step with given tokens."""
    contestant.give_tokens(True)
    return bytes_kept_by(contestant.model, contestant.forward, with_scores)


def kept_bytes_recomputed(ours: Contestant) -> int:
    """The same where each block is computed again, which keeps its input alone."""
    blocks = ours.model.backbone.blocks
    inputs = []
    hooks = [
        block.register_forward_pre_hook(lambda _, args: inputs.append(args[0].nbytes))
        for block in blocks
    ]
    at_once = kept_bytes(ours)
    for hook in hooks:
        hook.remove()
    return sum(inputs) + at_once // len(blocks)


def used_bytes(args, who: str, size: int, arch: str, with_cp: bool) -> tuple[int, int]:
    """Memory of a step, see the top of this file, and the number of parameters."""
    options = dict(with_cp=True) if with_cp and args.device == 'cuda' else {}
    if who == 'ours':
        model = contestant(args, size, arch=arch, **options)
    else:
        model = peer_contestant(args, size, arch)
    count = sum(p.numel() for p in model.model.parameters() if p.requires_grad)
    if args.device == 'cuda':
        model.step(given=True)
        return step.peak_memory(model, given=True), count
    if with_cp:
        return kept_bytes_recomputed(model), count
    return kept_bytes(model, with_scores=who != 'ours'), count


def memory_rows(args) -> list[dict]:
    """What an image costs, and how many a GPU holds."""
    rows = []
    small, large = args.batch_sizes[0], args.batch_sizes[-1]
    for arch in args.archs:
        for who, with_cp in (('ours', False), ('ours', True), ('MMPretrain', False)):
            (used, count), (more, _) = (
                used_bytes(args, who, size, arch, with_cp) for size in (small, large)
            )
            an_image = (more - used) / (large - small)
            rest = used - small * an_image
            if args.device != 'cuda':
                rest += 16 * count  # weight, gradient and two moments in float32
            rows.append(
                dict(
                    kind='memory',
                    who=who,
                    arch=arch,
                    with_cp=with_cp,
                    parameters=count,
                    bytes_an_image=an_image,
                    other_bytes=rest,
                    estimated_largest_batch=int((args.gpu_gib * 2**30 - rest) / an_image),
                )
            )
    return rows


def print_table(rows: list[dict], gpu_gib: float) -> None:
    """A line a row."""
    for row in rows:
        if row['kind'] == 'memory':
            print(
                f'{row["who"]:11}{row["arch"]:6}{"recomputed" if row["with_cp"] else "plain":11}'
                f'{row["bytes_an_image"] / 2**20:9.1f} MiB an image,'
                f'{row["other_bytes"] / 2**30:7.2f} GiB besides, estimated largest batch in '
                f'{gpu_gib:g} GiB: {row["estimated_largest_batch"]}'
            )
        else:
            name = {'batch': 'batch_size', 'resolution': 'pixels'}.get(row['kind'], row['kind'])
            print(
                f'{row["kind"]:11}{row[name]:6}{row["seconds"] * 1e3:11.1f} ms'
                f'{row["images_per_second"]:10.2f} images/s'
            )


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--precision', choices=PRECISIONS, default='float32')
    parser.add_argument('--arch', choices=ARCHS, default='base')
    parser.add_argument('--archs', nargs='+', choices=ARCHS, default=['base', 'large'])
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=[2, 4, 8])
    parser.add_argument('--batch-size', type=int, default=4, help='of the other two')
    parser.add_argument('--pixels', type=int, nargs='+', default=[224, 384])
    parser.add_argument('--processes', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--memory', action='store_true')
    parser.add_argument('--gpu-gib', type=float, default=140, help='that the batch shall fit in')
    parser.add_argument('--cfg-options', nargs='+', action=step.DictAction)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--threads', type=int, help='CPU threads of all processes together')
    parser.add_argument('--quick', action='store_true', help='tiny networks, to try the command')
    parser.add_argument('--out', type=Path, help='JSON file')
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    args = parse_args()
    logging.disable(logging.INFO)
    warnings.simplefilter('ignore')
    if args.threads:
        torch.set_num_threads(args.threads)
    rows = memory_rows(args) if args.memory else cost_rows(args)
    print_table(rows, args.gpu_gib)
    settings = {key: value for key, value in vars(args).items() if key != 'out'}
    report = dict(benchmark='scaling', settings=settings, machine=describe(args.device), rows=rows)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=1) + '\n')


if __name__ == '__main__':
    main()
