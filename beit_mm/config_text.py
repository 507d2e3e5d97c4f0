"""What settings are in the text of a config? Of a stranger's too: nothing of it is run."""

import ast
from typing import Any


def settings_in_text(text: str) -> dict[str, Any]:
    """The settings in a config as mmengine prints it into checkpoints and work directories.

    What is no literal becomes its text.

    Args:
        text: Python, such as ``model = dict(type='beit_mm.BEiT', depth=12)``.

    Raises:
        SyntaxError: If it is no Python, as of a run that was killed while it wrote, or none that a
            parser takes.

    >>> settings_in_text('lr = 0.1\\nmodel = dict(type="A", sizes=(1, -2), hooks=[print()])')
    {'lr': 0.1, 'model': {'type': 'A', 'sizes': (1, -2), 'hooks': ['print()']}}
    """
    try:
        return {
            line.targets[0].id: _value(line.value)
            for line in ast.parse(text).body
            if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name)
        }
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        # Null bytes, digits without end, brackets in brackets in brackets.
        raise SyntaxError(f'{error}') from None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        first = _value(node.args[0]) if node.args else {}
        mapping = first if isinstance(first, dict) else {}
        return {**mapping, **{word.arg: _value(word.value) for word in node.keywords if word.arg}}
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {str(_value(key)): _value(value) for key, value in pairs if key is not None}
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
