"""``beit-mm recipes``: what there is to run."""

from ..recipes import folder_of_recipes, list_recipes


def recipes() -> None:
    """Print the recipes with data, cost and the published figure."""
    rows = [('recipe', 'what', 'data', 'cost', 'figure'), *list_recipes()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (f'{cell:{width}}' for cell, width in zip(row, widths, strict=True))
        print('  '.join(cells).rstrip())
    print(
        f'\nThey lie in {folder_of_recipes()}. Run one:\n'
        "  python -c \"open('mine.py', 'w').write('_base_ = \\'beit_mm::beit_pretrain.py\\'')\"\n"
        '  mim train beit_mm mine.py, or python tools/train.py mine.py in a checkout'
    )
