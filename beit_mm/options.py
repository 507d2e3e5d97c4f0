"""Settings of a config on a command line."""

from mmengine.config import DictAction


class Options(DictAction):
    """mmengine's KEY=VALUE pairs; an argument that is none is a mistake of the command line."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Add the pairs to the namespace."""
        for value in values:
            if '=' not in value:
                parser.error(f'{option_string} {value!r}: it must be KEY=VALUE, without spaces')
        super().__call__(parser, namespace, values, option_string)
