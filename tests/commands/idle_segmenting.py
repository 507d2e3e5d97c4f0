"""``beit-mm segment`` without its training, for tests of what it writes around that."""

from PIL import Image

from beit_mm.commands import segmenting


def write_images(folder):
    """Six images, 48 x 64."""
    folder.mkdir()
    for index in range(6):
        Image.new('RGB', (64, 48)).save(folder / f'{index}.png')
    return folder


def learn_nothing(monkeypatch):
    """Have a run save a checkpoint, learn nothing, and not look back."""

    def train(self, *_):
        (self.path / 'segment').mkdir(exist_ok=True)
        (self.path / 'segment/last_checkpoint').touch()

    monkeypatch.setattr(segmenting.RunFolder, 'train', train)
    monkeypatch.setattr(segmenting, 'choose_length', lambda *_: 20)
    for name in ('best_checkpoint', 'write_bare_weights', '_look_back'):
        monkeypatch.setattr(segmenting, name, lambda *_: None)
