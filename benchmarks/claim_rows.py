"""The rows of claims.py, in the order in which they are run: the most telling first."""

import claims_of_beit as of_beit
import claims_of_mae as of_mae
import claims_of_vit as of_vit
from claim_recipes import SCALE

ROWS = (
    of_beit.PRETRAINING,
    of_mae.PRETRAINING,
    of_beit.INITIAL_VALUES,
    of_beit.TOKENS,
    of_beit.MASKS,
    of_mae.SHARE,
    of_beit.FEW_LABELS,
    of_beit.HIDDEN,
    of_beit.LONGER,
    of_beit.CONVERGENCE,
    of_beit.INTERMEDIATE,
    of_beit.SEGMENTATION,
    of_mae.PARTIAL,
    of_mae.TARGETS,
    of_mae.MASKS,
    of_mae.MASK_TOKENS,
    of_mae.DECODERS,
    of_mae.AUGMENTATION,
    of_vit.MASKED_PATCHES,
    of_vit.POSITIONS,
    *((of_vit.HYBRID,) if SCALE.hybrid else ()),
    of_vit.FEW,
    of_vit.BFLOAT16,
    of_vit.SKIPPING,
    of_vit.CACHED,
    of_vit.COMPILED,
    of_beit.RESOLUTION,
    of_beit.TOKENIZERS,
)
