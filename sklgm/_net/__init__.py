"""The only package that imports skorch: the net, its loss hook, its callbacks."""

import sklgm._net._optimised_skorch  # noqa: F401 (before the first import of skorch)
from sklgm._net._accelerated import common_seed
from sklgm._net._augment import (
    AUGMENTATIONS,
    Augmentation,
    make_augmentation,
    random_flip,
    random_shift,
)
from sklgm._net._batches import (
    BatchDataset,
    NoSingleRowSampler,
    keep_batch,
)
from sklgm._net._bfloat16 import computes_bfloat16
from sklgm._net._build import (
    build_net,
)
from sklgm._net._callbacks import (
    MarginGrowth,
    ValidationAccuracy,
    clipping,
    make_schedule,
)
from sklgm._net._class_gaussians import (
    set_class_means,
    set_trimmed_gaussians,
)
from sklgm._net._criteria import (
    LGMCriterion,
    SoftmaxCriterion,
)
from sklgm._net._frozen import (
    backbone_outputs,
    changes_parameters,
    with_backbone,
)
from sklgm._net._loaders import (
    SlicedBatches,
    ordered_loader,
    shared_tensor,
    train_loader,
)
from sklgm._net._loss_net import (
    LossNet,
    batches_of,
    infer,
    n_complete_epochs,
    net_dtype,
    restored_on_error,
    stops_early,
)
from sklgm._net._state import net_state, restore_net, weights_of
from sklgm._net._training_checkpoint import TrainingCheckpoint
from sklgm._net._trimming import TrimmedGaussians

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "BatchDataset",
    "LGMCriterion",
    "LossNet",
    "MarginGrowth",
    "NoSingleRowSampler",
    "SlicedBatches",
    "SoftmaxCriterion",
    "TrainingCheckpoint",
    "TrimmedGaussians",
    "ValidationAccuracy",
    "backbone_outputs",
    "batches_of",
    "build_net",
    "changes_parameters",
    "clipping",
    "common_seed",
    "computes_bfloat16",
    "infer",
    "keep_batch",
    "make_augmentation",
    "make_schedule",
    "n_complete_epochs",
    "net_dtype",
    "net_state",
    "ordered_loader",
    "random_flip",
    "random_shift",
    "restore_net",
    "restored_on_error",
    "set_class_means",
    "set_trimmed_gaussians",
    "shared_tensor",
    "stops_early",
    "train_loader",
    "weights_of",
    "with_backbone",
]
