"""Train what a config describes: a tokenizer, a pre-training run, a classifier, a segmenter."""

import argparse
import sys

from beit_mm.checkpoints import CheckpointError
from beit_mm.datasets import CacheError
from beit_mm.engine import (
    ConfigError,
    RunStopped,
    add_common_arguments,
    build_runner,
    choose_start,
    load_config,
    refuse_foreign_work_dir,
    use_mixed_precision,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint; without one, from the newest in the work directory',
    )
    parser.add_argument('--amp', action='store_true', help='train in automatic mixed precision')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    if args.amp:
        use_mixed_precision(cfg)
    choose_start(cfg, args.resume)
    try:
        refuse_foreign_work_dir(cfg)
        runner = build_runner(cfg, mode='train')
        runner.train()
    except (
        CacheError, CheckpointError, ConfigError, FileNotFoundError, RunStopped
    ) as error:  # fmt: skip
        sys.exit(f'{args.config}: {error}')


if __name__ == '__main__':
    main()
