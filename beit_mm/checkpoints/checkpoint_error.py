"""What every refusal of a checkpoint is."""


class CheckpointError(ValueError):
    """A file that is no checkpoint, is damaged, or asks for code to be run."""
