"""Training: one step, evaluation, and `fit`, a loop with progress bar, checkpoints and history."""

from .checkpoint import Checkpoint, CheckpointError
from .history import History, Result
from .loop import Step, evaluate, fit, train_step

__all__ = ["Checkpoint", "CheckpointError", "History", "Result", "Step", "evaluate", "fit", "train_step"]
