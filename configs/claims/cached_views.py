"""Claims, for cached views against fresh ones: variant `full`, with both views made in one step.

    python tools/cache_tokens.py configs/claims/cached_views.py --views 4 --out work_dirs/tokens
    python tools/train.py configs/claims/cached_views.py --cfg-options token_cache=work_dirs/tokens

Takes the weights of dvae.py. benchmarks/cached_views.py trains it with and without `token_cache`,
and nothing else differs. Figures: benchmarks/results/cached_views.md.
"""

_base_ = ['./pretrain.py']

token_cache = None

model = dict(data_preprocessor=dict(type='beit_mm.TwoViewDataPreprocessor'))

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            # The crops and flips of pretrain.py, and as there no change of colours.
            dict(
                type='beit_mm.LoadTwoViews',
                size={{_base_.image_size}},
                second_size={{_base_.second_size}},
                scale={{_base_.crop_scale}},
                brightness=0.0,
                contrast=0.0,
                saturation=0.0,
                flip_prob=0.5,
            ),
            _base_.mask,
            _base_.pack,
        ]
    )
)
