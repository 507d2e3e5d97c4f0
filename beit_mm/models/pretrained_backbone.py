"""A backbone that every way of loading gives weights of any layout, resolution and bands."""

from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseModule

from ..checkpoints import load_state_dict
from .fitting import fit_model, fit_state_dict


class PretrainedBackbone(BaseModule):
    """What :class:`VisionTransformer` does with weights from files.

    Args:
        init_cfg: ``dict(type='Pretrained', checkpoint=...)``, or other initialisers of mmengine.
    """

    init_cfg: Any

    def __init__(self, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg)
        self._register_load_state_dict_pre_hook(self._fit_state_dict)

    def init_weights(self) -> None:
        """Load ``init_cfg``'s checkpoint; without one the constructor has done the work.

        mmengine's own walk over the parameters is used for other initialisers only: it writes a
        log line for every parameter.
        """
        if not self.init_cfg:
            return
        every: Any = [self.init_cfg] if isinstance(self.init_cfg, dict) else self.init_cfg
        others = [cfg for cfg in every if cfg['type'] != 'Pretrained']
        if others:
            self.init_cfg = others
            super().init_weights()
        # Never through mmengine's own loader, which falls back to running the file's pickle.
        for cfg in every:
            if cfg['type'] == 'Pretrained':
                self.load_pretrained(cfg['checkpoint'], cfg.get('prefix', ''))

    def load_pretrained(self, path: str, prefix: str = '') -> None:
        """Load weights of a backbone, or the backbone of a whole model, wherever they are.

        Weights of another task are allowed: what this backbone lacks (heads) is left out, what
        the file lacks keeps its initial value, and the log names both.

        Args:
            path: What :func:`beit_mm.checkpoints.load_state_dict` reads, in any layout.
            prefix: Of several sets of weights the one to take, such as 'teacher': ``which`` there.

        Raises:
            CheckpointError: If it lacks weights of this backbone, has more, or of another size.
        """
        weights = fit_model(self, '', load_state_dict(path, which=prefix), path)
        self.load_state_dict(weights, strict=False)

    def _fit_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        """Let every way of loading, a plain ``load_state_dict`` too, take any layout and size."""
        names = [name for name in state_dict if name.startswith(prefix)]
        if names:
            own = {name.removeprefix(prefix): state_dict.pop(name) for name in names}
            fitted = fit_state_dict(self, own)
            if fitted.bands:
                print_log(fitted.bands, logger='current')
            state_dict.update({f'{prefix}{n}': t for n, t in fitted.state_dict.items()})
