"""Weights of ViT and MAE, in and out: each library reads what is written, and computes the same."""

from functools import partial

import pytest
import timm
import torch
from mmpretrain.models import VisionTransformer as VisionTransformerOfMMPretrain
from mmpretrain.registry import MODELS as OF_MMPRETRAIN
from torch.nn import functional as F
from transformers import (
    ViTForImageClassification,
    ViTImageProcessor,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTMAEModel,
    ViTModel,
)

import beit_mm
from beit_mm.checkpoints import CheckpointError, convert_state_dict, known_layout, load_state_dict
from beit_mm.checkpoints.writing import write_weights
from beit_mm.models import MaskedAutoencoder, VisionTransformer, convert, load_autoencoder

WIDTH, DEPTH, HEADS, HIDDEN, PATCH, CLASSES = 48, 3, 4, 96, 8, 5
ARCH = dict(embed_dims=WIDTH, num_layers=DEPTH, num_heads=HEADS, feedforward_channels=HIDDEN)
DECODER = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
VALUES = 3 * PATCH**2
SMALL = dict(
    hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, intermediate_size=HIDDEN,
    image_size=32, patch_size=PATCH, layer_norm_eps=1e-6,
)  # fmt: skip
SMALL_DECODER = dict(
    decoder_hidden_size=32, decoder_num_hidden_layers=2, decoder_num_attention_heads=2,
    decoder_intermediate_size=64,
)  # fmt: skip


def randomize(model, seed=0):
    """No weight zero, none like another, fixed positions too; outputs of the order of 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.1 * noise + (parameter.ndim == 1))
    model.eval()
    return model


def images(height=32, width=32):
    generator = torch.Generator().manual_seed(1)
    return 1 + torch.randn(2, 3, height, width, generator=generator)


def assert_same(own, other):
    assert other.std() > 0.05
    # Rounding of float32, of numbers of the order of 1.
    torch.testing.assert_close(own, other, rtol=1e-6, atol=2e-6)


def assert_all_loaded(info, but=()):
    for kind in ('missing_keys', 'mismatched_keys', 'unexpected_keys'):
        assert [name for name in info[kind] if not name.startswith(but)] == [], kind


def classifier_file(folder, size=(32, 32), out_type='avg_featmap'):
    """A fine-tuned ViT of ours with a head, as a run saves it; and what it computes."""
    settings = dict(arch=ARCH, img_size=size, patch_size=PATCH, positions='learned')
    model = randomize(VisionTransformer(out_type=out_type, **settings))
    head = randomize(torch.nn.Linear(WIDTH, CLASSES))
    weights = {f'backbone.{name}': tensor for name, tensor in model.state_dict().items()}
    weights |= {f'head.fc.{name}': tensor for name, tensor in head.state_dict().items()}
    torch.save(dict(state_dict=weights, meta=dict(epoch=1)), folder / 'ours.pth')
    return lambda x: head(model(x)[0]), model, folder / 'ours.pth'


def autoencoder(size=(32, 32)):
    images = dict(img_size=size, patch_size=PATCH)
    model = MaskedAutoencoder(
        backbone=dict(type='beit_mm.VisionTransformer', arch=ARCH, out_type='raw', **images),
        decoder=dict(type='beit_mm.MAEDecoder', encoder_dims=WIDTH, **DECODER, **images),
        target_generator=dict(type='beit_mm.PixelTargetGenerator', patch_size=PATCH),
        head=dict(type='beit_mm.PixelHead', embed_dims=32, num_values=VALUES),
    )
    return randomize(model)


def noise_and_mask(places=16, hidden=12):
    """Noise, by which transformers hides the largest, and the mask of it."""
    noise = torch.rand(2, places, generator=torch.Generator().manual_seed(2))
    mask = torch.zeros(2, places, dtype=torch.bool)
    mask.scatter_(1, noise.argsort(dim=1)[:, places - hidden :], True)
    side = int(places**0.5)
    return noise, mask.view(2, side, side)


@pytest.fixture
def heads_are_known(monkeypatch):
    """Of width 48, as the widths of named sizes are."""
    from beit_mm.models.reading_shapes import HEADS_OF_DECODER
    from beit_mm.models.sizes import ARCHS

    monkeypatch.setitem(ARCHS, 'of these tests', ARCH)
    monkeypatch.setitem(HEADS_OF_DECODER, 32, 2)


known = pytest.mark.usefixtures('heads_are_known')


# --- transformers -----------------------------------------------------------------------------


@known
@torch.no_grad()
def test_the_pretraining_model_of_transformers_out(tmp_path):
    ours = autoencoder()
    torch.save(dict(state_dict=ours.state_dict()), tmp_path / 'ours.pth')
    convert(tmp_path / 'ours.pth', tmp_path / 'folder', 'huggingface')
    peer, info = ViTMAEForPreTraining.from_pretrained(tmp_path / 'folder', output_loading_info=True)
    assert_all_loaded(info)
    noise, mask = noise_and_mask()
    expected = peer.eval()(images(), noise=noise).logits
    assert_same(ours.outputs(images(), mask).flatten(1, 2), expected)
    # The same model without its decoder, in the same folder.
    encoder, _ = ViTMAEModel.from_pretrained(tmp_path / 'folder', output_loading_info=True)
    encoder.config.mask_ratio = 0.0
    order = torch.arange(16.0).expand(2, -1)
    assert_same(ours(images())[0], encoder.eval()(images(), noise=order).last_hidden_state)


@torch.no_grad()
@pytest.mark.parametrize('normalize', [False, True])
def test_the_pretraining_model_of_transformers_in(tmp_path, normalize):
    """From its folder, whose config tells all there is to know, and back, tensor by tensor."""
    config = ViTMAEConfig(**SMALL, **SMALL_DECODER, norm_pix_loss=normalize)
    peer = randomize(ViTMAEForPreTraining(config))
    peer.save_pretrained(tmp_path / 'theirs')
    ours = load_autoencoder(tmp_path / 'theirs')
    noise, mask = noise_and_mask()
    result = peer(images(), noise=noise)
    assert_same(ours.outputs(images(), mask).flatten(1, 2), result.logits)
    loss = ours.loss(images(), images(), mask)['loss']
    torch.testing.assert_close(loss, result.loss, rtol=1e-6, atol=0)
    assert_same(beit_mm.load(tmp_path / 'theirs')(images())[0], ours.backbone(images())[0])
    torch.save(ours.state_dict(), tmp_path / 'ours.pth')
    theirs = peer.state_dict()
    # transformers 5 has other names than 4.
    again = convert_state_dict(ours.state_dict(), known_layout(theirs))
    assert again.keys() == theirs.keys()
    assert all(again[name].equal(tensor) for name, tensor in theirs.items())


@known
@torch.no_grad()
def test_encoders_and_classifiers_of_transformers(tmp_path):
    ours, backbone, file = classifier_file(tmp_path, out_type='cls_token')
    convert(file, tmp_path / 'folder', 'huggingface')
    peer, info = ViTForImageClassification.from_pretrained(
        tmp_path / 'folder', output_loading_info=True
    )
    assert_all_loaded(info)
    assert_same(ours(images()), peer.eval()(images()).logits)
    peer.save_pretrained(tmp_path / 'theirs')
    loaded = beit_mm.load(tmp_path / 'theirs', out_type='cls_token')
    assert_same(loaded(images())[0], backbone(images())[0])

    # The encoder alone.
    torch.save(backbone.state_dict(), tmp_path / 'bare.pth')
    convert(tmp_path / 'bare.pth', tmp_path / 'encoder', 'huggingface')
    peer, info = ViTModel.from_pretrained(tmp_path / 'encoder', output_loading_info=True)
    # A layer behind [S], which nothing of this uses.
    assert_all_loaded(info, but=('pooler.',))
    assert_same(backbone(images())[0], peer.eval()(images()).last_hidden_state[:, 0])


@known
def test_how_images_are_normalised_goes_along(tmp_path):
    _, backbone, _ = classifier_file(tmp_path, out_type='cls_token')
    about = dict(images=dict(mean=[10.0, 20.0, 30.0], std=[40.0, 50.0, 60.0]))
    write_weights(tmp_path / 'about.pth', backbone.state_dict(), 'beit_mm', about)
    convert(tmp_path / 'about.pth', tmp_path / 'folder', 'huggingface')
    processor = ViTImageProcessor.from_pretrained(tmp_path / 'folder')
    torch.testing.assert_close(
        torch.tensor(processor.image_mean) * 255, torch.tensor([10.0, 20.0, 30.0])
    )


@known
def test_what_transformers_cannot_do_is_refused(tmp_path):
    _, _, averaging = classifier_file(tmp_path)
    for target in ('folder', 'file.safetensors'):
        with pytest.raises(CheckpointError, match=r'no place for backbone\.fc_norm') as error:
            convert(averaging, tmp_path / target, 'huggingface')
        assert '\n' not in str(error.value)
        assert not (tmp_path / target).exists()
    _, _, oblong = classifier_file(tmp_path, size=(32, 48), out_type='cls_token')
    with pytest.raises(CheckpointError, match="transformers' ViT is for square images"):
        convert(oblong, tmp_path / 'folder', 'huggingface')


def test_a_folder_of_a_decoder_that_does_not_say_its_heads_is_refused(tmp_path, monkeypatch):
    from beit_mm.models.sizes import ARCHS

    monkeypatch.setitem(ARCHS, 'of these tests', ARCH)
    torch.save(autoencoder().state_dict(), tmp_path / 'ours.pth')
    with pytest.raises(CheckpointError, match='nothing says how many heads the decoder has'):
        convert(tmp_path / 'ours.pth', tmp_path / 'folder', 'huggingface')


# --- timm -------------------------------------------------------------------------------------


@known
@torch.no_grad()
@pytest.mark.parametrize('size', [(32, 32), (32, 48)])
@pytest.mark.parametrize('out_type', ['avg_featmap', 'cls_token'])
def test_classifiers_of_timm(tmp_path, size, out_type):
    ours, backbone, file = classifier_file(tmp_path, size, out_type)
    convert(file, tmp_path / 'folder', 'timm')
    peer = timm.create_model(f'local-dir:{tmp_path}/folder', pretrained=True).eval()
    assert type(peer).__name__ == 'VisionTransformer'
    x = images(*size)
    assert_same(ours(x), peer(x))
    torch.save(peer.state_dict(), tmp_path / 'theirs.pth')
    loaded = beit_mm.load(tmp_path / 'theirs.pth', out_type=out_type, img_size=size)
    assert_same(loaded(x)[0], backbone(x)[0])


@known
@torch.no_grad()
def test_timm_takes_what_pretraining_gave(tmp_path):
    """Without its decoder, of which timm has none."""
    ours = autoencoder()
    torch.save(dict(state_dict=ours.state_dict()), tmp_path / 'ours.pth')
    convert(tmp_path / 'ours.pth', tmp_path / 'folder', 'timm')
    peer = timm.create_model(f'local-dir:{tmp_path}/folder', pretrained=True).eval()
    assert_same(ours(images())[0], peer.forward_features(images()))


@torch.no_grad()
def test_timms_own_size_at_another_one(tmp_path):
    """`vit_base_patch16_224.mae`, whose files are the authors', on images of 96 x 64."""
    peer = randomize(timm.create_model('vit_base_patch16_224', depth=2, num_classes=0))
    torch.save(dict(model=peer.state_dict()), tmp_path / 'mae_pretrain_vit_base.pth')
    ours = beit_mm.load(tmp_path / 'mae_pretrain_vit_base.pth', img_size=(96, 64))
    assert ours.grid == (6, 4)
    # The authors' way, bicubic; timm's own filter is another.
    grid = peer.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (14, 14))
    grid = F.interpolate(grid, (6, 4), mode='bicubic', align_corners=False)
    expected = torch.cat([peer.pos_embed[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
    torch.testing.assert_close(ours.pos_embed, expected, rtol=0, atol=1e-6)
    peer.set_input_size((96, 64))
    peer.pos_embed.copy_(expected)
    x = images(96, 64)
    torch.testing.assert_close(ours(x)[0], peer.forward_features(x), rtol=1e-5, atol=2e-5)


# --- MMPretrain and the authors ---------------------------------------------------------------


def mae_of_mmpretrain():
    return OF_MMPRETRAIN.build(
        dict(
            type='MAE',
            backbone=dict(
                type='MAEViT', arch=ARCH, img_size=32, patch_size=PATCH, mask_ratio=0.75
            ),
            neck=dict(
                type='MAEPretrainDecoder', num_patches=16, patch_size=PATCH, embed_dim=WIDTH,
                decoder_embed_dim=32, decoder_depth=2, decoder_num_heads=2, mlp_ratio=2,
            ),
            head=dict(type='MAEPretrainHead', norm_pix=True, patch_size=PATCH,
                      loss=dict(type='PixelReconstructionLoss', criterion='L2')),
        )
    )  # fmt: skip


@known
@torch.no_grad()
def test_the_pretraining_model_of_mmpretrain(tmp_path):
    peer = randomize(mae_of_mmpretrain())
    torch.save(dict(state_dict=peer.state_dict()), tmp_path / 'theirs.pth')
    ours = load_autoencoder(tmp_path / 'theirs.pth', normalize=True)
    torch.manual_seed(0)
    seen, mask, restore = peer.backbone(images())
    expected = peer.neck(seen, restore)
    places = mask.bool().view(2, 4, 4)
    assert_same(ours.outputs(images(), places).flatten(1, 2), expected)
    loss = peer.head.loss(expected, images(), mask)
    own_loss = ours.loss(images(), images(), places)['loss']
    torch.testing.assert_close(own_loss, loss, rtol=1e-6, atol=0)

    torch.save(ours.state_dict(), tmp_path / 'ours.pth')
    convert(tmp_path / 'ours.pth', tmp_path / 'back.pth', 'mmpretrain')
    again = load_state_dict(tmp_path / 'back.pth')
    assert again.keys() == peer.state_dict().keys()
    assert all(again[name].equal(tensor) for name, tensor in peer.state_dict().items())


@torch.no_grad()
@pytest.mark.parametrize('out_type', ['avg_featmap', 'cls_token'])
def test_encoders_of_mmpretrain(tmp_path, out_type):
    _, backbone, _ = classifier_file(tmp_path, out_type=out_type)
    torch.save(backbone.state_dict(), tmp_path / 'bare.pth')
    convert(tmp_path / 'bare.pth', tmp_path / 'theirs.pth', 'mmpretrain')
    peer = VisionTransformerOfMMPretrain(
        ARCH, img_size=32, patch_size=PATCH, out_type=out_type, final_norm=out_type == 'cls_token'
    )
    peer.eval()
    peer.load_state_dict(torch.load(tmp_path / 'theirs.pth')['state_dict'], strict=True)
    assert_same(backbone(images())[0], peer(images())[0])


@known
@torch.no_grad()
def test_the_authors_files(tmp_path):
    """Names of their repository, in ``model``: encoder, classifier, and the whole with decoder."""
    ours = autoencoder()
    torch.save(dict(state_dict=ours.state_dict()), tmp_path / 'ours.pth')
    convert(tmp_path / 'ours.pth', tmp_path / 'visualize.pth', 'unilm')
    [(wrapper, weights)] = torch.load(tmp_path / 'visualize.pth').items()
    assert wrapper == 'model'
    assert {
        'cls_token', 'pos_embed', 'patch_embed.proj.weight', 'blocks.2.attn.qkv.bias',
        'norm.weight', 'decoder_embed.weight', 'mask_token', 'decoder_pos_embed',
        'decoder_blocks.1.mlp.fc2.bias', 'decoder_norm.bias', 'decoder_pred.weight',
    } <= weights.keys()  # fmt: skip
    _, mask = noise_and_mask()
    expected = ours.outputs(images(), mask)
    assert_same(load_autoencoder(tmp_path / 'visualize.pth').outputs(images(), mask), expected)
    assert_same(beit_mm.load(tmp_path / 'visualize.pth')(images())[0], ours(images())[0])

    encoder = {n: t for n, t in weights.items() if not n.startswith(('decoder', 'mask_token'))}
    torch.save(dict(model=encoder), tmp_path / 'pretrain.pth')
    assert_same(beit_mm.load(tmp_path / 'pretrain.pth')(images())[0], ours(images())[0])
    with pytest.raises(CheckpointError, match=r'pretrain\.pth: it has no decoder') as error:
        load_autoencoder(tmp_path / 'pretrain.pth')
    assert '\n' not in str(error.value)

    _, backbone, file = classifier_file(tmp_path)
    convert(file, tmp_path / 'finetuned.pth', 'unilm')
    weights = torch.load(tmp_path / 'finetuned.pth')['model']
    assert {'fc_norm.weight', 'head.weight'} <= weights.keys()
    assert 'norm.weight' not in weights
    assert_same(beit_mm.load(tmp_path / 'finetuned.pth')(images())[0], backbone(images())[0])


@known
@torch.no_grad()
def test_lightlys_names_are_those_of_timm_behind_its_own(tmp_path):
    ours = autoencoder()
    theirs = {}
    for name, tensor in convert_state_dict(ours.state_dict(), 'unilm').items():
        own = name.startswith(('decoder', 'mask_token'))
        theirs[f'decoder.{name}' if own else f'backbone.vit.{name}'] = tensor
    # The encoder's, which it keeps and does not use.
    theirs['backbone.mask_token'] = torch.zeros(1, 1, WIDTH)
    torch.save(dict(state_dict=theirs), tmp_path / 'lightly.ckpt')
    assert_same(beit_mm.load(tmp_path / 'lightly.ckpt')(images())[0], ours(images())[0])


@torch.no_grad()
def test_lightlys_autoencoder_in_and_out(tmp_path):
    """As its example builds one: `backbone` and `decoder`, beside each other."""
    modules = pytest.importorskip('lightly.models.modules')
    timm = pytest.importorskip('timm')
    encoder = timm.models.VisionTransformer(
        img_size=32, patch_size=PATCH, embed_dim=192, depth=2, num_heads=3, num_classes=0,
        global_pool='', norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
    )  # fmt: skip
    peer = torch.nn.ModuleDict(dict(
        backbone=modules.MaskedVisionTransformerTIMM(encoder),
        decoder=modules.MAEDecoderTIMM(
            num_patches=16, patch_size=PATCH, embed_dim=192, decoder_depth=1
        ),
    ))  # fmt: skip
    randomize(peer)
    torch.save(dict(state_dict=peer.state_dict()), tmp_path / 'lightly.ckpt')
    ours = load_autoencoder(tmp_path / 'lightly.ckpt')
    noise, mask = noise_and_mask()
    order = noise.argsort(dim=1)
    seen, hidden = 1 + order[:, :4], 1 + order[:, 4:]
    first = torch.zeros(len(order), 1, dtype=torch.int64)
    kept = torch.cat([first, seen], dim=1)

    def predicted() -> torch.Tensor:
        encoded = peer['backbone'].encode(images(), idx_keep=kept)
        tokens = peer['decoder'].embed(encoded)
        every = peer['decoder'].mask_token.repeat(len(order), 17, 1)
        every.scatter_(1, kept[..., None].expand_as(tokens), tokens)
        return peer['decoder'].predict(peer['decoder'].decode(every))[:, 1:]

    def assert_as_lightly() -> None:
        own, other = ours.outputs(images(), mask).flatten(1, 2), predicted()
        scale = other.abs().max()
        torch.testing.assert_close(own / scale, other / scale, rtol=0, atol=1e-6)

    assert hidden.shape[1] == int(mask[0].sum())
    assert_as_lightly()

    # Out: the authors' names are its own.
    torch.save(dict(state_dict=randomize(ours).state_dict()), tmp_path / 'ours.pth')
    theirs = convert_state_dict(ours.state_dict(), 'unilm')
    of_decoder = {n: t for n, t in theirs.items() if n.startswith(('decoder', 'mask_token'))}
    peer['decoder'].load_state_dict(of_decoder)
    encoder.load_state_dict({n: t for n, t in theirs.items() if n not in of_decoder})
    assert_as_lightly()


# --- this project -----------------------------------------------------------------------------


@torch.no_grad()
def test_an_encoder_that_was_given_mask_tokens_is_given_them_again(tmp_path):
    space = dict(img_size=32, patch_size=PATCH)
    places = dict(positions='learned', positions_at='every_block')
    model = randomize(
        MaskedAutoencoder(
            backbone=dict(type='beit_mm.VisionTransformer', arch=ARCH, out_type='raw',
                          with_mask_token=True, **places, **space),
            decoder=dict(type='beit_mm.MAEDecoder', encoder_dims=WIDTH, **DECODER, **space),
            target_generator=dict(type='beit_mm.PixelTargetGenerator', patch_size=PATCH),
            head=dict(type='beit_mm.PixelHead', embed_dims=32, num_values=VALUES),
            encode_all=True,
        )
    )  # fmt: skip
    torch.save(model.state_dict(), tmp_path / 'a.pth')
    again = load_autoencoder(tmp_path / 'a.pth', num_heads=HEADS, decoder_heads=2)
    mask = noise_and_mask()[1]
    assert_same(again.outputs(images(), mask), model.outputs(images(), mask))


# --- refusals ---------------------------------------------------------------------------------


@known
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda w: {n: t for n, t in w.items() if 'decoder_norm' not in n}, 'lacks decoder.norm'),
        (lambda w: {n: t for n, t in w.items() if 'decoder_pred' not in n}, 'ends in nothing'),
        (lambda w: {**w, 'decoder_pred.weight': torch.ones(9, 32)}, r'a matrix \(9, 32\)'),
        (lambda w: {n: t for n, t in w.items() if 'decoder_blocks.0' not in n}, 'lacks block 0'),
    ],
)
def test_a_decoder_that_is_not_whole_is_refused(tmp_path, change, message):
    weights = convert_state_dict(autoencoder().state_dict(), 'unilm')
    torch.save(change(weights), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=rf'a\.pth: .*{message}') as error:
        load_autoencoder(tmp_path / 'a.pth')
    assert '\n' not in str(error.value)


def test_heads_that_nothing_tells_are_asked_for(tmp_path):
    torch.save(autoencoder().state_dict(), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'width 48, .* give num_heads='):
        load_autoencoder(tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'width 32, .* give decoder_heads='):
        load_autoencoder(tmp_path / 'a.pth', num_heads=HEADS)
    load_autoencoder(tmp_path / 'a.pth', num_heads=HEADS, decoder_heads=2)


@pytest.mark.parametrize('change', [dict(reg_tokens=2), dict(pre_norm=True)])
@pytest.mark.parametrize('num_classes', [0, CLASSES])
def test_what_only_timms_other_models_have_is_refused(tmp_path, change, num_classes):
    peer = timm.models.VisionTransformer(
        img_size=32, patch_size=PATCH, embed_dim=WIDTH, depth=1, num_heads=HEADS,
        num_classes=num_classes, class_token=False, global_pool='avg', no_embed_class=True,
        **change,
    )  # fmt: skip
    weights = peer.state_dict()
    # With one, nothing else is missing.
    weights.setdefault('patch_embed.proj.bias', torch.zeros(WIDTH))
    torch.save(weights, tmp_path / 'timm.pth')
    with pytest.raises(CheckpointError, match=r'reg_token|norm_pre'):
        beit_mm.load(tmp_path / 'timm.pth', num_heads=HEADS)


def test_relative_positions_are_kept_by_this_project_alone(tmp_path):
    model = VisionTransformer(ARCH, img_size=32, patch_size=PATCH, use_rel_pos_bias=True)
    for to in ('timm', 'unilm', 'huggingface', 'mmpretrain'):
        with pytest.raises(CheckpointError, match=rf'{to} has no place for .*rel_pos_bias'):
            convert_state_dict(model.state_dict(), to)
    again = convert_state_dict(model.state_dict(), 'beit_mm')
    assert again.keys() == model.state_dict().keys()
