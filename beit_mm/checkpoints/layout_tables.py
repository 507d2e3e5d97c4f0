"""Names of the same weights in each library: a row a weight, a column a library."""

# Beside each table of relative positions some keep the index that spells it out.
INDEX, TABLE = 'relative_position_index', 'relative_position_bias_table'
# {n} is the number of a block, {m} that of a block inside of stage {n}, {k} that of a layer inside
# of it, * is weight or bias. A triple stands for the thirds of one matrix.
# The columns: beit_mm; unilm and timm; huggingface; huggingface5; mmpretrain and mmseg;
# torchvision. None stands for what a library has not.
# Of a block.
OF_TORCHVISION = 'encoder.layers.encoder_layer_{n}'
BACKBONE = (
    ('cls_token', 'cls_token', 'embeddings.cls_token', 'embeddings.cls_token', 'cls_token',
     'class_token'),
    ('dist_token', 'dist_token', 'embeddings.distillation_token',
     'embeddings.distillation_token', 'dist_token', None),
    ('mask_token', 'mask_token', 'embeddings.mask_token', 'embeddings.mask_token', 'mask_token',
     None),
    ('pos_embed', 'pos_embed', 'embeddings.position_embeddings',
     'embeddings.position_embeddings', 'pos_embed', 'encoder.pos_embedding'),
    ('patch_embed.proj.*', 'patch_embed.proj.*', 'embeddings.patch_embeddings.projection.*',
     'embeddings.patch_embeddings.projection.*', 'patch_embed.projection.*', 'conv_proj.*'),
    ('rel_pos_bias.table', f'rel_pos_bias.{TABLE}', f'encoder.relative_position_bias.{TABLE}',
     f'shared_position_bias.{TABLE}', f'rel_pos_bias.{TABLE}', None),
    ('blocks.{n}.norm1.*', 'blocks.{n}.norm1.*', 'encoder.layer.{n}.layernorm_before.*',
     'layers.{n}.layernorm_before.*', 'layers.{n}.ln1.*', f'{OF_TORCHVISION}.ln_1.*'),
    ('blocks.{n}.attn.qkv.weight', 'blocks.{n}.attn.qkv.weight',
     tuple(f'encoder.layer.{{n}}.attention.attention.{part}.weight'
           for part in ('query', 'key', 'value')),
     tuple(f'layers.{{n}}.attention.{part}_proj.weight' for part in 'qkv'),
     'layers.{n}.attn.qkv.weight', f'{OF_TORCHVISION}.self_attention.in_proj_weight'),
    ('blocks.{n}.attn.q_bias', 'blocks.{n}.attn.q_bias',
     'encoder.layer.{n}.attention.attention.query.bias', 'layers.{n}.attention.q_proj.bias',
     'layers.{n}.attn.q_bias', None),
    ('blocks.{n}.attn.v_bias', 'blocks.{n}.attn.v_bias',
     'encoder.layer.{n}.attention.attention.value.bias', 'layers.{n}.attention.v_proj.bias',
     'layers.{n}.attn.v_bias', None),
    ('blocks.{n}.attn.qkv.bias', 'blocks.{n}.attn.qkv.bias',
     tuple(f'encoder.layer.{{n}}.attention.attention.{part}.bias'
           for part in ('query', 'key', 'value')),
     tuple(f'layers.{{n}}.attention.{part}_proj.bias' for part in 'qkv'),
     'layers.{n}.attn.qkv.bias', f'{OF_TORCHVISION}.self_attention.in_proj_bias'),
    ('blocks.{n}.attn.proj.*', 'blocks.{n}.attn.proj.*',
     'encoder.layer.{n}.attention.output.dense.*', 'layers.{n}.attention.o_proj.*',
     'layers.{n}.attn.proj.*', f'{OF_TORCHVISION}.self_attention.out_proj.*'),
    ('blocks.{n}.attn.rel_pos_bias.table', f'blocks.{{n}}.attn.{TABLE}',
     f'encoder.layer.{{n}}.attention.attention.relative_position_bias.{TABLE}',
     f'layers.{{n}}.relative_position_bias.{TABLE}', f'layers.{{n}}.attn.{TABLE}',
     None),
    ('blocks.{n}.norm2.*', 'blocks.{n}.norm2.*', 'encoder.layer.{n}.layernorm_after.*',
     'layers.{n}.layernorm_after.*', 'layers.{n}.ln2.*', f'{OF_TORCHVISION}.ln_2.*'),
    ('blocks.{n}.mlp.fc1.*', 'blocks.{n}.mlp.fc1.*', 'encoder.layer.{n}.intermediate.dense.*',
     'layers.{n}.mlp.fc1.*', 'layers.{n}.ffn.layers.0.0.*', f'{OF_TORCHVISION}.mlp.0.*'),
    ('blocks.{n}.mlp.fc2.*', 'blocks.{n}.mlp.fc2.*', 'encoder.layer.{n}.output.dense.*',
     'layers.{n}.mlp.fc2.*', 'layers.{n}.ffn.layers.1.*', f'{OF_TORCHVISION}.mlp.3.*'),
    ('blocks.{n}.gamma_1', 'blocks.{n}.gamma_1', 'encoder.layer.{n}.lambda_1',
     'layers.{n}.lambda_1', 'layers.{n}.gamma_1', None),
    ('blocks.{n}.gamma_2', 'blocks.{n}.gamma_2', 'encoder.layer.{n}.lambda_2',
     'layers.{n}.lambda_2', 'layers.{n}.gamma_2', None),
    ('norm.*', 'norm.*', 'layernorm.*', 'layernorm.*', 'ln1.*', 'encoder.ln.*'),
    ('fc_norm.*', 'fc_norm.*', 'pooler.layernorm.*', 'pooler.layernorm.*', 'ln2.*', None),
)  # fmt: skip
# Of a hybrid: beit_mm's and timm's, the only library that has one.
STEM = tuple(
    (f'patch_embed.stem.{ours}', f'patch_embed.backbone.{theirs}')
    for ours, theirs in (
        ('root.conv.weight', 'stem.conv.weight'),
        ('root.norm.*', 'stem.norm.*'),
        ('stages.{n}.{m}.shortcut.conv.weight', 'stages.{n}.blocks.{m}.downsample.conv.weight'),
        ('stages.{n}.{m}.shortcut.norm.*', 'stages.{n}.blocks.{m}.downsample.norm.*'),
        ('stages.{n}.{m}.conv{k}.weight', 'stages.{n}.blocks.{m}.conv{k}.weight'),
        ('stages.{n}.{m}.norm{k}.*', 'stages.{n}.blocks.{m}.norm{k}.*'),
    )
)
# timm's names of the root alone, and the same weights' where stages follow.
ROOT_ALONE = ('patch_embed.backbone.conv.', 'patch_embed.backbone.norm.')
ROOT_OF_STAGES = ('patch_embed.backbone.stem.conv.', 'patch_embed.backbone.stem.norm.')
HEADS = (
    ('head.fc.*', 'head.*', 'classifier.*', 'classifier.*', 'head.fc.*', 'heads.head.*'),
    # With the layer before it, behind a tanh, that ViT has in pre-training (3.1).
    (
        'head.layers.pre_logits.*',
        None,
        None,
        None,
        'head.layers.pre_logits.*',
        'heads.pre_logits.*',
    ),
    (
        'head.layers.head.*',
        'head.*',
        'classifier.*',
        'classifier.*',
        'head.layers.head.*',
        'heads.head.*',
    ),
    # Of DeiT with distillation.
    (
        'head.layers.head_dist.*',
        'head_dist.*',
        'distillation_classifier.*',
        'distillation_classifier.*',
        'head.layers.head_dist.*',
        None,
    ),
    ('head.classifier.*', 'lm_head.*', 'lm_head.*', 'lm_head.*', 'head.cls_head.*', None),
)


def _of_decoder(row: tuple) -> tuple:
    """A row of a block of the encoder, for a block of MAE's decoder."""
    before = (
        ('blocks.{n}.', 'decoder.blocks.{n}.'),
        ('blocks.{n}.', 'decoder_blocks.{n}.'),
        ('encoder.layer.{n}.', 'decoder.decoder_layers.{n}.'),
        ('layers.{n}.', 'decoder.decoder_layers.{n}.'),
        ('layers.{n}.', 'neck.decoder_blocks.{n}.'),
    )

    def renamed(name: str, old: str, new: str) -> str:
        return f'{new}{name.removeprefix(old)}'

    return tuple(
        tuple(renamed(name, *pair) for name in names)
        if isinstance(names, tuple)
        else renamed(names, *pair)
        # torchvision has no MAE.
        for names, pair in zip(row[: len(before)], before, strict=True)
    )


DECODER = (
    ('decoder.embed.*', 'decoder_embed.*', 'decoder.decoder_embed.*', 'decoder.decoder_embed.*',
     'neck.decoder_embed.*'),
    ('decoder.mask_token', 'mask_token', 'decoder.mask_token', 'decoder.mask_token',
     'neck.mask_token'),
    ('decoder.pos_embed', 'decoder_pos_embed', 'decoder.decoder_pos_embed',
     'decoder.decoder_pos_embed', 'neck.decoder_pos_embed'),
    *(_of_decoder(row) for row in BACKBONE
      if row[0].startswith('blocks.') and not row[0].endswith(('q_bias', 'v_bias'))),
    ('decoder.norm.*', 'decoder_norm.*', 'decoder.decoder_norm.*', 'decoder.decoder_norm.*',
     'neck.ln1.*'),
    ('head.regressor.*', 'decoder_pred.*', 'decoder.decoder_pred.*', 'decoder.decoder_pred.*',
     'neck.decoder_pred.*'),
)  # fmt: skip
