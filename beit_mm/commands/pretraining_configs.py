"""The configs of a ``beit-mm pretrain``: of BEiT and its tokenizer, and of MAE."""

from typing import Any

from .choices import (
    Sizes,
    settings_for_beit,
    values_for_backbone,
    values_for_decoder,
    values_for_tokenizer,
)
from .filling import fill_recipe
from .photos import Photos
from .run_folder import RunFolder
from .sharded_photos import SHARDED
from .which_tokenizer import Tokenizer

# The papers': of the patches that are hidden, and of BEiT the smallest block of them.
MASKED_SHARE, MIN_BLOCK_SHARE, MAE_SHARE = 0.4, 16 / 196, 0.75


def tokenizer_text(run: RunFolder, photos: Photos, sizes: Sizes, steps: int) -> str:
    """The config of the tokenizer."""
    how = {name: photos.how.values[name] for name in ('bands', 'value_range', 'no_data')}
    values = {**values_for_tokenizer(sizes), **how, **_where(run, photos), 'max_iters': steps}
    return fill_recipe('own/dvae.py', values, 'The tokenizer of a beit-mm pretrain.')


def transformer_text(
    run: RunFolder, photos: Photos, sizes: Sizes, tokenizer: Tokenizer | None, steps: int
) -> str:
    """The config of the pre-training: BEiT's by the tokens of a tokenizer, MAE's without one."""
    values = dict(
        grid_size=(sizes.grid, sizes.grid),
        batch_size=sizes.batch_size,
        learning_rate=sizes.learning_rate,
        max_iters=steps,
        warmup_iters=max(1, steps // 20),
        num_workers=sizes.num_workers,
        **values_for_backbone(sizes),
        **photos.how.values,
        **_where(run, photos),
    )
    own = _values_of_mae(sizes) if tokenizer is None else _values_of_beit(sizes, tokenizer)
    recipe = 'own/mae.py' if tokenizer is None else 'own/pretrain.py'
    return fill_recipe(recipe, {**values, **own}, 'The Transformer of a beit-mm pretrain.')


def _values_of_beit(sizes: Sizes, tokenizer: Tokenizer) -> dict[str, Any]:
    patches, chosen = sizes.grid**2, settings_for_beit(sizes)
    return dict(
        tokenizer_file=str(tokenizer.file),
        tokenizer=tokenizer.settings,
        second_size=sizes.image_size // 2,
        num_masked=int(MASKED_SHARE * patches),
        min_block=max(2, round(MIN_BLOCK_SHARE * patches)),
        use_abs_pos_emb=chosen['use_abs_pos_emb'],
        layer_scale=chosen['layer_scale_init_value'],
        initial_values=chosen['initial_values'],
    )


def _values_of_mae(sizes: Sizes) -> dict[str, Any]:
    return dict(decoder=values_for_decoder(sizes), num_masked=int(MAE_SHARE * sizes.grid**2))


def _where(run: RunFolder, photos: Photos) -> dict[str, str]:
    return dict(
        data_root=photos.place,
        **(SHARDED if photos.shards else {}),
        train_list=str(run.path / 'train.txt'),
        val_list=str(run.path / 'val.txt'),
    )
