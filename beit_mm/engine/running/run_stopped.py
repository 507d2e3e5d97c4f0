"""How a run says that it has ended itself."""


class RunStopped(RuntimeError):
    """The run ended itself; the message says why and what to do."""
