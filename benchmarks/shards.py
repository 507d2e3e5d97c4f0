"""Input from tar shards beside input from a folder: images a second of one core, to two views.

    python benchmarks/shards.py FOLDER [--rounds 7] [--out FILE.json]

FOLDER holds images. They are written into shards first, and then both are read in one shuffled
order by `LoadTwoViews`, taking turns, from the page cache: what differs is how the bytes of a file
are found. The plain reading, without views, is measured too. Processor time, as in pipeline.py.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

# Before NumPy and torch read it.
os.environ['OMP_NUM_THREADS'] = '1'

import numpy as np
import torch
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope
from this_machine import describe

import beit_mm.datasets  # noqa: F401
from beit_mm.commands.sharding import shard
from beit_mm.datasets.sources.photo_source import photo_source


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('folder', type=Path, help='folder of images')
    parser.add_argument('--rounds', type=int, default=7, help='turns of each')
    parser.add_argument('--megabytes', type=float, default=8, help='of a shard')
    parser.add_argument('--out', type=Path, help='JSON file to write')
    return parser.parse_args()


def seconds_of_views(dataset, order: list[int]) -> float:
    """Processor time of a pass through the pipeline; both sides draw the same crops."""
    np.random.seed(0)
    random.seed(0)
    start = time.process_time()
    for index in order:
        dataset[index]
    return time.process_time() - start


def seconds_of_bytes(dataset, order: list[int]) -> float:
    """Processor time of reading the bytes alone."""
    start = time.process_time()
    for index in order:
        source = photo_source(dataset, index)
        if isinstance(source, str):
            Path(source).read_bytes()
    return time.process_time() - start


def measure(folder: Path, shards: Path, rounds: int) -> dict:
    pipeline = [
        dict(type='beit_mm.LoadTwoViews'),
        dict(type='beit_mm.BlockwiseMaskGenerator', grid_size=(14, 14), num_masked=75),
        dict(type='PackInputs'),
    ]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        steps = [TRANSFORMS.build(step) for step in pipeline]
        common = dict(data_root=str(folder), with_label=False, pipeline=steps)
        sides = dict(
            folder=DATASETS.build(dict(type='beit_mm.PhotoFolder', **common)),
            shards=DATASETS.build(
                dict(type='beit_mm.PhotoShards', **{**common, 'data_root': str(shards)})
            ),
        )
    count = len(sides['folder'])
    assert count == len(sides['shards'])
    # The shards hold the files in another order: each side reads the same file at its turn.
    files = {photo_bytes(sides['folder'], i): i for i in range(count)}
    order = dict(shards=random.Random(0).sample(range(count), count))
    order['folder'] = [files[photo_bytes(sides['shards'], i)] for i in order['shards']]
    times: dict[str, list[float]] = {}
    for _ in range(rounds + 1):
        for name, dataset in sides.items():
            for what, seconds in (('views', seconds_of_views), ('bytes', seconds_of_bytes)):
                times.setdefault(f'{name} {what}', []).append(seconds(dataset, order[name]))
    # The first round warms up.
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    ratios = {
        what: statistics.median(
            a / b
            for a, b in zip(times[f'folder {what}'][1:], times[f'shards {what}'][1:], strict=True)
        )
        for what in ('views', 'bytes')
    }
    return dict(
        images=count,
        images_per_second={name: round(count / value, 1) for name, value in medians.items()},
        shards_to_folder={name: round(value, 3) for name, value in ratios.items()},
    )


def photo_bytes(dataset, index: int) -> bytes:
    source = photo_source(dataset, index)
    return Path(source).read_bytes() if isinstance(source, str) else source


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        shards = shard(args.folder, Path(folder, 'shards'), megabytes=args.megabytes)
        report = dict(
            command=f'python benchmarks/shards.py FOLDER --rounds {args.rounds}',
            machine=describe(),
            **measure(args.folder, shards, args.rounds),
        )
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=1) + '\n')


if __name__ == '__main__':
    sys.exit(main())
