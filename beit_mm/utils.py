"""Of ``mmengine.hub.get_model``, which asks each package for this file and function."""


def register_all_modules(init_default_scope: bool = True) -> None:
    """Make the components known; importing the package has done so.

    Args:
        init_default_scope: As mmengine asks; names of this package are found from every scope.
    """
