"""Find the photos of a folder that cannot be decoded, and list them for training to leave out.

    python tools/check_images.py data/imagenet/train broken.txt
    python tools/train.py CONFIG --cfg-options train_dataloader.dataset.exclude=broken.txt

The list has a line a photo: its path inside the folder, a tab, what is wrong.
"""

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import track

from beit_mm.datasets.broken_photos import check_photos, find_photos


def _bar(checked: Iterable, total: int) -> Iterable:
    return track(checked, 'Decoding', total=total, console=Console(stderr=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help='searched with all folders inside')
    parser.add_argument('list', type=Path, nargs='?', help='file to write')
    parser.add_argument('--workers', type=int, default=os.cpu_count(), help='processes')
    args = parser.parse_args()
    if not args.folder.is_dir():
        sys.exit(f'{args.folder}: no such folder')
    names = find_photos(args.folder)
    checked = check_photos(args.folder, names, args.workers)
    broken = [pair for pair in _bar(checked, len(names)) if pair[1]]
    for name, why in broken:
        print(f'{name}\t{why}')
    if args.list is not None:
        args.list.write_text(''.join(f'{name}\t{why}\n' for name, why in broken), 'utf-8')
    print(f'{len(broken)} of {len(names)} photos cannot be decoded', file=sys.stderr)


if __name__ == '__main__':
    main()
