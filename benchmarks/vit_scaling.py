"""Speed and memory of Vision Transformers by size, patch and image, beside timm and MMPretrain.

    python benchmarks/vit_scaling.py --out benchmarks/results/vit_scaling_cpu.json
    python benchmarks/vit_scaling.py --device cuda --precision bfloat16 --batch-size 64 --out G.json
    python benchmarks/vit_scaling.py --quick --out QUICK.json    # some minutes on a CPU

Images a second without gradients and with them, and the largest batch that trains in a memory, as
in the paper of ViT (arXiv 2010.11929, figure 12). The three take turns, see vit_step.py; ratios are
medians of the rounds' ratios. Rows are written as they come, the plot, .png, beside the JSON; the
same command goes on where it was stopped. Accuracy against compute: vit_accuracy.py.

The largest batch is counted, not tried: what an image adds to the memory of a training step, from
batches of one and two, besides weights, gradients and Adam's two moments. On a GPU that is the peak
of a step, on a CPU what the forward pass keeps for the backward pass; temporary tensors come on
top, so that it is an upper bound there.
"""

import argparse
import json
import logging
import statistics
import warnings
from pathlib import Path

import scaling
import step
import torch
import vit_step
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from this_machine import describe
from vit_flop import forward_flop
from vit_step import MODELS, Contestant

from beit_mm.models.sizes import ARCHS

# Timed: the optimizer's update is the same for every batch and image.
PARTS = vit_step.PARTS[:2]
# Bytes a parameter of weight, gradient and two moments.
OF_A_PARAMETER = 16
STYLES = {'ours': '-', 'timm': '--', 'MMPretrain': ':'}
PANELS = (
    ('forward', 'forward, images a second'),
    ('forward and backward', 'forward and backward, images a second'),
    ('largest', 'largest batch of training'),
)


def images_of(args, count: int, pixels: int) -> torch.Tensor:
    """(count, 3, pixels, pixels)."""
    return torch.randn(count, 3, pixels, pixels, device=args.device)


def used_bytes(contestant: Contestant) -> int:
    """Memory of a training step that grows with the batch, see the top of this file."""
    if contestant.device.type != 'cuda':
        return scaling.bytes_kept_by(contestant.model, contestant.loss)
    contestant.backward()
    step.synchronize(contestant.device)
    before = torch.cuda.memory_allocated(contestant.device)
    torch.cuda.reset_peak_memory_stats(contestant.device)
    contestant.backward()
    step.synchronize(contestant.device)
    return torch.cuda.max_memory_allocated(contestant.device) - before


def largest_batch(args, name: str, size: dict, pixels: int, patch: int) -> dict:
    """Bytes of an image, and how many images fit."""
    used, parameters = [], 0
    for count in (1, 2):
        images = images_of(args, count, pixels)
        contestant = Contestant(name, size, images, patch, step.PRECISIONS[args.precision])
        used.append(used_bytes(contestant))
        parameters = sum(p.numel() for p in contestant.model.parameters())
        del contestant
    an_image = used[1] - used[0]
    rest = used[0] - an_image + OF_A_PARAMETER * parameters
    fit = max(0, int((args.gib * 2**30 - rest) / an_image))
    return dict(bytes_an_image=an_image, other_bytes=rest, largest_batch=fit)


def row_of(args, arch: str, pixels: int, patch: int) -> dict:
    """Everything of one size, image and patch."""
    size, precision = ARCHS[arch], step.PRECISIONS[args.precision]
    images = images_of(args, args.batch_size, pixels)
    contestants = {name: Contestant(name, size, images, patch, precision) for name in MODELS}
    times = vit_step.take_turns(contestants, args.repeats, PARTS)
    contestants.clear()
    return dict(
        arch=arch,
        pixels=pixels,
        patch=patch,
        flop_an_image=forward_flop(size, (pixels // patch) ** 2, patch),
        images_per_second={
            part: {name: len(images) / statistics.median(each) for name, each in of_part.items()}
            for part, of_part in times.items()
        },
        ratios={part: vit_step.ratios(of_part) for part, of_part in times.items()},
        memory={name: largest_batch(args, name, size, pixels, patch) for name in MODELS},
    )


def draw(report: dict) -> Figure:
    """A row for each patch; a colour for each size, a style for each library."""
    rows, settings = report['rows'], report['settings']
    patches = sorted({row['patch'] for row in rows}, reverse=True)
    figure = Figure(figsize=(12, 0.9 + 3 * len(patches)), layout='constrained')
    figure.suptitle(
        f'{report["machine"]["device"]}; {settings["precision"]}, batch {settings["batch_size"]}, '
        f'memory {settings["gib"]:g} GiB', fontsize=10,
    )  # fmt: skip
    every = figure.subplots(len(patches), len(PANELS), squeeze=False, sharex=True)
    for patch, axes in zip(patches, every, strict=True):
        for axis, (what, title) in zip(axes, PANELS, strict=True):
            _show(axis, [row for row in rows if row['patch'] == patch], what)
            axis.set_title(f'{title}, patch {patch}', fontsize=9)
    for axis in every[-1]:
        axis.set_xlabel('height and width of the image (pixels)', fontsize=8)
    _legend(figure, every[0, 0], list(dict.fromkeys(row['arch'] for row in rows)))
    return figure


def _show(axis: Axes, rows: list[dict], what: str) -> None:
    for index, arch in enumerate(ARCHS):
        of_arch = sorted((r for r in rows if r['arch'] == arch), key=lambda row: row['pixels'])
        for name, style in STYLES.items():
            values = [
                row['memory'][name]['largest_batch'] or float('nan')
                if what == 'largest'
                else row['images_per_second'][what][name]
                for row in of_arch
            ]
            axis.plot(
                [row['pixels'] for row in of_arch], values, style, color=f'C{index}', marker='o',
                markersize=3.5 if style == '-' else 2, linewidth=1.3,
            )  # fmt: skip
    axis.set_xscale('log')
    axis.set_yscale('log')
    pixels = sorted({row['pixels'] for row in rows})
    axis.set_xticks(pixels, list(map(str, pixels)))
    axis.minorticks_off()
    axis.tick_params(labelsize=7)
    axis.grid(color='0.92')
    axis.spines[['top', 'right']].set_visible(False)


def _legend(figure: Figure, axis: Axes, archs: list[str]) -> None:
    handles = [
        axis.plot([], [], color=f'C{list(ARCHS).index(arch)}', marker='o', label=arch)[0]
        for arch in archs
    ]
    handles += [
        axis.plot([], [], style, color='0.3', label=name)[0] for name, style in STYLES.items()
    ]
    figure.legend(
        handles=handles, loc='outside lower center', ncols=len(handles), fontsize=8, frameon=False
    )


def print_row(row: dict) -> None:
    """A line."""
    told = [f'{row["arch"]}/{row["patch"]} at {row["pixels"]}:']
    for part, faster in row['ratios'].items():
        beside = ', '.join(f'{ratio:.2f} x {peer}' for peer, ratio in faster.items())
        told.append(f'{part} {row["images_per_second"][part]["ours"]:.2f} images/s ({beside});')
    fit = '/'.join(str(memory['largest_batch']) for memory in row['memory'].values())
    print(*told, f'largest batch {fit}', flush=True)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--out', required=True, type=Path, help='JSON file; the plot goes beside it'
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--precision', choices=step.PRECISIONS, default='float32')
    parser.add_argument('--archs', nargs='+', choices=ARCHS, default=[*ARCHS][:4])
    parser.add_argument('--patches', nargs='+', type=int, default=[32, 16])
    parser.add_argument('--pixels', nargs='+', type=int, default=[128, 224, 384])
    parser.add_argument('--batch-size', type=int, default=4, help='that is timed')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--gib', type=float, help="of memory; by default the GPU's, 16 of a CPU")
    parser.add_argument('--threads', type=int, help='CPU threads')
    parser.add_argument('--clock', choices=step.CLOCKS, default='wall')
    parser.add_argument('--quick', action='store_true', help='tiny and small on small images')
    args = parser.parse_args()
    if args.quick:
        args.archs, args.pixels, args.batch_size = ['tiny', 'small'], [64, 128, 224], 2
    if args.gib is None:
        on_gpu = torch.device(args.device).type == 'cuda'
        args.gib = torch.cuda.get_device_properties(0).total_memory / 2**30 if on_gpu else 16.0
    return args


def begun(args) -> dict:
    """What is there already, of the same settings."""
    names = ('device', 'precision', 'batch_size', 'repeats', 'gib', 'threads', 'clock')
    settings = {name: getattr(args, name) for name in names}
    empty = dict(benchmark='vit_scaling', settings=settings, rows=[])
    report = json.loads(args.out.read_text()) if args.out.exists() else empty
    if report['settings'] != settings:
        raise SystemExit(f'{args.out} is of {report["settings"]}, not of {settings}: other --out')
    return dict(report, machine=describe(args.device))


def main() -> None:
    """Measure what is missing, write each row, draw."""
    args = parse_args()
    logging.disable(logging.INFO)
    warnings.simplefilter('ignore')
    step.clock = step.CLOCKS[args.clock]
    if args.threads:
        torch.set_num_threads(args.threads)
    report = begun(args)
    done = {(row['arch'], row['pixels'], row['patch']) for row in report['rows']}
    wanted = [(a, s, p) for a in args.archs for s in args.pixels for p in args.patches]
    for one in wanted:
        if one not in done:
            report['rows'].append(row_of(args, *one))
            print_row(report['rows'][-1])
            step.write(report, args.out)
    draw(report).savefig(args.out.with_suffix('.png'), dpi=150)


if __name__ == '__main__':
    main()
