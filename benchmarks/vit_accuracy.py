"""Accuracy against compute for a family of small Vision Transformers, from scratch, by seeds.

    python benchmarks/vit_accuracy.py --data DATA --out benchmarks/results/vit_accuracy.json

The data is a folder with train/<class>/ and val/<class>/. Networks of several widths are trained
for several lengths, each from its own start and with its own schedule, as in the paper of ViT
(arXiv 2010.11929, figure 5); the longest ones are drawn against the FLOP and the time of an image
as well, as in its figure 13. Each run's row is written as it ends; the same command goes on where
it was stopped. Beside the JSON lies the plot, .png.

The recipe: AdamW with a rate of 1e-3 and weight decay 0.05, a tenth of the steps warm-up, cosine,
batches of 128, label smoothing 0.1, random crops of images one eighth larger and flips. FLOP are
counted as in step.py: a training step is three times a forward pass.

Intervals are Student's, 95 %, over the seeds. They do not hold the error of the few images of val.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import step
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from this_machine import describe
from torch import Tensor, nn
from vit_flop import forward_flop

from beit_mm.datasets.finding import find_photos
from beit_mm.engine.measuring.few_shot import interval_of_mean
from beit_mm.models import VisionTransformer

BATCH, RATE, DECAY, SMOOTHING, WARM_UP = 128, 1e-3, 0.05, 0.1, 0.1
# A head is so wide.
HEAD = 24
MEAN, STD = 127.5, 64.0


def read_split(folder: Path, side: int) -> tuple[Tensor, Tensor]:
    """Images (N, 3, side, side) uint8 of class folders, and their classes (N,)."""
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    images, labels = [], []
    for label, name in enumerate(classes):
        for photo in find_photos(folder / name).names:
            with Image.open(folder / name / photo) as image:
                small = image.convert('RGB').resize((side, side), Image.Resampling.BICUBIC)
            images.append(np.asarray(small))
            labels.append(label)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), torch.tensor(labels)


def normalised(images: Tensor) -> Tensor:
    """float32 of uint8."""
    return (images.float() - MEAN) / STD


def batches(images: Tensor, labels: Tensor, side: int) -> Iterator[tuple[Tensor, Tensor]]:
    """An epoch in a random order: a crop for each batch, a flip for each image."""
    slack = images.shape[-1] - side + 1
    for chosen in torch.randperm(len(images)).split(BATCH):
        top, left = torch.randint(slack, (2,)).tolist()
        batch = images[chosen][..., top : top + side, left : left + side]
        flips = torch.rand(len(batch), 1, 1, 1) < 0.5
        yield normalised(torch.where(flips, batch.flip(-1), batch)), labels[chosen]


def size_of(width: int, depth: int) -> dict[str, int]:
    """A member of the family."""
    heads = max(1, width // HEAD)
    return dict(embed_dims=width, num_layers=depth, num_heads=heads, feedforward_channels=4 * width)


class Classifier(nn.Module):
    """A Vision Transformer read out at [S] by a linear layer that starts at zero."""

    def __init__(self, size: dict[str, int], side: int, patch: int, classes: int) -> None:
        super().__init__()
        self.backbone = VisionTransformer(
            arch=size, img_size=side, patch_size=patch, positions='learned', out_type='cls_token'
        )
        self.head = nn.Linear(size['embed_dims'], classes)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, side, side) -> (B, classes)."""
        return self.head(self.backbone(x)[-1])


def train(model: Classifier, images: Tensor, labels: Tensor, side: int, epochs: float) -> int:
    """Train by the recipe; the number of images seen."""
    steps = max(2, round(epochs * math.ceil(len(images) / BATCH)))
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    warm_up = max(1, round(WARM_UP * steps))

    def rate(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.5 + 0.5 * math.cos(math.pi * (step - warm_up) / (steps - warm_up))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    step = seen = 0
    while step < steps:
        for batch, targets in batches(images, labels, side):
            loss = F.cross_entropy(model(batch), targets, label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step, seen = step + 1, seen + len(batch)
            if step == steps:
                break
    return seen


@torch.no_grad()
def accuracy(model: Classifier, images: Tensor, labels: Tensor, side: int) -> float:
    """Share of the images whose middle is told right."""
    model.eval()
    begin = (images.shape[-1] - side) // 2
    middle = images[..., begin : begin + side, begin : begin + side]
    right = sum(
        int((model(normalised(batch)).argmax(dim=1) == truth).sum())
        for batch, truth in zip(middle.split(500), labels.split(500), strict=True)
    )
    return right / len(labels)


@torch.no_grad()
def seconds_an_image(args, width: int) -> float:
    """Of a forward pass on one thread, by the process's own clock; the median of some."""
    model = Classifier(size_of(width, args.depth), args.pixels, args.patch, 2).eval()
    batch, times = torch.zeros(BATCH, 3, args.pixels, args.pixels), []
    torch.set_num_threads(1)
    for _ in range(8):
        begin = time.process_time()
        model(batch)
        times.append(time.process_time() - begin)
    return statistics.median(times[1:]) / BATCH


def run_one(args, data: dict, width: int, epochs: float, seed: int) -> dict:
    """The row of one run."""
    torch.manual_seed(seed)
    size = size_of(width, args.depth)
    model = Classifier(size, args.pixels, args.patch, data['classes'])
    begin = time.perf_counter()
    seen = train(model, *data['train'], args.pixels, epochs)
    taken = time.perf_counter() - begin
    flop = forward_flop(size, (args.pixels // args.patch) ** 2, args.patch)
    return dict(
        width=width, epochs=epochs, seed=seed,
        accuracy=accuracy(model, *data['val'], args.pixels),
        parameters=sum(p.numel() for p in model.parameters()),
        flop_an_image=flop, training_flop=3 * flop * seen, training_seconds=taken,
    )  # fmt: skip


def points(rows: list[dict]) -> dict[int, list[dict]]:
    """Width -> its lengths, shortest first: means over the seeds, with intervals."""
    found: dict[int, list[dict]] = {}
    for width in sorted({row['width'] for row in rows}):
        of_width = [row for row in rows if row['width'] == width]
        found[width] = []
        for epochs in sorted({row['epochs'] for row in of_width}):
            runs = [row for row in of_width if row['epochs'] == epochs]
            values = [row['accuracy'] for row in runs]
            medians = {
                name: statistics.median(row[name] for row in runs)
                for name in ('training_flop', 'flop_an_image')
            }
            point = dict(
                epochs=epochs, accuracy=statistics.mean(values), interval=interval_of_mean(values),
                seeds=len(runs),
            )  # fmt: skip
            found[width].append(point | medians)
    return found


def draw(report: dict) -> Figure:
    """Accuracy against training, against FLOP, and against the time of an image."""
    family, settings = points(report['rows']), report['settings']
    for width, lengths in family.items():
        lengths[-1]['seconds_an_image'] = report['seconds_an_image'][str(width)]
    figure = Figure(figsize=(10.5, 3.6), layout='constrained')
    figure.suptitle(
        f'ViT of {settings["depth"]} blocks from scratch, {settings["pixels"]} pixels, patches of '
        f'{settings["patch"]}, {report["classes"]} classes; bars: 95 % over seeds', fontsize=10,
    )  # fmt: skip
    by_training, by_flop, by_time = figure.subplots(1, 3, sharey=True, width_ratios=(1.5, 1, 1))
    for index, (width, lengths) in enumerate(family.items()):
        color = f'C{index}'
        _curve(by_training, lengths, 'training_flop', color, f'width {width}')
        for axis, name, unit in (
            (by_flop, 'flop_an_image', 1e6), (by_time, 'seconds_an_image', 1e-6),
        ):  # fmt: skip
            _curve(axis, lengths[-1:], name, color, f'{width}', unit)
        for point in lengths:
            by_training.annotate(
                f'{point["epochs"]:g}', (point['training_flop'], 100 * point['accuracy']), (5, -9),
                textcoords='offset points', fontsize=7, color=color,
            )  # fmt: skip
    by_training.set_title('by compute of training; epochs beside the points', fontsize=9)
    by_training.set_xlabel('FLOP of the whole training', fontsize=8)
    by_training.set_ylabel('top-1 accuracy (%)', fontsize=8)
    by_training.legend(fontsize=8, frameon=False)
    by_flop.set_title('longest training', fontsize=9)
    by_flop.set_xlabel('MFLOP of an image', fontsize=8)
    by_time.set_title('longest training', fontsize=9)
    by_time.set_xlabel('time of an image (µs)', fontsize=8)
    by_training.set_xscale('log')
    for axis, name, unit in ((by_flop, 'flop_an_image', 1e6), (by_time, 'seconds_an_image', 1e-6)):
        places = [lengths[-1][name] / unit for lengths in family.values()]
        axis.set_xscale('log')
        axis.minorticks_off()
        axis.set_xticks(places, [f'{place:.3g}' for place in places])
        axis.margins(x=0.15)
    for axis in (by_training, by_flop, by_time):
        axis.tick_params(labelsize=7)
        axis.grid(color='0.92')
        axis.spines[['top', 'right']].set_visible(False)
    return figure


def _curve(
    axis: Axes, lengths: list[dict], name: str, color: str, label: str, unit: float = 1.0
) -> None:
    axis.errorbar(
        [point[name] / unit for point in lengths],
        [100 * point['accuracy'] for point in lengths],
        [100 * point['interval'] for point in lengths],
        fmt='o-', markersize=4, capsize=3, linewidth=1.2, color=color, label=label,
    )  # fmt: skip


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', required=True, type=Path, help='folder with train/ and val/')
    parser.add_argument(
        '--out', required=True, type=Path, help='JSON file; the plot goes beside it'
    )
    parser.add_argument('--widths', nargs='+', type=int, default=[24, 48, 96])
    parser.add_argument('--epochs', nargs='+', type=float, default=[1, 3, 9])
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--depth', type=int, default=4, help='blocks')
    parser.add_argument('--pixels', type=int, default=32)
    parser.add_argument('--patch', type=int, default=8)
    parser.add_argument('--minutes', type=float, default=math.inf, help='begin no run after them')
    parser.add_argument('--threads', type=int, default=1)
    return parser.parse_args()


def begun(args) -> dict:
    """What is there already, of the same settings."""
    settings = dict(data=args.data.name, depth=args.depth, pixels=args.pixels, patch=args.patch)
    empty = dict(benchmark='vit_accuracy', settings=settings, rows=[])
    report = json.loads(args.out.read_text()) if args.out.exists() else empty
    if report['settings'] != settings:
        raise SystemExit(f'{args.out} is of {report["settings"]}, not of {settings}: other --out')
    return report


def main() -> None:
    """Train what is missing, write each row, draw."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    report, begin = begun(args), time.monotonic()
    done = {(row['width'], row['epochs'], row['seed']) for row in report['rows']}
    # Seed by seed: a plot can be drawn early, and what slows a machine for a while meets all alike.
    wanted = [(w, e, s) for s in args.seeds for w in args.widths for e in args.epochs]
    if left := [run for run in wanted if run not in done]:
        side = args.pixels + args.pixels // 8
        data = {split: read_split(args.data / split, side) for split in ('train', 'val')}
        data['classes'] = int(data['train'][1].max()) + 1
        report.update(machine=describe(), classes=data['classes'])
        for run in left:
            if time.monotonic() - begin > 60 * args.minutes:
                break
            report['rows'].append(run_one(args, data, *run))
            step.write(report, args.out)
            row = report['rows'][-1]
            print(
                f'width {row["width"]}, {row["epochs"]:g} epochs, seed {row["seed"]}: '
                f'{row["accuracy"]:.1%} in {row["training_seconds"]:.0f} s', flush=True,
            )  # fmt: skip
    # All at once, for the same state of the machine.
    widths = sorted({row['width'] for row in report['rows']})
    report['seconds_an_image'] = {str(width): seconds_an_image(args, width) for width in widths}
    step.write(report, args.out)
    draw(report).savefig(args.out.with_suffix('.png'), dpi=150)
    print(f'{len(report["rows"])} runs in {args.out}, drawn beside it')


if __name__ == '__main__':
    main()
