"""The sizes of Transformers that have names.

Base, large and huge are those of ViT's table 1, which BEiT and MAE have too, tiny and small those
of DeiT's.
"""

from collections.abc import Mapping

ARCHS = dict(
    tiny=dict(embed_dims=192, num_layers=12, num_heads=3, feedforward_channels=768),
    small=dict(embed_dims=384, num_layers=12, num_heads=6, feedforward_channels=1536),
    base=dict(embed_dims=768, num_layers=12, num_heads=12, feedforward_channels=3072),
    large=dict(embed_dims=1024, num_layers=24, num_heads=16, feedforward_channels=4096),
    huge=dict(embed_dims=1280, num_layers=32, num_heads=16, feedforward_channels=5120),
)


def resolve_arch(arch: str | Mapping[str, int]) -> Mapping[str, int]:
    """Width, depth, heads and inner width of a size that may be given by name.

    Args:
        arch: A name in ``ARCHS``, or a dict with the same keys.

    Raises:
        ValueError: If it is neither, or the width does not divide among the heads.
    """
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise ValueError(f'arch {arch!r} is none of {", ".join(ARCHS)}, nor a dict')
        return ARCHS[arch]
    if not isinstance(arch, Mapping):
        raise ValueError(f'arch {arch!r} is none of {", ".join(ARCHS)}, nor a dict')
    missing = set(ARCHS['base']) - set(arch)
    if missing:
        raise ValueError(f'arch {dict(arch)} lacks {", ".join(sorted(missing))}')
    unknown = set(arch) - set(ARCHS['base'])
    if unknown:
        raise ValueError(
            f'arch {dict(arch)} has {", ".join(sorted(unknown))}, which nothing reads; its keys '
            f'are {", ".join(ARCHS["base"])}'
        )
    for name, size in arch.items():
        if not isinstance(size, int) or size < 1:
            raise ValueError(f'arch.{name} is {size!r}; it must be a whole number above 0')
    if arch['embed_dims'] % arch['num_heads']:
        raise ValueError(
            f'arch.embed_dims is {arch["embed_dims"]}; it must be a multiple of num_heads, '
            f'{arch["num_heads"]}'
        )
    return arch
