"""The site's reader of docstrings: Google's form as this project writes it, to griffe's."""

import re

from griffe import Extension, Object

# Sphinx's roles, such as :func:`load`.
ROLE = re.compile(r':(?:class|data|func|meth|mod):`~?\.?([^`]+)`')
# Several arguments that a line describes together, and the lines below that go on with it.
TOGETHER = re.compile(r'^( +)(\w+(?:, \w+)+)(:.*(?:\n\1 +\S.*)*)', re.MULTILINE)


def as_griffe_reads(text: str) -> str:
    """A docstring without roles, and with a line for each argument.

    >>> as_griffe_reads('See :func:`beit_mm.models.load`.')
    'See `beit_mm.models.load`.'
    >>> print(as_griffe_reads('Args:\\n    mean, std: Of the images.'))
    Args:
        mean: Of the images.
        std: Of the images.
    """
    head, args, rest = ROLE.sub(r'`\1`', text).partition('Args:\n')
    return head + args + TOGETHER.sub(_apart, rest)


def _apart(found: re.Match) -> str:
    indent, names, said = found.groups()
    return '\n'.join(f'{indent}{name}{said}' for name in names.split(', '))


class DocstringForms(Extension):
    """Gives griffe every docstring in the form that it reads."""

    def on_object(self, *, obj: Object, **kwargs) -> None:
        """Called for each module, class, function and value."""
        if obj.docstring is not None:
            obj.docstring.value = as_griffe_reads(obj.docstring.value)
