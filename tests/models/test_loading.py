"""Weights in one word: against the peers that wrote them, which say what the answer is."""

import json
import logging

import pytest
import timm
import torch
from mmengine.logging import MMLogger
from mmpretrain.models import BEiTViT
from mmpretrain.models import VisionTransformer as VisionTransformerOfMMPretrain
from safetensors.torch import load_file, save_file
from timm.models.beit import Beit
from transformers import BeitConfig, BeitForMaskedImageModeling, BeitModel, ViTConfig, ViTModel

import beit_mm
from beit_mm.checkpoints import LAYOUTS, OF_VIT_ALONE, CheckpointError, convert_state_dict
from beit_mm.models import BEiT, VisionTransformer, reading_shapes
from beit_mm.models.sizes import ARCHS

WIDTH, DEPTH, HEADS, HIDDEN, PATCH = 48, 3, 4, 96, 8
ARCH = dict(embed_dims=WIDTH, num_layers=DEPTH, num_heads=HEADS, feedforward_channels=HIDDEN)
POSITIONS = dict(
    own=dict(use_rel_pos_bias=True),
    shared=dict(use_rel_pos_bias=False, use_shared_rel_pos_bias=True),
    absolute=dict(use_rel_pos_bias=False, use_abs_pos_emb=True),
    both=dict(use_rel_pos_bias=True, use_abs_pos_emb=True),
    none=dict(use_rel_pos_bias=False),
)


def randomize(model, seed=0):
    """No weight zero, none like another, outputs of the order of 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.1 * noise + (parameter.ndim == 1))
    model.eval()
    return model


def images(height=32, width=32, channels=3):
    generator = torch.Generator().manual_seed(1)
    return 1 + torch.randn(2, channels, height, width, generator=generator)


@torch.no_grad()
def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for own, other in zip(ours, theirs, strict=True):
        assert other.std() > 0.05
        torch.testing.assert_close(own, other, rtol=0, atol=1e-5)


def save(weights, path, **others):
    torch.save(dict(state_dict=weights, **others), path)
    return path


# --- against the peers ------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize('channels', [3, 4])
@pytest.mark.parametrize(
    'positions', [dict(use_rel_pos_bias=True), dict(use_shared_rel_pos_bias=True)]
)
def test_timms_classifier(tmp_path, positions, channels):
    peer = randomize(
        Beit(img_size=(32, 48), patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS,
             mlp_ratio=2, num_classes=5, init_values=0.1, in_chans=channels, **positions)
    )  # fmt: skip
    torch.save(peer.state_dict(), tmp_path / 'a.pth')
    x = images(32, 48, channels)
    expected = peer.forward_head(peer.forward_features(x), pre_logits=True)
    # Nothing in the file says that the grid is 4 x 6.
    with pytest.raises(CheckpointError, match=r'a\.pth: its positions are not for a square grid'):
        beit_mm.load(tmp_path / 'a.pth')
    model = beit_mm.load(tmp_path / 'a.pth', img_size=(32, 48))
    assert not model.training
    assert_same(model(x), [expected])
    # A config beside it says so.
    (tmp_path / 'timm').mkdir()
    save_file(peer.state_dict(), tmp_path / 'timm/model.safetensors')
    config = dict(architecture='beit_base_patch16_224', pretrained_cfg=dict(input_size=[3, 32, 48]))
    (tmp_path / 'timm/config.json').write_text(json.dumps(config))
    for source in (tmp_path / 'timm', str(tmp_path / 'timm/model.safetensors')):
        assert_same(beit_mm.load(source)(x), [expected])
    config['model_args'] = dict(img_size=(32, 40))
    (tmp_path / 'timm/config.json').write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r'does not fit the patch grid .* 4 x 5'):
        beit_mm.load(tmp_path / 'timm')


@torch.no_grad()
@pytest.mark.parametrize('form', ['one', 'sharded', 'pickled', 'pickled and sharded'])
@pytest.mark.parametrize('positions', ['own', 'shared', 'absolute'])
def test_hugging_faces_folder(tmp_path, positions, form):
    settings = POSITIONS[positions]
    config = BeitConfig(
        hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, patch_size=PATCH,
        intermediate_size=HIDDEN, image_size=32, use_mask_token=True, use_mean_pooling=False,
        # Ours, and everybody's but transformers'.
        layer_norm_eps=1e-6,
        use_relative_position_bias=settings['use_rel_pos_bias'],
        use_shared_relative_position_bias=settings.get('use_shared_rel_pos_bias', False),
        use_absolute_position_embeddings=settings.get('use_abs_pos_emb', False),
    )  # fmt: skip
    peer = randomize(BeitModel(config))
    peer.save_pretrained(tmp_path, max_shard_size='100KB' if 'sharded' in form else '1GB')
    if 'pickled' in form:
        as_pickles(tmp_path)
    assert len(list(tmp_path.glob('*.index.json'))) == ('sharded' in form)
    model = beit_mm.load(tmp_path)
    assert model.with_cp is False
    assert model.mask_token is not None
    assert_same(model(images()), [peer(images()).last_hidden_state])


def as_pickles(folder):
    """The folder as transformers wrote it before there was safetensors."""
    for path in folder.glob('*.safetensors'):
        name = path.name.replace('model', 'pytorch_model').replace('safetensors', 'bin')
        torch.save(load_file(path), folder / name)
        path.unlink()
    for path in folder.glob('*.index.json'):
        text = path.read_text().replace('model-', 'pytorch_model-').replace('.safetensors', '.bin')
        (folder / 'pytorch_model.bin.index.json').write_text(text)
        path.unlink()


@torch.no_grad()
def test_hugging_faces_pretraining_model_has_its_norm_and_mask_token(tmp_path):
    config = BeitConfig(
        hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, patch_size=PATCH,
        intermediate_size=HIDDEN, image_size=32, vocab_size=11, use_mask_token=True,
        layer_norm_eps=1e-6, use_shared_relative_position_bias=True,
    )  # fmt: skip
    peer = randomize(BeitForMaskedImageModeling(config))
    peer.save_pretrained(tmp_path)
    model = beit_mm.load(tmp_path)
    mask = torch.arange(32).reshape(2, 4, 4) % 3 == 0
    hidden = model(images(), mask)[0]
    logits = peer.lm_head(hidden[:, 1:])
    assert_same([logits], [peer(images(), bool_masked_pos=mask.flatten(1)).logits])


@torch.no_grad()
@pytest.mark.parametrize('averaged', [False, True])
def test_mmpretrains_backbone(tmp_path, averaged):
    form = dict(out_type='avg_featmap', final_norm=False) if averaged else dict(out_type='raw')
    peer = randomize(
        BEiTViT(arch={**ARCH, 'num_layers': DEPTH}, img_size=32, patch_size=PATCH, **form)
    )
    weights = {f'backbone.{name}': tensor for name, tensor in peer.state_dict().items()}
    model = beit_mm.load(save(weights, tmp_path / 'a.pth'))
    assert_same(model(images()), peer(images()))


# --- everything that a backbone may be --------------------------------------------------------


@pytest.mark.parametrize('layout', [each for each in LAYOUTS if each not in OF_VIT_ALONE])
@pytest.mark.parametrize('positions', POSITIONS)
@pytest.mark.parametrize('norms', ['raw', 'final norm', 'behind the mean'])
def test_what_was_written_in_any_layout_is_what_was_built(tmp_path, layout, positions, norms):
    """Also without LayerScale and with rectangular patches and images, one channel."""
    given = randomize(
        BEiT(
            ARCH, img_size=(32, 48), patch_size=(8, 16), in_channels=1,
            out_type='avg_featmap' if norms == 'behind the mean' else 'raw',
            final_norm=norms == 'final norm', with_mask_token=norms == 'final norm',
            layer_scale_init_value=0 if norms == 'raw' else 0.1, **POSITIONS[positions],
        )
    )  # fmt: skip
    weights = given.state_dict()
    if layout == 'mmseg' and (norms == 'behind the mean' or positions in ('absolute', 'both')):
        pytest.skip('of which MMSegmentation has nothing')
    converted = convert_state_dict(weights, layout)
    # Where a layout says nothing of a grid that is not square, the caller must.
    size = dict(img_size=(32, 48)) if layout in ('timm', 'huggingface', 'huggingface5') else {}
    if 'rel' not in ''.join(converted):
        size = dict(img_size=(32, 48), num_heads=HEADS)
    model = beit_mm.load(save(converted, tmp_path / 'a.pth'), **size)
    x = images(32, 48, 1)
    assert_same(model(x), given(x))
    expected = given.state_dict().keys()
    if layout == 'mmseg' and norms == 'final norm':
        expected -= {'mask_token'}
    if layout == 'mmseg' and positions == 'shared':
        assert model.blocks[0].attn.rel_pos_bias is not None
    else:
        assert model.state_dict().keys() == expected


@pytest.mark.parametrize('name', ['tiny', 'small', 'base', 'large', 'huge'])
def test_heads_of_sizes_with_names_are_known(tmp_path, name):
    arch = {**ARCHS[name], 'num_layers': 1, 'feedforward_channels': 8}
    given = BEiT(arch, img_size=32, use_rel_pos_bias=False, use_abs_pos_emb=True)
    model = beit_mm.load(save(given.state_dict(), tmp_path / 'a.pth'))
    assert model.blocks[0].attn.num_heads == ARCHS[name]['num_heads']


def test_the_small_network_of_width_768_has_eight_heads(tmp_path):
    timm = pytest.importorskip('timm')
    peer = timm.models.VisionTransformer(
        img_size=32, patch_size=16, embed_dim=768, depth=8, num_heads=8, mlp_ratio=3, num_classes=0
    ).eval()
    model = beit_mm.load(save(peer.state_dict(), tmp_path / 'a.pth'))
    photos = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(photos)[0], peer.forward_features(photos))


def test_heads_that_are_taken_by_the_width_alone_are_told(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(reading_shapes, 'print_log', lambda line, **how: said.append((line, how)))
    for layers in (12, 1):
        given = BEiT({**ARCHS['tiny'], 'num_layers': layers}, img_size=32, use_rel_pos_bias=False)
        beit_mm.load(save(given.state_dict(), tmp_path / 'a.pth'))
    ((line, how),) = said
    assert line.startswith('1 blocks of width 192 are no size with a name; 3 heads are taken')
    assert how['level'] == logging.WARNING


@pytest.mark.parametrize('named', [True, False])
def test_rotary_positions_are_refused(tmp_path, named):
    given = BEiT({**ARCHS['tiny'], 'num_layers': 1}, img_size=32, use_rel_pos_bias=False)
    weights = given.state_dict()
    if named:
        config = dict(architecture='vit_small_patch16_rope_224', num_features=192)
        (tmp_path / 'config.json').write_text(json.dumps(config))
    else:
        weights['rope.freqs'] = torch.zeros(2, 12, 32)
    save(weights, tmp_path / 'pytorch_model.bin')
    with pytest.raises(CheckpointError, match=r'rotary positions|rope\.freqs'):
        beit_mm.load(tmp_path)


def test_heads_that_nothing_tells_must_be_given(tmp_path):
    given = randomize(BEiT(ARCH, img_size=32, patch_size=PATCH, **POSITIONS['absolute']))
    path = save(given.state_dict(), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'a\.pth: \d blocks of width 48, .* give num_heads='):
        beit_mm.load(path)
    assert_same(beit_mm.load(path, num_heads=HEADS)(images()), given(images()))


def test_another_size_of_image_and_other_outputs(tmp_path):
    given = randomize(BEiT(ARCH, img_size=32, patch_size=PATCH, final_norm=True, out_type='raw'))
    path = save(given.state_dict(), tmp_path / 'a.pth')
    model = beit_mm.load(path, img_size=(48, 64), out_type='featmap', out_indices=(0, 2))
    x = images(48, 64)
    outputs = model(x)
    # The backbone resamples its tables on the way as they are at loading.
    given.out_type, given.out_indices = 'featmap', (0, 2)
    assert_same(outputs, given(x))
    assert [tuple(out.shape) for out in outputs] == [(2, WIDTH, 6, 8)] * 2
    # The mean of the last block's patches is not of its norm, see the paper's fine-tuning.
    mean = beit_mm.load(path, out_type='avg_featmap')
    assert mean.norm is None


@pytest.mark.parametrize('lost', [('q_bias', 'v_bias'), ('fc_norm.weight', 'fc_norm.bias')])
def test_what_the_weights_lack_has_its_initial_value(tmp_path, lost):
    given = randomize(BEiT(ARCH, img_size=32, patch_size=PATCH)).state_dict()
    less = {n: t for n, t in given.items() if not n.endswith(lost)}
    assert len(less) == len(given) - (2 if 'fc' in lost[0] else 2 * DEPTH)
    model = beit_mm.load(save(less, tmp_path / 'a.pth'), out_type='avg_featmap')
    assert type(model) is BEiT
    fresh = BEiT(ARCH, img_size=32, patch_size=PATCH).state_dict()
    for name, tensor in model.state_dict().items():
        assert tensor.equal(less.get(name, fresh[name])), name


def test_the_set_that_is_asked_for(tmp_path):
    models = [randomize(BEiT(ARCH, img_size=32, patch_size=PATCH), seed) for seed in (0, 1)]
    weights = [model.state_dict() for model in models]
    torch.save(dict(student=weights[0], teacher=weights[1]), tmp_path / 'a.pth')
    for which, model in [('', 0), ('student', 0), ('teacher', 1), ('ema', 1)]:
        loaded = beit_mm.load(tmp_path / 'a.pth', which=which)
        assert_same(loaded(images()), models[model](images()))


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda w: {n: t for n, t in w.items() if '.1.' not in n}, 'has block 2 and lacks block 1'),
        (lambda w: {n: t for n, t in w.items() if n != 'cls_token'}, 'it lacks cls_token'),
        (lambda w: {**w, 'patch_embed.proj.weight': torch.ones(48, 3)}, r'the shape \(48, 3\)'),
        (
            lambda w: {**w, 'blocks.0.attn.k_norm.weight': torch.ones(2)},
            'another model than BEiT and ViT',
        ),
        (lambda w: {'layer1.0.weight': torch.ones(2)}, 'not the weights of a Vision Transformer'),
    ],
)
def test_what_is_no_whole_beit_is_refused_by_name(tmp_path, change, message):
    weights = BEiT(ARCH, img_size=32, patch_size=PATCH).state_dict()
    path = save(convert_state_dict(weights, 'timm'), tmp_path / 'a.pth')
    beit_mm.load(path)
    save(change(convert_state_dict(weights, 'timm')), path)
    with pytest.raises(CheckpointError, match=rf'a\.pth: .*{message}') as error:
        beit_mm.load(path)
    assert '\n' not in str(error.value)


def vit_of_timm():
    return timm.models.VisionTransformer(
        img_size=32, patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, mlp_ratio=2,
        num_classes=0,
    )  # fmt: skip


def vit_of_transformers():
    config = ViTConfig(
        hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS,
        intermediate_size=HIDDEN, image_size=32, patch_size=PATCH, layer_norm_eps=1e-6,
    )  # fmt: skip
    return ViTModel(config, add_pooling_layer=False)


def vit_of_mmpretrain():
    return VisionTransformerOfMMPretrain(ARCH, img_size=32, patch_size=PATCH)


@pytest.mark.parametrize('make', [vit_of_timm, vit_of_transformers, vit_of_mmpretrain])
def test_a_vision_transformer_is_what_its_library_computes(tmp_path, make):
    peer = randomize(make())
    path = save(peer.state_dict(), tmp_path / 'vit.pth')
    ours = beit_mm.load(path, out_type='cls_token', num_heads=HEADS)
    assert type(ours) is VisionTransformer
    theirs = peer(images())
    if make is vit_of_transformers:
        theirs = theirs.last_hidden_state[:, 0]
    assert_same(ours(images()), theirs if isinstance(theirs, tuple) else (theirs,))


def test_a_config_of_another_activation_is_refused(tmp_path):
    weights = BEiT(ARCH, img_size=32, patch_size=PATCH).state_dict()
    save_file(convert_state_dict(weights, 'huggingface'), tmp_path / 'model.safetensors')
    (tmp_path / 'config.json').write_text(json.dumps(dict(hidden_act='relu')))
    with pytest.raises(CheckpointError, match="hidden_act 'relu'; what is read here has gelu"):
        beit_mm.load(tmp_path)


def test_the_log_says_what_became_of_the_weights(tmp_path, caplog):
    given = BEiT(ARCH, img_size=32, patch_size=PATCH, out_type='raw')
    path = save(given.state_dict(), tmp_path / 'a.pth')
    logger = MMLogger.get_instance('load')
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, logger='load'):
        beit_mm.load(path, img_size=64)
        assert 'a.pth: layout beit_mm, ' in caplog.text
        beit_mm.load(save(convert_state_dict(given.state_dict(), 'timm'), tmp_path / 'b.pth'))
    assert '3 relative tables 4 x 4 -> 8 x 8' in caplog.text
    assert 'b.pth: layout timm, ' in caplog.text
