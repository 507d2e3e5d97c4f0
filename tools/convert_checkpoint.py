"""Write a BEiT checkpoint under another library's names."""

import argparse
import sys
from pathlib import Path

from beit_mm.checkpoints import LAYOUTS, CheckpointError
from beit_mm.models.converting import check_target, convert


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'source', help='file, folder, hf-hub:ORG/NAME, timm:NAME or URL, in any public layout'
    )
    parser.add_argument(
        'target',
        type=Path,
        help='file to write, .pth or .safetensors, .npz for jax and big_vision; for huggingface '
        'and timm also a folder',
    )
    parser.add_argument('--to', required=True, choices=LAYOUTS, help='layout of the target')
    parser.add_argument('--ema', action='store_true', help='take the averaged weights of the file')
    parser.add_argument('--which', default='', help='set of weights to take, such as teacher')
    args = parser.parse_args()
    if args.ema and args.which:
        parser.error('--ema and --which both say which weights to take')
    try:
        check_target(args.target, args.to)
    except ValueError as error:
        parser.error(str(error))
    except FileNotFoundError as error:
        sys.exit(str(error))
    return args


def main() -> None:
    args = parse_args()
    which = 'ema' if args.ema else args.which
    try:
        done = convert(args.source, args.target, args.to, which=which)
    except (CheckpointError, FileNotFoundError, ImportError) as error:
        sys.exit(str(error) if args.source in str(error) else f'{args.source}: {error}')
    print(
        f'{args.source} ({done.layout}, {done.num_read} tensors) -> '
        f'{args.target} ({args.to}, {done.num_written} tensors)'
    )


if __name__ == '__main__':
    main()
