"""Find the photos of a folder that cannot be decoded, and list them for training to leave out.

    python tools/check_images.py data/imagenet/train broken.txt
    python tools/train.py CONFIG --cfg-options train_dataloader.dataset.exclude=broken.txt

The list has a line a photo: its path inside the folder, a tab, what is wrong.
"""

import argparse

from beit_mm.commands.checking_photos import check
from beit_mm.commands.parsing import positive
from beit_mm.engine import told_in_a_line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', help='searched with all folders inside')
    parser.add_argument('list', nargs='?', help='file to write')
    parser.add_argument('--workers', type=positive, help='processes; default: one a core')
    args = parser.parse_args()
    with told_in_a_line('check_images.py', debug=False):
        check(args.folder, args.list, workers=args.workers)


if __name__ == '__main__':
    main()
