"""Which of the data sets that have names are there."""

from pathlib import Path

from sklgm.datasets import _cifar10, _mnist


def missing_files(home: Path) -> dict[str, list[str]]:
    """Name the files that downloaded data sets lack in a folder.

    Parameters
    ----------
    home : pathlib.Path
        The data home.

    Returns
    -------
    dict of str to list of str
        By data set, ``"MNIST"`` and ``"CIFAR-10"``; empty where it is complete. The
        content of the files is not looked at.
    """
    data_sets = {
        "MNIST": (_mnist.SUBFOLDER, _mnist.FILES),
        "CIFAR-10": (_cifar10.SUBFOLDER, tuple(_cifar10.CHECKSUMS)),
    }
    return {
        name: [file for file in files if not (home / folder / file).is_file()]
        for name, (folder, files) in data_sets.items()
    }
