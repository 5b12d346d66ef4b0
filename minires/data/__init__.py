"""Real pictures to train on: embedded handwritten digits, CIFAR-10, batches and augmentation.

>>> from minires.data import batches, digits
>>> train, test = digits()
>>> images, labels = next(batches(train, 32, seed=1))
>>> images.shape, images.dtype, labels.dtype
((32, 1, 8, 8), dtype('float32'), dtype('int64'))
"""

from minires.data.augment import average_pool, random_crop_flip
from minires.data.cifar10 import cifar10
from minires.data.dataset import Dataset, batch_count, batches
from minires.data.digits import digits

__all__ = ["Dataset", "average_pool", "batch_count", "batches", "cifar10", "digits", "random_crop_flip"]
