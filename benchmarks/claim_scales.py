"""How large the networks and runs of claims.py are: what one core does, and what takes a GPU."""

from typing import NamedTuple


class Scale(NamedTuple):
    """Of all networks and runs.

    Attributes:
        results: Folder in benchmarks/results/.
        docs: Folder of the site that has claims.md and claims/; None where no page has them.
        width, depth, heads: Of the Transformer.
        decoder, tokenizer: Sizes of MAE's decoder and of the image tokenizer.
        steps, batch: Training steps of a stage, and photos in each.
        pretrain_rate: Learning rate of pre-training.
        tried: Rates and layer decays of fine-tuning that are tried, by kind.
        partial: How many of the last blocks are fine-tuned alone.
        classes: Of the folder, at most; those of the first names.
        workers: Processes that load photos.
        hybrid: Steps of a hybrid network for each of the plain one, in equal time; None where that
            has not been measured, which leaves the row out.
        title, where, photos, command, more: What the page says of them.
        unit: What the seconds are of that a run takes: ``core`` or ``GPU``.
        pace: Seconds of that for each of a core at the small scale, about.
        paced_by: What the seconds of runs that are left are of.
        compile_blocks: Of the networks, see :class:`beit_mm.models.VisionTransformer`.
    """

    results: str
    docs: str | None
    width: int
    depth: int
    heads: int
    decoder: dict
    tokenizer: dict
    steps: dict[str, int]
    batch: dict[str, int]
    pretrain_rate: float
    tried: dict[str, tuple[tuple[float, float], ...]]
    partial: tuple[int, ...]
    classes: int
    workers: int
    hybrid: float | None
    title: str
    where: str
    photos: str
    command: str
    more: str
    unit: str
    pace: float
    paced_by: str
    compile_blocks: bool | None

    @property
    def seconds(self) -> str:
        """Key of what a run took, among its figures."""
        return 'gpu_seconds' if self.unit == 'GPU' else 'cpu_seconds'


SCALES = dict(
    small=Scale(
        results='claims',
        docs='docs',
        width=64,
        depth=4,
        heads=4,
        decoder=dict(embed_dims=32, num_layers=2, num_heads=2),
        tokenizer=dict(hidden=16, decoder_input=16),
        steps=dict(tokenizer=800, pretrain=2400, finetune=800, finetune_all=1600, segment=1500),
        batch=dict(tokenizer=64, pretrain=64, finetune=50, segment=4),
        pretrain_rate=1.6e-3,
        tried=dict(
            beit=((2e-3, 0.9), (1e-3, 0.75)),
            mae=((2e-3, 0.9), (1e-3, 0.75)),
            scratch=((2e-3, 1.0), (1e-3, 1.0)),
            scratch_vit=((2e-3, 1.0), (1e-3, 1.0)),
        ),
        partial=(1, 2, 3),
        classes=40,
        workers=0,
        hybrid=0.625,
        title='at small size',
        where='on one CPU core',
        photos='[40 classes of Tiny ImageNet](methods.md) (64 x 64 photos, 19,000 for training)',
        command='python benchmarks/claims.py --data data/tiny_imagenet_40',
        more=' With ViT-S on\na GPU: `python benchmarks/gpu.py --stages claims --data FOLDER`.',
        unit='core',
        pace=1.0,
        paced_by='on an AMD EPYC of the fifth generation; an Intel Xeon without AMX took 2.2 times '
        'as long',
        compile_blocks=None,
    ),
    # ViT-S. A GPU may be lent for minutes: no run is longer than a few, and all that a result
    # needs can be run anew. How long runs take is a guess, as is what a hybrid would cost.
    larger=Scale(
        results='claims_larger',
        docs=None,
        width=384,
        depth=12,
        heads=6,
        decoder=dict(embed_dims=192, num_layers=4, num_heads=6),
        tokenizer=dict(hidden=64, decoder_input=64),
        steps=dict(tokenizer=2000, pretrain=6000, finetune=1000, finetune_all=4000, segment=4000),
        batch=dict(tokenizer=256, pretrain=256, finetune=128, segment=16),
        pretrain_rate=1.5e-3,
        tried=dict(
            beit=((1e-3, 0.75), (5e-4, 0.65)),
            mae=((1e-3, 0.75), (5e-4, 0.65)),
            scratch=((1e-3, 1.0), (5e-4, 1.0)),
            scratch_vit=((1e-3, 1.0), (5e-4, 1.0)),
        ),
        partial=(1, 4, 8),
        classes=100,
        workers=12,
        hybrid=None,
        title='with ViT-S',
        where='within hours of one GPU',
        photos='100 classes of Tiny ImageNet (64 x 64 photos, 475 each for training)',
        command='CLAIMS_SCALE=larger python benchmarks/claims.py --data data/tiny_imagenet',
        more='',
        unit='GPU',
        pace=0.6,
        paced_by='a guess',
        # Each run is a process of its own, which would compile for longer than it gains.
        compile_blocks=False,
    ),
)
