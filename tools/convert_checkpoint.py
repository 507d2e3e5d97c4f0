"""Write a BEiT checkpoint under another library's names."""

import argparse
import sys
from pathlib import Path

from beit_mm.checkpoints import (
    LAYOUTS,
    CheckpointError,
    convert_state_dict,
    detect_layout,
    load_state_dict,
)
from beit_mm.checkpoints.writing import write_weights


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', type=Path, help='checkpoint in any public layout')
    parser.add_argument('target', type=Path, help='file to write, .pth or .safetensors')
    parser.add_argument('--to', required=True, choices=LAYOUTS, help='layout of the target')
    parser.add_argument('--ema', action='store_true', help='take the averaged weights of the file')
    args = parser.parse_args()
    if args.target.suffix not in ('.pth', '.safetensors'):
        parser.error(f'target {args.target} must end in .pth or .safetensors')
    return args


def main() -> None:
    args = parse_args()
    try:
        weights = load_state_dict(args.source, ema=args.ema)
        layout = detect_layout(weights)
        converted = convert_state_dict(weights, to=args.to)
    except (CheckpointError, FileNotFoundError) as error:
        sys.exit(str(error) if str(args.source) in str(error) else f'{args.source}: {error}')
    if not args.target.parent.is_dir():
        sys.exit(f'{args.target}: there is no folder {args.target.parent}')
    write_weights(args.target, converted, args.to)
    print(
        f'{args.source} ({layout}, {len(weights)} tensors) -> '
        f'{args.target} ({args.to}, {len(converted)} tensors)'
    )


if __name__ == '__main__':
    main()
