"""Training: one step, evaluation, the loop `fit` with progress bar, checkpoints and history, and one recipe.

>>> import minires as mr
>>> from minires import optim, train
>>> digits, test = mr.data.digits()
>>> model = mr.models.resnet_cifar(8, width=4, in_channels=1)
>>> optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
>>> history = train.fit(model, digits.subset(128), optimizer, epochs=2, batch_size=32, progress=False)
>>> len(history.step_loss), len(history.train_loss)
(8, 2)
"""

from .checkpoint import Checkpoint, CheckpointError
from .history import History, Position, Result, Tally
from .loop import Loss, Step, evaluate, fit, train_step
from .recipe import recipe

__all__ = [
    "fit",
    "train_step",
    "evaluate",
    "recipe",
    "Step",
    "Result",
    "History",
    "Position",
    "Tally",
    "Loss",
    "Checkpoint",
    "CheckpointError",
]
