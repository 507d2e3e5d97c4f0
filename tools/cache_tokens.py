"""Compute the visual tokens of several views of each training photo, once for all epochs.

python tools/cache_tokens.py configs/beit_pretrain.py --views 16 --out work_dirs/tokens
torchrun --nproc_per_node 8 tools/cache_tokens.py ... --launcher pytorch     # on all GPUs
python tools/train.py configs/beit_pretrain.py --cfg-options token_cache=work_dirs/tokens

Stopped and started again, it goes on with what is missing.
"""

import argparse

from beit_mm.engine import (
    add_common_arguments,
    load_config,
    measure_ranges,
    told_in_a_line,
    write_token_cache,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser, work_dir=False)
    parser.add_argument('--out', required=True, help='folder of the cache')
    parser.add_argument('--views', type=int, required=True, help='views of each photo')
    parser.add_argument('--seed', type=int, default=0, help='which views these are')
    parser.add_argument(
        '--photos-per-shard', type=int, default=8192, help='photos of which a file holds the tokens'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with told_in_a_line(args.config, args.debug):
        cfg = load_config(args)
        if measured := measure_ranges(cfg, 'cache'):
            print(measured)
        cache = write_token_cache(cfg, args.out, args.views, args.seed, args.photos_per_shard)
        left = cache.missing()
    state = f'{len(left)} files are left to other processes' if left else 'complete'
    print(f'{args.out}: {cache.num_views} views of {cache.num_photos} photos; {state}')


if __name__ == '__main__':
    main()
