"""Files and folders for other libraries, read by those libraries, whose outputs must be ours."""

import json

import pytest
import timm
import torch
from mmpretrain.models import BEiTViT
from mmseg.models.backbones import BEiT as BEiTOfMMSeg
from safetensors.torch import save_file
from transformers import BeitForImageClassification, BeitForMaskedImageModeling, BeitModel
from transformers.models.beit import BeitImageProcessor

import beit_mm
from beit_mm.checkpoints import (
    LAYOUTS,
    OF_VIT_ALONE,
    CheckpointError,
    convert_state_dict,
    load_state_dict,
)
from beit_mm.models import BEiT, convert

# 100 is no multiple of 48: timm is told a ratio, and rounds.
WIDTH, DEPTH, HEADS, HIDDEN, PATCH, CLASSES, VOCABULARY = 48, 3, 4, 100, 8, 5, 11
ARCH = dict(embed_dims=WIDTH, num_layers=DEPTH, num_heads=HEADS, feedforward_channels=HIDDEN)
OWN, SHARED = (
    dict(use_rel_pos_bias=True),
    dict(use_rel_pos_bias=False, use_shared_rel_pos_bias=True),
)
ABSOLUTE = dict(use_rel_pos_bias=False, use_abs_pos_emb=True)
POSITIONS = pytest.mark.parametrize(
    'positions', [OWN, SHARED, {**OWN, **dict(use_abs_pos_emb=True)}]
)
SIZES = pytest.mark.parametrize('size', [(32, 32), (32, 48)])


def model_and_file(folder, head=None, seed=0, **settings):
    """A backbone with random weights, those of a head, and a file of this project with both."""
    torch.manual_seed(seed)
    model = BEiT(**{**dict(arch=ARCH, patch_size=PATCH, layer_scale_init_value=0.1), **settings})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.1 * torch.randn_like(parameter) + (parameter.ndim == 1))
    weights = {f'backbone.{name}': tensor for name, tensor in model.state_dict().items()}
    if head:
        name, rows = head
        weights[f'head.{name}.weight'] = torch.randn(rows, WIDTH)
        weights[f'head.{name}.bias'] = torch.randn(rows)
    # What our pre-training has besides.
    weights['target_generator.tokenizer.encoder.input.weight'] = torch.ones(2)
    torch.save(dict(state_dict=weights, meta=dict(epoch=1)), folder / 'ours.pth')
    return model.eval(), weights, folder / 'ours.pth'


def logits_of(weights, name, features):
    return features @ weights[f'head.{name}.weight'].T + weights[f'head.{name}.bias']


def images(size=(32, 32), channels=3):
    return 1 + torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(1))


def assert_same(own, other):
    assert other.std() > 0.05
    torch.testing.assert_close(own, other, rtol=0, atol=1e-5)


def assert_all_loaded(info):
    """What ``from_pretrained`` says of its work, in every version of transformers."""
    for kind in ('missing_keys', 'mismatched_keys', 'unexpected_keys'):
        # Before version 5 the index may be among the weights, and is made anew.
        assert [n for n in info[kind] if not n.endswith('relative_position_index')] == [], kind


# --- transformers -----------------------------------------------------------------------------


@torch.no_grad()
@POSITIONS
def test_classifiers_of_transformers(tmp_path, positions):
    ours, weights, file = model_and_file(
        tmp_path, ('fc', CLASSES), img_size=32, out_type='avg_featmap', **positions
    )
    assert convert(file, tmp_path / 'folder', 'huggingface').layout == 'beit_mm'
    peer, info = BeitForImageClassification.from_pretrained(
        tmp_path / 'folder', output_loading_info=True
    )
    assert_all_loaded(info)
    assert peer.config.num_labels == CLASSES
    assert peer.config.architectures == ['BeitForImageClassification']
    x = images()
    assert_same(logits_of(weights, 'fc', ours(x)[0]), peer.eval()(x).logits)


@torch.no_grad()
@POSITIONS
def test_pretraining_models_of_transformers(tmp_path, positions):
    ours, weights, file = model_and_file(
        tmp_path, ('classifier', VOCABULARY), img_size=32, out_type='raw', final_norm=True,
        with_mask_token=True, **positions,
    )  # fmt: skip
    convert(file, tmp_path / 'folder', 'huggingface')
    peer, info = BeitForMaskedImageModeling.from_pretrained(
        tmp_path / 'folder', output_loading_info=True
    )
    assert_all_loaded(info)
    x, mask = images(), torch.arange(32).reshape(2, 4, 4) % 3 == 0
    expected = peer.eval()(x, bool_masked_pos=mask.flatten(1)).logits
    assert_same(logits_of(weights, 'classifier', ours(x, mask)[0][:, 1:]), expected)


@torch.no_grad()
@POSITIONS
@pytest.mark.parametrize('end', ['mean', 'norm', 'none'])
@pytest.mark.parametrize('form', [{}, dict(layer_scale_init_value=0), dict(in_channels=1)])
def test_backbones_of_transformers(tmp_path, positions, end, form):
    norms = dict(
        mean=dict(out_type='avg_featmap'), norm=dict(out_type='raw', final_norm=True),
        none=dict(out_type='raw'),
    )  # fmt: skip
    ours, _, _ = model_and_file(tmp_path, img_size=32, **norms[end], **form, **positions)
    # A bare backbone, not a whole model.
    torch.save(ours.state_dict(), tmp_path / 'bare.pth')
    convert(tmp_path / 'bare.pth', tmp_path / 'folder', 'huggingface')
    peer, info = BeitModel.from_pretrained(tmp_path / 'folder', output_loading_info=True)
    if end == 'none':
        # Of which nothing is used here: the last hidden state comes before it.
        info['missing_keys'] = [n for n in info['missing_keys'] if 'pooler.layernorm' not in n]
    assert_all_loaded(info)
    x = images(channels=form.get('in_channels', 3))
    result = peer.eval()(x)
    if end == 'mean':
        assert_same(ours(x)[0], result.pooler_output)
    else:
        assert_same(ours(x)[0], result.last_hidden_state)


@torch.no_grad()
def test_how_images_are_normalised_goes_along(tmp_path):
    ours, _, _ = model_and_file(tmp_path, img_size=32, out_type='avg_featmap')
    source = tmp_path / 'timm'
    source.mkdir()
    save_file(convert_state_dict(ours.state_dict(), 'timm'), source / 'model.safetensors')
    told = dict(input_size=[3, 32, 32], mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6])
    config = dict(architecture='beit_base_patch16_224', pretrained_cfg=told)
    (source / 'config.json').write_text(json.dumps(config))
    convert(source, tmp_path / 'first', 'huggingface')
    processor = BeitImageProcessor.from_pretrained(tmp_path / 'first')
    pixels = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    mean, std = (torch.tensor(told[name])[:, None, None] for name in ('mean', 'std'))
    [processed] = processor(pixels, return_tensors='pt').pixel_values
    torch.testing.assert_close(processed, (pixels / 255 - mean) / std, rtol=0, atol=1e-5)
    # And back; but nothing is made up where nothing tells it.
    convert(tmp_path / 'first', tmp_path / 'second', 'timm')
    again = json.loads((tmp_path / 'second/config.json').read_text())['pretrained_cfg']
    assert (again['mean'], again['std']) == (told['mean'], told['std'])
    convert(tmp_path / 'ours.pth', tmp_path / 'third', 'huggingface')
    assert {p.name for p in (tmp_path / 'third').iterdir()} == {'config.json', 'model.safetensors'}


def test_what_transformers_cannot_do_is_refused(tmp_path):
    _, _, file = model_and_file(tmp_path, img_size=(32, 48), out_type='avg_featmap')
    with pytest.raises(CheckpointError, match="transformers' BEiT is for square images"):
        convert(file, tmp_path / 'folder', 'huggingface')
    assert not (tmp_path / 'folder').exists()


# --- timm -------------------------------------------------------------------------------------


def timm_model(size, positions, pool, **settings):
    sizes = dict(patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS)
    return timm.create_model(
        'beit_base_patch16_224', img_size=size, mlp_ratio=(HIDDEN + 0.5) / WIDTH,
        global_pool=pool, **{**dict(use_rel_pos_bias=False), **positions}, **sizes, **settings,
    ).eval()  # fmt: skip


@torch.no_grad()
@POSITIONS
@SIZES
@pytest.mark.parametrize('ending', ['.pth', '.safetensors', ''])
def test_classifiers_of_timm(tmp_path, positions, size, ending):
    ours, weights, file = model_and_file(
        tmp_path, ('fc', CLASSES), img_size=size, out_type='avg_featmap', **positions
    )
    target = tmp_path / f'timm{ending}'
    convert(file, target, 'timm')
    if ending:
        kwargs = dict(num_classes=CLASSES, checkpoint_path=str(target))
        peer = timm_model(size, positions, 'avg', **kwargs)
    else:
        peer = timm.create_model(f'local-dir:{target}', pretrained=True).eval()
    x = images(size)
    assert_same(logits_of(weights, 'fc', ours(x)[0]), peer(x))


@torch.no_grad()
@POSITIONS
@pytest.mark.parametrize('ending', ['.pth', ''])
def test_timm_takes_what_pretraining_gave(tmp_path, positions, ending):
    """It has no place for mask token and vocabulary, and loads strictly."""
    ours, _, file = model_and_file(
        tmp_path, ('classifier', VOCABULARY), img_size=32, out_type='raw', final_norm=True,
        with_mask_token=True, layer_scale_init_value=0, **positions,
    )  # fmt: skip
    convert(file, tmp_path / f'timm{ending}', 'timm')
    if ending:
        peer = timm_model(32, positions, 'token', num_classes=0, init_values=0)
        peer.load_state_dict(load_state_dict(tmp_path / f'timm{ending}'), strict=True)
    else:
        peer = timm.create_model(f'local-dir:{tmp_path}/timm', pretrained=True).eval()
    assert_same(ours(images())[0], peer.forward_features(images()))


def test_a_folder_of_timm_needs_a_norm_at_the_end(tmp_path):
    _, _, file = model_and_file(tmp_path, img_size=32, out_type='raw')
    with pytest.raises(CheckpointError, match=r'ours\.pth: it has no norm at the end'):
        convert(file, tmp_path / 'timm', 'timm')
    assert not (tmp_path / 'timm').exists()


# --- OpenMMLab --------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize('form', [dict(out_type='avg_featmap'), dict(out_type='cls_token')])
def test_mmpretrains_own_loading(tmp_path, form):
    form['final_norm'] = form['out_type'] == 'cls_token'
    ours, _, _ = model_and_file(tmp_path, img_size=32, **form)
    torch.save(ours.state_dict(), tmp_path / 'bare.pth')
    convert(tmp_path / 'bare.pth', tmp_path / 'mm.pth', 'mmpretrain')
    peer = BEiTViT(arch=ARCH, img_size=32, patch_size=PATCH, **form)
    peer.eval()
    peer.load_state_dict(torch.load(tmp_path / 'mm.pth')['state_dict'], strict=True)
    assert_same(ours(images())[0], peer(images())[0])


@torch.no_grad()
def test_mmsegmentations_own_loading(tmp_path):
    arch = {**ARCH, 'feedforward_channels': 2 * WIDTH}
    ours, _, _ = model_and_file(tmp_path, img_size=32, out_type='featmap', arch=arch, **SHARED)
    torch.save(ours.state_dict(), tmp_path / 'bare.pth')
    convert(tmp_path / 'bare.pth', tmp_path / 'mm.pth', 'mmseg')
    # Its eval() returns nothing.
    peer = BEiTOfMMSeg(
        img_size=32, patch_size=PATCH, embed_dims=WIDTH, num_layers=DEPTH, num_heads=HEADS,
        norm_cfg=dict(type='LN', eps=1e-6), mlp_ratio=2, qv_bias=True,
        init_values=0.1, final_norm=False,
    )  # fmt: skip
    peer.eval()
    peer.load_state_dict(torch.load(tmp_path / 'mm.pth')['state_dict'], strict=True)
    assert_same(ours(images())[0], peer(images())[0])


# --- round trips, sets and refusals -----------------------------------------------------------


@pytest.mark.parametrize('to', [each for each in LAYOUTS if each not in OF_VIT_ALONE])
def test_there_and_back_every_tensor_is_the_same(tmp_path, to):
    _, weights, file = model_and_file(
        tmp_path, ('fc', CLASSES), img_size=32, out_type='avg_featmap', **OWN
    )
    if to == 'mmseg':
        # Which has no place for a classifier.
        _, weights, file = model_and_file(tmp_path, img_size=32, out_type='raw', **OWN)
    convert(file, tmp_path / 'there.pth', to)
    convert(tmp_path / 'there.pth', tmp_path / 'back.safetensors', 'beit_mm')
    back = load_state_dict(tmp_path / 'back.safetensors')
    if to != 'beit_mm':
        weights.pop('target_generator.tokenizer.encoder.input.weight')
    if to in ('timm', 'huggingface', 'huggingface5'):
        weights.pop('backbone.patch_grid')
    assert back.keys() == weights.keys()
    assert all(back[name].equal(tensor) for name, tensor in weights.items())


@torch.no_grad()
@pytest.mark.parametrize(('to', 'size'), [('huggingface', (32, 32)), ('timm', (32, 48))])
def test_a_folder_over_itself_and_into_another(tmp_path, to, size):
    ours, _, file = model_and_file(tmp_path, img_size=size, out_type='avg_featmap')
    for source, target in [(file, 'a'), (tmp_path / 'a', 'a'), (tmp_path / 'a', 'b')]:
        convert(source, tmp_path / target, to)
        assert_same(beit_mm.load(tmp_path / target)(images(size))[0], ours(images(size))[0])


def test_a_folder_of_what_does_not_say_its_heads_is_refused(tmp_path):
    _, _, file = model_and_file(tmp_path, img_size=32, out_type='avg_featmap', **ABSOLUTE)
    with pytest.raises(CheckpointError, match=r'ours\.pth: nothing says how many heads there are'):
        convert(file, tmp_path / 'folder', 'timm')


def test_the_set_that_is_asked_for(tmp_path):
    first, second = (
        model_and_file(tmp_path, img_size=32, out_type='raw', seed=seed)[0] for seed in (0, 1)
    )
    weights = dict(student=first.state_dict(), teacher=second.state_dict())
    torch.save(weights, tmp_path / 'both.pth')
    for which, model in [('', first), ('teacher', second), ('ema', second)]:
        convert(tmp_path / 'both.pth', tmp_path / 'one.pth', 'timm', which=which)
        written = load_state_dict(tmp_path / 'one.pth')
        assert written['cls_token'].equal(model.cls_token)


@pytest.mark.parametrize(
    ('target', 'to', 'error', 'message'),
    [
        ('a.bin', 'timm', ValueError, r'a\.bin must end in \.pth or \.safetensors'),
        ('folder', 'unilm', ValueError, 'folders are for huggingface and timm'),
        ('nowhere/a.pth', 'timm', FileNotFoundError, r'a\.pth: there is no folder .*nowhere'),
        ('a.pth', 'tim', ValueError, "to='tim' is none of beit_mm, unilm, timm"),
        ('ours', 'timm', ValueError, r'folders are for'),
    ],
)
def test_targets_that_cannot_be_are_refused_before_anything_is_read(
    tmp_path, target, to, error, message
):
    (tmp_path / 'ours').write_text('a file')
    with pytest.raises(error, match=message):
        convert(tmp_path / 'missing.pth', tmp_path / target, to)


def test_what_is_no_beit_is_refused_by_name(tmp_path):
    torch.save({'layer1.0.conv1.weight': torch.zeros(3)}, tmp_path / 'resnet.pth')
    with pytest.raises(
        CheckpointError, match=r'resnet\.pth: these are not the weights of a Vision'
    ):
        convert(tmp_path / 'resnet.pth', tmp_path / 'a.pth', 'timm')
    assert not (tmp_path / 'a.pth').exists()
