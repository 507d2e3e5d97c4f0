"""Models of timm, transformers, MMPretrain and MMSegmentation, reproduced from their weights.

Each peer's weights are read here and must give its outputs, to rounding error; converted back
they must give another instance of the peer the very tensors of the first, and so its outputs.
"""

import pytest
import timm
import torch
import transformers
from mmpretrain.models import BEiTViT
from mmpretrain.registry import MODELS as MMPRETRAIN
from mmseg.models.backbones import BEiT as BEiTOfMMSeg
from safetensors.torch import load_file
from timm.models.beit import Beit as BeitOfTimm
from torch.nn import functional as F
from transformers import (
    BeitConfig,
    BeitForImageClassification,
    BeitForMaskedImageModeling,
    BeitModel,
)

from beit_mm.checkpoints import convert_state_dict, detect_layout, load_state_dict
from beit_mm.models import BEiT, MaskedImageModeling

WIDTH, DEPTH, HEADS, HIDDEN, PATCH = 48, 3, 4, 96, 8
ARCH = dict(
    embed_dims=WIDTH, num_layers=DEPTH, num_heads=HEADS, feedforward_channels=HIDDEN
)  # fmt: skip
CLASSES, VOCABULARY = 7, 11
TOLERANCE = dict(rtol=0, atol=1e-5)

OWN = dict(use_rel_pos_bias=True, use_shared_rel_pos_bias=False, use_abs_pos_emb=False)
SHARED = dict(use_rel_pos_bias=False, use_shared_rel_pos_bias=True, use_abs_pos_emb=False)
ABSOLUTE = dict(use_rel_pos_bias=False, use_shared_rel_pos_bias=False, use_abs_pos_emb=True)
OWN_AND_ABSOLUTE = dict(OWN, use_abs_pos_emb=True)
SHARED_AND_ABSOLUTE = dict(SHARED, use_abs_pos_emb=True)

# Names in memory; transformers before version 5 had there what the files on the hub still have.
TRANSFORMERS = int(transformers.__version__.split('.')[0])
IN_MEMORY = 'huggingface5' if TRANSFORMERS >= 5 else 'huggingface'


def randomize(model, seed=0):
    """Let every weight count: none zero, none the same, and outputs of the order of 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.05, generator=generator)
            leaf = name.rsplit('.', 1)[-1]
            if (parameter.ndim == 1 and leaf in ('weight', 'gamma_1', 'gamma_2')) or leaf in (
                'lambda_1',
                'lambda_2',
            ):
                parameter.add_(1)
            elif leaf.endswith(('token', 'table', 'pos_embed', 'position_embeddings')):
                parameter.mul_(10)
    # MMPretrain's backbones return nothing here.
    model.eval()
    return model


def images(size, batch=2):
    generator = torch.Generator().manual_seed(3)
    size = (size, size) if isinstance(size, int) else size
    # Not of mean 0: the mean over the patches would be so small that the epsilon of its norm
    # counts, which is 1e-12 in transformers and 1e-6 everywhere else.
    return 1 + torch.randn(batch, 3, *size, generator=generator)


def random_mask(size, batch=2):
    generator = torch.Generator().manual_seed(4)
    mask = torch.rand(batch, size[0] // PATCH, size[1] // PATCH, generator=generator) < 0.4
    assert 0 < mask.sum() < mask.numel()
    return mask


def small_beit(seed=9, **changes):
    return randomize(BEiT(**{**dict(arch=ARCH, img_size=32, patch_size=PATCH), **changes}), seed)


def classifier(seed=9, num_classes=CLASSES, **backbone):
    """MMPretrain's classifier around the backbone of this project."""
    settings = {**dict(arch=ARCH, img_size=32, patch_size=PATCH), **backbone}
    width = settings['arch']['embed_dims'] if isinstance(settings['arch'], dict) else 768
    model = MMPRETRAIN.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='beit_mm.BEiT', **settings),
            head=dict(type='LinearClsHead', num_classes=num_classes, in_channels=width),
        )
    )
    return randomize(model, seed)


def pretraining(seed=9, **backbone):
    """This project's pre-training model, with a tokenizer that nothing here asks."""
    settings = {**dict(arch=ARCH, img_size=32, patch_size=PATCH), **SHARED, **backbone}
    tokenizer = dict(type='beit_mm.DiscreteVAE', vocab_size=VOCABULARY, hidden=8)
    model = MaskedImageModeling(
        backbone=dict(
            type='beit_mm.BEiT', out_type='raw', final_norm=True, with_mask_token=True, **settings
        ),
        target_generator=dict(type='beit_mm.DVAETargetGenerator', tokenizer=tokenizer),
        head=dict(type='beit_mm.MIMHead', embed_dims=WIDTH, vocab_size=VOCABULARY),
    )
    return randomize(model, seed)


def load(model, state_dict, not_in_file=()):
    """Load what a peer calls its weights, every one of them."""
    converted = convert_state_dict(state_dict, to='beit_mm')
    result = model.load_state_dict(converted, strict=False)
    assert not result.unexpected_keys
    # Where the peer has no table it says nothing of its grid.
    missing = [n for n in result.missing_keys if not n.endswith('patch_grid')]
    assert all(name.startswith(not_in_file) for name in missing) if not_in_file else not missing
    return model


@torch.no_grad()
def outputs(run):
    result = run()
    return list(result) if isinstance(result, (tuple, list)) else [result]


def assert_reproduced(run_ours, run_peer):
    ours, theirs = outputs(run_ours), outputs(run_peer)
    assert len(ours) == len(theirs)
    for own, other in zip(ours, theirs, strict=True):
        # Neither vanishing, so that the tolerance means something, nor all alike.
        assert 0.1 < other.std() < 20
        torch.testing.assert_close(own, other, **TOLERANCE)


def assert_same_tensors(converted, original):
    assert converted.keys() == original.keys()
    for name, tensor in original.items():
        assert converted[name].dtype == tensor.dtype, name
        assert torch.equal(converted[name], tensor), name


def assert_gives_its_own_outputs(run_again, run_peer):
    for again, own in zip(outputs(run_again), outputs(run_peer), strict=True):
        assert torch.equal(again, own)


def assert_other_outputs(run_other, run_peer):
    """Before it loads, the second instance is another model: the checks could fail."""
    for other, own in zip(outputs(run_other), outputs(run_peer), strict=True):
        assert (other - own).abs().max() > 0.1


# timm


def timm_model(seed, **settings):
    size = dict(patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, mlp_ratio=2)
    settings = {**size, 'num_classes': CLASSES, 'init_values': 0.1, **settings}
    return randomize(BeitOfTimm(**settings), seed)


def test_timms_base_model_whole():
    peer = randomize(timm.create_model('beit_base_patch16_224', pretrained=False))
    x, weights = images(224, batch=1), peer.state_dict()
    assert detect_layout(weights) == 'timm'
    ours = load(classifier(arch='base', img_size=224, patch_size=16, num_classes=1000), weights)
    with torch.no_grad():
        pooled = peer.forward_head(peer.forward_features(x), pre_logits=True)
        logits = peer(x)
    assert_reproduced(lambda: ours.backbone(x), lambda: pooled)
    assert_reproduced(lambda: ours(x), lambda: logits)

    back = convert_state_dict(ours.state_dict(), to='timm')
    assert_same_tensors(back, weights)
    randomize(peer, seed=1)
    assert_other_outputs(lambda: peer(x), lambda: logits)
    peer.load_state_dict(back)
    assert_gives_its_own_outputs(lambda: peer(x), lambda: logits)


@pytest.mark.parametrize('name', ['beitv2_base_patch16_224', 'beit_base_patch16_384'])
def test_another_variant_of_timm_from_a_file(name, tmp_path):
    def peer(seed):
        model = timm.create_model(name, pretrained=False, depth=1, num_classes=0, img_size=64)
        return randomize(model, seed)

    first, x = peer(0), images(64)
    path = tmp_path / 'beit.pth'
    torch.save(first.state_dict(), path)
    arch = dict(embed_dims=768, num_layers=1, num_heads=12, feedforward_channels=3072)
    ours = BEiT(arch, img_size=64, init_cfg=dict(type='Pretrained', checkpoint=str(path))).eval()
    ours.init_weights()
    assert_reproduced(lambda: ours(x), lambda: first(x))
    second = peer(1)
    assert_other_outputs(lambda: second(x), lambda: first(x))
    second.load_state_dict(convert_state_dict(ours.state_dict(), to='timm'))
    assert_gives_its_own_outputs(lambda: second(x), lambda: first(x))


@pytest.mark.parametrize(
    'positions', [OWN, SHARED, ABSOLUTE, OWN_AND_ABSOLUTE, SHARED_AND_ABSOLUTE]
)
@pytest.mark.parametrize('pool', ['avg', 'token'])
@pytest.mark.parametrize('size', [(32, 32), (32, 48)])
def test_timms_class_in_all_its_forms(positions, pool, size):
    settings = dict(img_size=size, global_pool=pool, **positions)
    first, x = timm_model(0, **settings), images(size)
    assert detect_layout(first.state_dict()) == 'timm'
    form = dict(out_type='avg_featmap')
    if pool == 'token':
        form = dict(out_type='cls_token', final_norm=True)
    ours = load(classifier(img_size=size, **form, **positions), first.state_dict())
    assert_reproduced(lambda: ours(x), lambda: first(x))

    second = timm_model(1, **settings)
    assert_other_outputs(lambda: second(x), lambda: first(x))
    back = convert_state_dict(ours.state_dict(), to='timm')
    assert_same_tensors(back, first.state_dict())
    second.load_state_dict(back)
    assert_gives_its_own_outputs(lambda: second(x), lambda: first(x))


@pytest.mark.parametrize(
    ('positions', 'size'),
    [
        # 2 x 14 patches have as many offsets as 5 x 5, and 2 x 8 are as many places as 4 x 4.
        (OWN, (16, 112)),
        (ABSOLUTE, (16, 64)),
    ],
    ids=['relative', 'absolute'],
)
@pytest.mark.parametrize('converted', [False, True])
def test_timms_weights_for_a_grid_that_could_be_square(positions, size, converted):
    peer = timm_model(0, img_size=size, num_classes=0, **positions)
    x, weights = images(size), peer.state_dict()
    ours = small_beit(img_size=size, **positions)
    ours.load_state_dict(convert_state_dict(weights, to='beit_mm') if converted else weights)
    assert_reproduced(lambda: ours(x), lambda: peer(x))


def test_a_whole_model_of_timm_into_a_bare_backbone():
    peer, x = timm_model(0, img_size=32, **OWN), images(32)
    ours = small_beit(**OWN)
    ours.load_state_dict(peer.state_dict(), strict=False)
    with torch.no_grad():
        pooled = peer.forward_head(peer.forward_features(x), pre_logits=True)
    assert_reproduced(lambda: ours(x), lambda: pooled)


# transformers


def huggingface_config(positions, **settings):
    return BeitConfig(
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=HIDDEN,
        image_size=32,
        patch_size=PATCH,
        vocab_size=VOCABULARY,
        num_labels=CLASSES,
        use_relative_position_bias=positions['use_rel_pos_bias'],
        use_shared_relative_position_bias=positions['use_shared_rel_pos_bias'],
        use_absolute_position_embeddings=positions['use_abs_pos_emb'],
        **settings,
    )


def without_index(state_dict):
    """Some versions before 5 keep the index with the weights, and ignore one that is missing."""
    return {n: t for n, t in state_dict.items() if not n.endswith('relative_position_index')}


def through_a_file(peer, folder):
    """The names that a peer writes, whatever it calls its weights in memory."""
    peer.save_pretrained(folder)
    return load_file(folder / 'model.safetensors')


def weights_of(peer, folder, from_file):
    weights = through_a_file(peer, folder) if from_file else peer.state_dict()
    assert detect_layout(weights) == 'huggingface'
    return weights


from_memory_or_file = pytest.mark.parametrize('from_file', [False, True], ids=['memory', 'file'])


def assert_returns_to_huggingface(ours, peer_class, config, first, run, folder):
    """Weights of ``ours`` make a fresh peer the first one: in memory, and as from the hub."""
    in_memory = convert_state_dict(ours.state_dict(), to=IN_MEMORY)
    assert_same_tensors(in_memory, without_index(first.state_dict()))
    second = randomize(peer_class(config), seed=1)
    assert_other_outputs(lambda: run(second), lambda: run(first))
    result = second.load_state_dict(in_memory, strict=False)
    assert not result.unexpected_keys
    assert not without_index(dict.fromkeys(result.missing_keys))
    assert_gives_its_own_outputs(lambda: run(second), lambda: run(first))

    of_the_hub = convert_state_dict(ours.state_dict(), to='huggingface')
    assert_same_tensors(of_the_hub, without_index(through_a_file(first, folder)))
    third = peer_class.from_pretrained(None, config=config, state_dict=of_the_hub).eval()
    assert_gives_its_own_outputs(lambda: run(third), lambda: run(first))


@from_memory_or_file
@pytest.mark.parametrize(
    'positions', [OWN, SHARED, ABSOLUTE, OWN_AND_ABSOLUTE, SHARED_AND_ABSOLUTE]
)
@pytest.mark.parametrize('mean_pooling', [True, False])
def test_beit_model_of_transformers(positions, mean_pooling, from_file, tmp_path):
    config = huggingface_config(positions, use_mean_pooling=mean_pooling)
    first, x = randomize(BeitModel(config)), images(32)

    def run(model):
        result = model(x)
        return result.last_hidden_state, result.pooler_output

    form = dict(out_type='avg_featmap') if mean_pooling else dict(out_type='raw', final_norm=True)
    weights = weights_of(first, tmp_path, from_file)
    ours = load(small_beit(**form, **positions), weights)
    if mean_pooling:
        assert_reproduced(lambda: ours(x), lambda: run(first)[1])
    else:
        assert_reproduced(lambda: ours(x)[0][:, 0], lambda: run(first)[1])
    ours.out_type = 'raw'
    assert_reproduced(lambda: ours(x), lambda: run(first)[0])
    assert_returns_to_huggingface(ours, BeitModel, config, first, run, tmp_path)


@from_memory_or_file
@pytest.mark.parametrize('positions', [OWN, SHARED, ABSOLUTE, SHARED_AND_ABSOLUTE])
def test_masked_image_modeling_of_transformers(positions, from_file, tmp_path):
    config = huggingface_config(positions, use_mask_token=True)
    first, x, mask = (
        randomize(BeitForMaskedImageModeling(config)),
        images(32),
        random_mask((32, 32)),
    )

    def run(model, mask=mask):
        return model(x, bool_masked_pos=None if mask is None else mask.flatten(1)).logits

    weights = weights_of(first, tmp_path, from_file)
    ours = load(pretraining(**positions), weights, not_in_file=('target_generator.',))
    for each in (mask, None):
        assert_reproduced(
            lambda each=each: ours.head(ours.backbone(x, each)[0][:, 1:]),
            lambda each=each: run(first, each),
        )
    assert_returns_to_huggingface(ours, BeitForMaskedImageModeling, config, first, run, tmp_path)


@from_memory_or_file
@pytest.mark.parametrize('positions', [OWN, SHARED, ABSOLUTE])
@pytest.mark.parametrize('mean_pooling', [True, False])
def test_image_classification_of_transformers(positions, mean_pooling, from_file, tmp_path):
    config = huggingface_config(positions, use_mean_pooling=mean_pooling)
    first, x = randomize(BeitForImageClassification(config)), images(32)
    form = dict(out_type='avg_featmap')
    if not mean_pooling:
        form = dict(out_type='cls_token', final_norm=True)

    def run(model):
        return model(x).logits

    weights = weights_of(first, tmp_path, from_file)
    ours = load(classifier(**form, **positions), weights)
    assert_reproduced(lambda: ours(x), lambda: run(first))
    assert_returns_to_huggingface(ours, BeitForImageClassification, config, first, run, tmp_path)

    # The backbone alone, from the file that transformers wrote.
    alone = small_beit(**form, **positions)
    alone.load_pretrained(str(tmp_path / 'model.safetensors'))
    assert_gives_its_own_outputs(lambda: alone(x), lambda: ours.backbone(x))


# MMPretrain


@pytest.mark.parametrize('positions', [OWN, SHARED, ABSOLUTE, OWN_AND_ABSOLUTE])
@pytest.mark.parametrize(
    'form',
    [
        dict(out_type='avg_featmap'),
        dict(out_type='avg_featmap', final_norm=True),
        dict(out_type='raw', final_norm=True),
        dict(out_type='cls_token', final_norm=True),
    ],
)
@pytest.mark.parametrize('size', [(32, 32), (48, 32)])
def test_mmpretrains_backbone(positions, form, size):
    settings = dict(arch=ARCH, img_size=size, patch_size=PATCH, **form, **positions)
    first, x = randomize(BEiTViT(**settings)), images(size)
    ours = load(small_beit(img_size=size, **form, **positions), first.state_dict())
    assert_reproduced(lambda: ours(x), lambda: first(x))

    second = randomize(BEiTViT(**settings), seed=1)
    assert_other_outputs(lambda: second(x), lambda: first(x))
    back = convert_state_dict(ours.state_dict(), to='mmpretrain')
    assert_same_tensors(back, first.state_dict())
    second.load_state_dict(back)
    assert_gives_its_own_outputs(lambda: second(x), lambda: first(x))


def test_mmpretrains_pretraining_model(tmp_path):
    size = (32, 48)

    def peer(seed):
        model = MMPRETRAIN.build(
            dict(
                type='mmpretrain.BEiT',
                backbone=dict(type='BEiTPretrainViT', arch=ARCH, img_size=size, patch_size=PATCH),
                neck=None,
                head=dict(
                    type='BEiTV1Head',
                    embed_dims=WIDTH,
                    num_embed=VOCABULARY,
                    loss=dict(type='CrossEntropyLoss'),
                ),
                target_generator=dict(type='DALL-E', n_hid=8, vocab_size=VOCABULARY),
            )
        )
        return randomize(model, seed)

    first, x, mask = peer(0), images(size), random_mask(size)
    weights = first.state_dict()
    assert detect_layout(weights) == 'mmpretrain'
    path = tmp_path / 'beit.pth'
    torch.save(dict(state_dict=weights, meta=dict(epoch=300)), path)

    # Of its tokenizer the converter takes nothing: the target generator reads that by itself.
    of_backbone_and_head = {n for n in weights if n.startswith(('backbone.', 'head.'))}
    dropped = set(weights) - of_backbone_and_head
    assert {name.split('.')[0] for name in dropped} == {'target_generator'}
    ours = load(pretraining(img_size=size), load_state_dict(path), ('target_generator.',))

    assert_reproduced(lambda: ours.backbone(x, mask), lambda: first.backbone(x, mask))
    assert_reproduced(lambda: ours.backbone(x), lambda: first.backbone(x, None))
    assert_reproduced(
        lambda: ours.head(ours.backbone(x, mask)[0]),
        lambda: first.head.cls_head(first.backbone(x, mask)[0]),
    )
    tokens = torch.randint(VOCABULARY, mask.shape, generator=torch.Generator().manual_seed(5))
    one_hot = F.one_hot(tokens, VOCABULARY).permute(0, 3, 1, 2)
    with torch.no_grad():
        torch.testing.assert_close(
            ours.head.loss(ours.backbone(x, mask)[0][:, 1:], tokens, mask)['loss'],
            first.head.loss(first.backbone(x, mask)[0], one_hot, mask),
            **TOLERANCE,
        )

    alone = small_beit(
        img_size=size, out_type='raw', final_norm=True, with_mask_token=True, **SHARED
    )
    alone.load_pretrained(str(path))
    assert_gives_its_own_outputs(lambda: alone(x, mask), lambda: ours.backbone(x, mask))

    back = convert_state_dict(ours.state_dict(), to='mmpretrain')
    assert_same_tensors(back, {name: weights[name] for name in of_backbone_and_head})
    second = peer(1)
    kept = {n: t for n, t in second.state_dict().items() if n.startswith('target_generator.')}
    second.load_state_dict({**kept, **back})
    for run in (
        lambda model: model.backbone(x, mask),
        lambda model: model.head.cls_head(model.backbone(x, mask)[0]),
    ):
        assert_gives_its_own_outputs(lambda run=run: run(second), lambda run=run: run(first))


@pytest.mark.parametrize('positions', [OWN, SHARED])
def test_mmpretrains_classifier(positions, tmp_path):
    def peer(seed):
        backbone = dict(type='BEiTViT', arch=ARCH, img_size=32, patch_size=PATCH, **positions)
        head = dict(type='LinearClsHead', num_classes=CLASSES, in_channels=WIDTH)
        model = MMPRETRAIN.build(dict(type='ImageClassifier', backbone=backbone, head=head))
        return randomize(model, seed)

    first, x = peer(0), images(32)
    path = tmp_path / 'classifier.pth'
    torch.save(dict(state_dict=first.state_dict()), path)
    weights = load_state_dict(path)
    assert detect_layout(weights) == 'mmpretrain'
    ours = load(classifier(**positions), weights)
    assert_reproduced(lambda: ours(x), lambda: first(x))

    back = convert_state_dict(ours.state_dict(), to='mmpretrain')
    assert_same_tensors(back, first.state_dict())
    second = peer(1)
    assert_other_outputs(lambda: second(x), lambda: first(x))
    second.load_state_dict(back)
    assert_gives_its_own_outputs(lambda: second(x), lambda: first(x))


# MMSegmentation


def mmseg_backbone(seed, **settings):
    # Its configs for BEiT set this epsilon; the class itself would take PyTorch's.
    return randomize(
        BEiTOfMMSeg(
            patch_size=PATCH,
            embed_dims=WIDTH,
            num_heads=HEADS,
            mlp_ratio=2,
            norm_cfg=dict(type='LN', eps=1e-6),
            **settings,
        ),
        seed,
    )


@pytest.mark.parametrize('final_norm', [False, True])
@pytest.mark.parametrize('size', [(32, 32), (48, 32)])
def test_mmsegmentations_features_at_four_depths(final_norm, size, tmp_path):
    settings = dict(
        img_size=size, num_layers=5, out_indices=(0, 1, 3, 4), final_norm=final_norm
    )  # fmt: skip
    first, x = mmseg_backbone(0, **settings), images(size)
    assert detect_layout(first.state_dict()) == 'mmseg'
    form = dict(
        arch=dict(ARCH, num_layers=5),
        img_size=size,
        out_type='featmap',
        out_indices=(0, 1, 3, 4),
        final_norm=final_norm,
        **OWN,
    )
    ours = load(small_beit(**form), first.state_dict())
    assert_reproduced(lambda: ours(x), lambda: first(x))

    # From the checkpoint of a whole segmentor.
    path = tmp_path / 'segmentor.pth'
    segmentor = {f'backbone.{name}': tensor for name, tensor in first.state_dict().items()}
    torch.save(dict(state_dict={**segmentor, 'decode_head.conv_seg.bias': x[0, 0, 0]}), path)
    pretrained = BEiT(
        patch_size=PATCH, init_cfg=dict(type='Pretrained', checkpoint=str(path)), **form
    ).eval()
    pretrained.init_weights()
    assert_gives_its_own_outputs(lambda: pretrained(x), lambda: ours(x))

    second = mmseg_backbone(1, **settings)
    assert_other_outputs(lambda: second(x), lambda: first(x))
    back = convert_state_dict(ours.state_dict(), to='mmseg')
    assert_same_tensors(back, first.state_dict())
    second.load_state_dict(back)
    assert_gives_its_own_outputs(lambda: second(x), lambda: first(x))


def test_a_segmentor_goes_both_ways_with_its_heads_untouched():
    backbone = mmseg_backbone(0, img_size=(32, 48), num_layers=2)
    weights = {f'backbone.{name}': tensor for name, tensor in backbone.state_dict().items()}
    heads = {
        'decode_head.conv_seg.weight': torch.randn(4, 8, 1, 1),
        # Names that end as those of a backbone do.
        'decode_head.fpn_convs.0.bn.num_batches_tracked': torch.tensor(3),
        'decode_head.norm.weight': torch.randn(8),
        'auxiliary_head.convs.0.conv.weight': torch.randn(8, 8, 3, 3),
        'neck.ops.0.bias': torch.randn(8),
    }
    ours = convert_state_dict({**weights, **heads}, to='beit_mm')
    for name, tensor in heads.items():
        assert ours[name] is tensor
    assert {name.split('.')[0] for name in ours} == {
        'backbone',
        'decode_head',
        'auxiliary_head',
        'neck',
    }
    assert ours['backbone.patch_grid'].tolist() == [4, 6]
    assert_same_tensors(convert_state_dict(ours, to='mmseg'), {**weights, **heads})
