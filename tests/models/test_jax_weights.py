"""Weights of JAX (.npz), of torchvision and of MMPretrain's supervised ViT, in and out."""

import re

import numpy as np
import pytest
import timm
import torch
from mmpretrain.registry import MODELS as OF_MMPRETRAIN
from torchvision.models import VisionTransformer as VisionTransformerOfTorchvision
from transformers import DeiTConfig, DeiTForImageClassificationWithTeacher

import beit_mm
from beit_mm.checkpoints import CheckpointError, load_state_dict
from beit_mm.commands.starting_weights import images_of
from beit_mm.models import VisionTransformer, convert
from beit_mm.models.fitting import fit_model

WIDTH, DEPTH, HEADS, HIDDEN, PATCH, CLASSES = 48, 3, 4, 96, 8, 5
ARCH = dict(embed_dims=WIDTH, num_layers=DEPTH, num_heads=HEADS, feedforward_channels=HIDDEN)
ABOUT = dict(num_heads=HEADS)
# The names of the layers of a block, and the one of positions.
RELEASE = ('MultiHeadDotProductAttention_1', 'LayerNorm_2', 'MlpBlock_3')
BIG_VISION = ('MultiHeadDotProductAttention_0', 'LayerNorm_1', 'MlpBlock_0')


def peer_of(size=32, **settings):
    """timm's, no weight zero and none like another; outputs of the order of 1."""
    settings = dict(num_classes=CLASSES, class_token=True, global_pool='token') | settings
    model = timm.models.VisionTransformer(
        img_size=size, patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS,
        mlp_ratio=HIDDEN / WIDTH, **settings,
    )  # fmt: skip
    return randomize(model)


def randomize(model):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.1 * noise + (parameter.ndim == 1))
    return model.eval()


def images(size=32):
    return 1 + torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def arrays_of(model, names=RELEASE):
    """What a JAX program holds, spelled out from timm's model."""
    attention, norm, mlp = names
    weights = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}

    def vectors(name):
        return dict(scale=weights[f'{name}.weight'], bias=weights[f'{name}.bias'])

    def dense(name):
        return dict(kernel=weights[f'{name}.weight'].T, bias=weights[f'{name}.bias'])

    positions = (
        'pos_embedding' if names is BIG_VISION else 'Transformer/posembed_input/pos_embedding'
    )
    arrays = {positions: weights['pos_embed']}
    if 'cls_token' in weights:
        arrays['cls'] = weights['cls_token']
    projection = weights['patch_embed.proj.weight']
    layers = {
        'embedding': dict(
            kernel=projection.transpose(2, 3, 1, 0), bias=weights['patch_embed.proj.bias']
        ),
        'Transformer/encoder_norm': vectors('norm'),
        'head': dense('head'),
    }
    for n in range(DEPTH):
        block = f'Transformer/encoderblock_{n}'
        qkv = np.split(weights[f'blocks.{n}.attn.qkv.weight'], 3)
        qkv_bias = np.split(weights[f'blocks.{n}.attn.qkv.bias'], 3)
        for part, kernel, bias in zip(('query', 'key', 'value'), qkv, qkv_bias, strict=True):
            layers[f'{block}/{attention}/{part}'] = dict(
                kernel=kernel.T.reshape(WIDTH, HEADS, -1), bias=bias.reshape(HEADS, -1)
            )
        out = dense(f'blocks.{n}.attn.proj')
        layers[f'{block}/{attention}/out'] = dict(
            out, kernel=out['kernel'].reshape(HEADS, -1, WIDTH)
        )
        layers[f'{block}/LayerNorm_0'] = vectors(f'blocks.{n}.norm1')
        layers[f'{block}/{norm}'] = vectors(f'blocks.{n}.norm2')
        layers[f'{block}/{mlp}/Dense_0'] = dense(f'blocks.{n}.mlp.fc1')
        layers[f'{block}/{mlp}/Dense_1'] = dense(f'blocks.{n}.mlp.fc2')
    for layer, parts in layers.items():
        arrays |= {f'{layer}/{name}': array for name, array in parts.items()}
    return arrays


def stacked(arrays):
    """All blocks in arrays with an axis more, as `scan` keeps them."""
    block = re.compile(r'Transformer/encoderblock_(\d+)/(.*)')
    rest = {name: array for name, array in arrays.items() if not block.fullmatch(name)}
    names = {m[2] for name in arrays if (m := block.fullmatch(name))}
    for name in names:
        each = [arrays[f'Transformer/encoderblock_{n}/{name}'] for n in range(DEPTH)]
        rest[f'Transformer/encoderblock/{name}'] = np.stack(each)
    return rest


def under(place, arrays):
    return {f'{place}{name}': array for name, array in arrays.items()}


def as_bfloat16(array):
    """As numpy saves what JAX holds."""
    return torch.tensor(array).bfloat16().view(torch.int16).numpy().view('V2')


def assert_same(own, other):
    assert other.std() > 0.05
    torch.testing.assert_close(own, other, rtol=1e-6, atol=2e-6)


def classify(weights, out_type='cls_token', num_extra_tokens=1, **head):
    """The logits of MMPretrain's classifier with our backbone, loaded as `load_from` does."""
    neck = dict(type='GlobalAveragePooling') if out_type == 'featmap' else None
    head = dict(type='LinearClsHead', num_classes=CLASSES, in_channels=WIDTH) | head
    backbone = dict(
        type='beit_mm.VisionTransformer', arch=ARCH, img_size=32, patch_size=PATCH,
        positions='learned', out_type=out_type, final_norm=True, num_extra_tokens=num_extra_tokens,
    )  # fmt: skip
    model = OF_MMPRETRAIN.build(
        dict(type='ImageClassifier', backbone=backbone, neck=neck, head=head)
    )
    loaded = fit_model(model, 'backbone.', load_state_dict(weights), 'the file')
    model.load_state_dict(loaded, strict=True)
    return model.eval()(images())


# --- the ViT paper's release -------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
@pytest.mark.parametrize('place', ['', 'opt/target/'])
def test_the_release_in(tmp_path, save, place):
    peer, file = peer_of(), tmp_path / 'vit.npz'
    save(file, **under(place, arrays_of(peer)))
    # The arrays above are JAX's: timm's own reader says so.
    reader = peer_of()
    reader.head.weight.zero_()
    reader.load_pretrained(str(file))
    assert_same(reader(images()), peer(images()))
    # No other file says how many heads a width of 48 has.
    ours = beit_mm.load(file)
    assert type(ours) is VisionTransformer
    assert ours.blocks[0].attn.num_heads == HEADS
    assert_same(ours(images())[0], peer.forward_features(images()))
    assert_same(classify(file), peer(images()))
    head = dict(type='VisionTransformerClsHead')
    assert_same(classify(file, **head), peer(images()))


@torch.no_grad()
def test_the_release_out_and_back(tmp_path):
    peer, expected = peer_of(), arrays_of(peer_of())
    np.savez(tmp_path / 'vit.npz', **expected)
    convert(tmp_path / 'vit.npz', tmp_path / 'ours.pth', 'beit_mm')
    convert(tmp_path / 'ours.pth', tmp_path / 'again.npz', 'jax')
    with np.load(tmp_path / 'again.npz') as again:
        assert set(again.files) == set(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(again[name], array, err_msg=name)
    convert(tmp_path / 'again.npz', tmp_path / 'timm.pth', 'timm')
    reader = peer_of()
    reader.load_state_dict(torch.load(tmp_path / 'timm.pth'), strict=True)
    assert_same(reader(images()), peer(images()))


@torch.no_grad()
def test_the_layer_before_the_classes(tmp_path):
    """`pre_logits`, behind a tanh, of ViT's pre-training; torchvision has it too."""
    peer = VisionTransformerOfTorchvision(
        32, PATCH, DEPTH, HEADS, WIDTH, HIDDEN, num_classes=CLASSES, representation_size=24
    ).eval()  # fmt: skip
    for parameter in peer.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    torch.save(peer.state_dict(), tmp_path / 'torchvision.pth')
    head = dict(type='VisionTransformerClsHead', hidden_dim=24)
    assert_same(classify(tmp_path / 'torchvision.pth', **head), peer(images()))
    about = dict(meta=dict(about=ABOUT))
    torch.save(dict(state_dict=peer.state_dict(), **about), tmp_path / 'given.pth')
    for file, to in (('jax.npz', 'jax'), ('b.npz', 'big_vision'), ('m.pth', 'mmpretrain')):
        convert(tmp_path / 'given.pth', tmp_path / file, to)
        assert_same(classify(tmp_path / file, **head), peer(images()))
        convert(tmp_path / file, tmp_path / 'again.pth', 'torchvision')
        peer.load_state_dict(torch.load(tmp_path / 'again.pth'), strict=True)
    with np.load(tmp_path / 'jax.npz') as arrays:
        assert arrays['pre_logits/kernel'].shape == (WIDTH, 24)
    for to in ('timm', 'huggingface'):
        with pytest.raises(CheckpointError, match=f'{to} has no place for .*pre_logits'):
            convert(tmp_path / 'torchvision.pth', tmp_path / 'no.pth', to)


@torch.no_grad()
@pytest.mark.parametrize(('size', 'arrays'), [(48, RELEASE), (16, BIG_VISION)])
def test_another_image_size(tmp_path, size, arrays):
    peer = peer_of(no_embed_class=arrays is BIG_VISION)
    np.savez(tmp_path / 'vit.npz', **arrays_of(peer, arrays))
    side = size // PATCH
    ours = beit_mm.load(tmp_path / 'vit.npz', img_size=size)
    skipped = 0 if arrays is BIG_VISION else 1
    grid = peer.pos_embed[:, skipped:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, (side, side), mode='bicubic', align_corners=False)
    larger = peer_of(size, no_embed_class=arrays is BIG_VISION)
    weights = peer.state_dict()
    weights['pos_embed'] = torch.cat(
        [peer.pos_embed[:, :skipped], grid.flatten(2).transpose(1, 2)], dim=1
    )
    larger.load_state_dict(weights)
    assert_same(ours(images(size))[0], larger.forward_features(images(size)))


# --- big_vision --------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize('form', ['blocks', 'stacked', 'two towers', 'bfloat16'])
def test_big_vision_in(tmp_path, form):
    """Positions are added before [S] is there; blocks may be stacked; other towers beside it."""
    peer, file = peer_of(no_embed_class=True), tmp_path / 'vit.npz'
    arrays = arrays_of(peer, BIG_VISION)
    if form == 'stacked':
        arrays = stacked(arrays)
    place = 'params/img/' if form == 'two towers' else 'params/'
    beside = {f'opt/0/mu/{name}': 0 * array for name, array in arrays.items()}
    arrays = under(place, arrays)
    if form == 'two towers':
        beside |= {name.replace('/img/', '/txt/'): -array for name, array in arrays.items()}
        del beside['params/txt/embedding/kernel']
    if form == 'bfloat16':
        arrays = {name: as_bfloat16(array) for name, array in arrays.items()}
    np.savez(file, **beside, **arrays)
    if form == 'bfloat16':
        # The peer has the rounded numbers too.
        for parameter in peer.parameters():
            parameter.copy_(parameter.bfloat16().float())
    else:
        peer.load_pretrained(str(file))
    assert_same(beit_mm.load(file)(images())[0], peer.forward_features(images()))
    assert_same(classify(file), peer(images()))


@torch.no_grad()
def test_big_vision_out(tmp_path):
    peer = peer_of()
    about = dict(meta=dict(about=ABOUT))
    torch.save(dict(state_dict=peer.state_dict(), **about), tmp_path / 'timm.pth')
    convert(tmp_path / 'timm.pth', tmp_path / 'vit.npz', 'big_vision')
    reader = peer_of(no_embed_class=True)
    for parameter in reader.parameters():
        parameter.zero_()
    reader.load_pretrained(str(tmp_path / 'vit.npz'))
    assert_same(reader(images()), peer(images()))


# --- errors ------------------------------------------------------------------------------------


def one_line(file, match, error=CheckpointError):
    with pytest.raises(error, match=match) as caught:
        beit_mm.load(file)
    assert '\n' not in str(caught.value)
    assert str(file) in str(caught.value)


def test_images_are_read_as_the_release_wants_them(tmp_path):
    """From pixels to what timm's own settings of its copies of these weights make of them."""
    path = tmp_path / 'vit.npz'
    np.savez(path, **arrays_of(peer_of()))
    how, says_how = images_of(str(path), beit_mm.load(path))
    assert not says_how
    pixels = np.array([0.0, 51.0, 255.0])
    settings = timm.get_pretrained_cfg('vit_base_patch16_224.augreg_in21k')
    expected = (pixels / 255 - settings.mean) / settings.std
    np.testing.assert_allclose((pixels - how.mean) / how.std, expected)


def test_npz_that_cannot_be_read(tmp_path):
    file, whole = tmp_path / 'vit.npz', arrays_of(peer_of())
    np.savez(file, **whole, spy=np.array([print], dtype=object))
    one_line(file, 'Object arrays cannot be loaded')
    np.savez(file, **whole)
    content = bytearray(file.read_bytes())
    file.write_bytes(content[: len(content) // 2])
    one_line(file, 'is damaged or no checkpoint')
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    one_line(file, 'is damaged or no checkpoint: .*CRC')
    file.write_bytes(b'')
    one_line(file, 'is damaged or no checkpoint')
    with file.open('wb') as opened:
        np.save(opened, np.ones(3))
    one_line(file, 'one array')
    np.savez(file, a=np.ones(3))
    one_line(file, 'not the weights of a Vision Transformer')


@pytest.mark.parametrize(
    ('change', 'match'),
    [
        (lambda a: a.pop('Transformer/encoderblock_1/LayerNorm_0/scale'), 'lacks .*norm1'),
        (lambda a: a.pop(f'Transformer/encoderblock_1/{RELEASE[0]}/key/kernel'), 'lacks one of'),
        (lambda a: a.update({'embedding/kernel': np.ones((2, 3))}), 'no arrays of a Vision'),
        (lambda a: a.update({'cls': np.full((1, 1, WIDTH), np.nan)}), 'not finite'),
    ],
)
def test_npz_that_is_no_whole_transformer(tmp_path, change, match):
    arrays = arrays_of(peer_of())
    change(arrays)
    np.savez(tmp_path / 'vit.npz', **arrays)
    one_line(tmp_path / 'vit.npz', match)


def test_another_number_of_heads_is_refused(tmp_path):
    np.savez(tmp_path / 'vit.npz', **arrays_of(peer_of()))
    model = VisionTransformer(
        ARCH | dict(num_heads=2), img_size=32, patch_size=PATCH, positions='learned',
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'vit.npz')),
    )  # fmt: skip
    with pytest.raises(CheckpointError, match='its attention has 4 heads, that of this backbone 2'):
        model.init_weights()


def test_what_jax_cannot_hold_is_refused(tmp_path):
    torch.save(peer_of().state_dict(), tmp_path / 'timm.pth')
    with pytest.raises(CheckpointError, match='nothing says how many there are'):
        convert(tmp_path / 'timm.pth', tmp_path / 'vit.npz', 'jax')
    with pytest.raises(ValueError, match=r'must end in \.npz'):
        convert(tmp_path / 'timm.pth', tmp_path / 'vit.pth', 'jax')
    with pytest.raises(ValueError, match=r'must end in \.pth or \.safetensors'):
        convert(tmp_path / 'timm.pth', tmp_path / 'vit.npz', 'timm')


# --- hybrids -----------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize('name', ['vit_tiny_r_s16_p8_224', 'vit_small_r26_s32_224'])
def test_hybrids_of_the_release(tmp_path, name):
    settings = dict(depth=2, num_classes=CLASSES, img_size=64)
    peer = timm.create_model(name, **settings)
    generator = torch.Generator().manual_seed(0)
    for parameter in peer.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    peer.eval()
    heads = peer.blocks[0].attn.num_heads
    weights = dict(state_dict=peer.state_dict(), meta=dict(about=dict(num_heads=heads)))
    torch.save(weights, tmp_path / 'timm.pth')
    convert(tmp_path / 'timm.pth', tmp_path / 'vit.npz', 'jax')
    # timm's own reader knows JAX's names of a hybrid.
    reader = timm.create_model(name, **settings).eval()
    for parameter in reader.parameters():
        parameter.zero_()
    reader.load_pretrained(str(tmp_path / 'vit.npz'))
    for key, tensor in peer.state_dict().items():
        assert reader.state_dict()[key].equal(tensor), key
    ours = beit_mm.load(tmp_path / 'vit.npz')
    expected = peer.forward_features(images(64))
    torch.testing.assert_close(ours(images(64))[0], expected, rtol=1e-5, atol=1e-5)
    convert(tmp_path / 'vit.npz', tmp_path / 'again.pth', 'timm')
    again = torch.load(tmp_path / 'again.pth')
    assert again.keys() == peer.state_dict().keys()
    assert all(again[key].equal(tensor) for key, tensor in peer.state_dict().items())


# --- without [S], and with a second token ------------------------------------------------------


@torch.no_grad()
def test_means_over_the_patches_of_big_vision(tmp_path):
    """No [S]; the mean of the patches behind the norm; at another size too."""
    settings = dict(class_token=False, global_pool='avg', fc_norm=False)
    peer, file = peer_of(**settings), tmp_path / 'gap.npz'
    np.savez(file, **under('params/', arrays_of(peer, BIG_VISION)))
    peer.load_pretrained(str(file))
    ours = beit_mm.load(file)
    assert ours.cls_token is None
    assert_same(ours(images())[0], peer.forward_features(images()))
    assert_same(classify(file, 'featmap', num_extra_tokens=0), peer(images()))
    larger = beit_mm.load(file, img_size=48)
    torch.testing.assert_close(larger(images(48))[0], ours(images(48))[0], rtol=1e-6, atol=2e-6)
    convert(file, tmp_path / 'again.npz', 'big_vision')
    reader = peer_of(**settings)
    reader.norm.weight.zero_()
    reader.load_pretrained(str(tmp_path / 'again.npz'))
    assert_same(reader(images()), peer(images()))
    convert(file, tmp_path / 'timm', 'timm')
    folder = timm.create_model(f'local-dir:{tmp_path}/timm', pretrained=True).eval()
    assert_same(folder(images()), peer(images()))
    for to in ('torchvision', 'huggingface'):
        with pytest.raises(CheckpointError, match=r'it has no .*(class|cls)_token, as models of'):
            convert(file, tmp_path / 'no.pth', to)


@torch.no_grad()
def test_queries_of_big_vision_are_left_out(tmp_path):
    """Of a head that asks the patches by queries (MAP) there is none here: tokens are the same."""
    peer = peer_of(class_token=False, global_pool='map')
    arrays = arrays_of(peer, BIG_VISION)
    arrays |= {'MAPHead_0/probe': np.ones((1, 1, WIDTH), np.float32)}
    np.savez(tmp_path / 'map.npz', **under('params/', arrays))
    convert(tmp_path / 'map.npz', tmp_path / 'ours.pth', 'beit_mm')
    names = load_state_dict(tmp_path / 'ours.pth').keys()
    assert not [name for name in names if name.startswith('head.')]
    loaded = beit_mm.load(tmp_path / 'ours.pth')
    assert_same(loaded(images())[0], peer.forward_features(images()))


@torch.no_grad()
def test_deit_with_distillation(tmp_path):
    """The mean of both classifiers' predictions, by one layer that reads both tokens."""
    peer = randomize(
        timm.models.deit.VisionTransformerDistilled(
            img_size=32, patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS,
            mlp_ratio=HIDDEN / WIDTH, num_classes=CLASSES, weight_init='skip',
        )
    )  # fmt: skip
    file = tmp_path / 'deit.pth'
    torch.save(dict(model=peer.state_dict()), file)
    ours = beit_mm.load(file, num_heads=HEADS)
    assert_same(ours(images())[0], peer.forward_features(images()))
    wide = dict(num_extra_tokens=2, in_channels=2 * WIDTH)
    assert_same(classify(file, **wide), peer(images()))
    larger = beit_mm.load(file, num_heads=HEADS, img_size=48)
    torch.testing.assert_close(larger(images(48))[0], ours(images(48))[0], rtol=1e-6, atol=2e-6)

    convert(file, tmp_path / 'ours.pth', 'beit_mm')
    convert(tmp_path / 'ours.pth', tmp_path / 'timm.pth', 'timm')
    expected = peer(images())
    peer.load_state_dict(torch.load(tmp_path / 'timm.pth'), strict=True)
    assert_same(peer(images()), expected)
    convert(file, tmp_path / 'mmpretrain.pth', 'mmpretrain')
    other = OF_MMPRETRAIN.build(
        dict(
            type='ImageClassifier',
            backbone=dict(
                type='DistilledVisionTransformer', arch=ARCH, img_size=32, patch_size=PATCH
            ),
            head=dict(type='DeiTClsHead', num_classes=CLASSES, in_channels=WIDTH),
        )
    ).eval()
    other.load_state_dict(torch.load(tmp_path / 'mmpretrain.pth')['state_dict'], strict=True)
    assert_same(other.head(other.extract_feat(images())), expected)
    assert_same(classify(tmp_path / 'mmpretrain.pth', **wide), expected)
    torch.save(
        dict(state_dict=load_state_dict(tmp_path / 'ours.pth'), meta=dict(about=ABOUT)),
        tmp_path / 'ours.pth',
    )
    for to, ending in (('torchvision', 'pth'), ('jax', 'npz'), ('huggingface', 'pth')):
        with pytest.raises(CheckpointError, match=f'{to} has no place for .*dist'):
            convert(tmp_path / 'ours.pth', tmp_path / f'no.{ending}', to)


@torch.no_grad()
def test_deit_with_distillation_of_transformers(tmp_path):
    config = DeiTConfig(
        hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS,
        intermediate_size=HIDDEN, image_size=32, patch_size=PATCH, layer_norm_eps=1e-6,
        num_labels=CLASSES,
    )  # fmt: skip
    peer = randomize(DeiTForImageClassificationWithTeacher(config))
    peer.save_pretrained(tmp_path / 'deit')
    ours = beit_mm.load(tmp_path / 'deit')
    assert_same(ours(images())[0], peer.deit(images()).last_hidden_state)
    wide = dict(num_extra_tokens=2, in_channels=2 * WIDTH)
    assert_same(classify(tmp_path / 'deit', **wide), peer(images()).logits)
