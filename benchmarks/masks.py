"""Masks: microseconds a mask, this project's transform beside MMPretrain's.

    python benchmarks/masks.py [--number 2000] [--rounds 7] [--out FILE.json]

Both make BEiT's masks, 75 of 14 x 14 patches hidden, one a call as in a pipeline, taking turns on
one core. Times are processor time.
"""

import argparse
import json
import os
import random
import statistics
import sys
import time
from pathlib import Path

# Before NumPy and torch read it.
os.environ['OMP_NUM_THREADS'] = '1'

import numpy as np
from mmpretrain.datasets.transforms import BEiTMaskGenerator
from this_machine import describe

from beit_mm.datasets import BlockwiseMaskGenerator, RandomMaskGenerator


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--number', type=int, default=2000, help='masks a turn')
    parser.add_argument('--rounds', type=int, default=7, help='turns of each generator')
    parser.add_argument('--out', type=Path, help='JSON file to write')
    return parser.parse_args()


def microseconds_a_mask(transform, number: int) -> float:
    start = time.process_time()
    for _ in range(number):
        transform.transform({})
    return (time.process_time() - start) / number * 1e6


def measure(transforms: dict, number: int, rounds: int) -> dict[str, dict]:
    """Let the generators take turns; medians over the rounds, after one that warms up."""
    times = {name: [] for name in transforms}
    for turn in range(rounds + 1):
        for name, transform in transforms.items():
            random.seed(turn)
            np.random.seed(turn)
            microseconds = microseconds_a_mask(transform, number)
            if turn:
                times[name].append(microseconds)
    peer = times[next(iter(transforms))]
    return {
        name: dict(
            microseconds=statistics.median(times[name]),
            ratio=statistics.median(p / t for p, t in zip(peer, times[name], strict=True)),
            microseconds_all=times[name],
        )
        for name in transforms
    }


def main() -> None:
    args = parse_args()
    results = measure(
        {
            'mmpretrain BEiTMaskGenerator': BEiTMaskGenerator((14, 14), 75, 16),
            'beit_mm BlockwiseMaskGenerator': BlockwiseMaskGenerator(),
            'beit_mm RandomMaskGenerator': RandomMaskGenerator(),
        },
        args.number,
        args.rounds,
    )
    print(f'{"transform":34} {"us/mask":>9} {"ratio":>6}')
    for name, result in results.items():
        print(f'{name:34} {result["microseconds"]:9.1f} {result["ratio"]:6.2f}')
    if args.out:
        report = dict(
            command=' '.join(['python', *sys.argv]),
            machine=describe('cpu'),
            results=results,
        )
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=2) + '\n')


if __name__ == '__main__':
    main()
