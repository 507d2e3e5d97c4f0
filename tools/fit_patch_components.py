"""Fit the principal components of the training images' patches, the targets of an MAE ablation.

python tools/fit_patch_components.py configs/mae/principal_components.py --out work_dirs/pca.npz
"""

import argparse

from beit_mm.engine import (
    add_common_arguments,
    load_config,
    told_in_a_line,
    write_patch_components,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser, work_dir=False, launcher=False)
    parser.add_argument('--out', required=True, help='.npz file to write')
    parser.add_argument('--images', type=int, default=5000, help='how many are looked at')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with told_in_a_line(args.config, args.debug):
        done = write_patch_components(load_config(args), args.out, args.images)
    print(f'{args.out}: {done}')


if __name__ == '__main__':
    main()
