"""Verified loading of labelled data, and small generators for tests and examples."""

from sklgm._inputs import ImageFiles
from sklgm.datasets._cache import get_data_home
from sklgm.datasets._cifar10 import fetch_cifar10
from sklgm.datasets._digits import load_digits_images
from sklgm.datasets._folder import list_image_folder, load_image_folder
from sklgm.datasets._human_labels import load_human_labels
from sklgm.datasets._labelled_rows import LabelledRows, load_rows
from sklgm.datasets._labelled_splits import LabelledSplits
from sklgm.datasets._mnist import fetch_mnist
from sklgm.datasets._npz import load_npz
from sklgm.datasets._path import load_path
from sklgm.datasets._synthetic import make_gaussian_classes, make_stripe_images

__all__ = [
    "ImageFiles",
    "LabelledRows",
    "LabelledSplits",
    "fetch_cifar10",
    "fetch_mnist",
    "get_data_home",
    "list_image_folder",
    "load_digits_images",
    "load_human_labels",
    "load_image_folder",
    "load_npz",
    "load_path",
    "load_rows",
    "make_gaussian_classes",
    "make_stripe_images",
]
