"""What an attack on a pipeline came to, and the poisons as files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sklgm._running import import_extra
from sklgm.metrics import Rate, attack_success_rate, mean_interval, wilson_rate
from sklgm.persistence._lists import write_csv

if TYPE_CHECKING:
    import polars as pl


#: Where a result has its poisons.
POISON_FILES = ("poisons.npz", "poisons/target-*/row-*.png")


@dataclass(frozen=True, eq=False, repr=False)
class RedTeamResult:
    """How often a pipeline was misled by poisons among its training rows.

    Parameters
    ----------
    target_indices : ndarray of int of shape (n_targets,)
        Row of each target: of X, where targets were held out of it, else of X_target.
    target_labels, base_labels : ndarray of shape (n_targets,)
        True label of each target, and the label that its poisons claim.
    control_labels, predicted_labels : ndarray of shape (n_targets,)
        What the pipeline predicts for the target, trained without and with poisons.
    accuracies : ndarray of shape (n_targets,)
        Accuracy of each poisoned pipeline on the rows that targets are drawn from.
    control_accuracy : Rate
        The same of the pipeline without poisons.
    X_poison, X_base : ndarray of shape (n_poisons, ...)
        The poisons of all targets as they were injected, and the rows they replace.
    poison_indices : ndarray of int of shape (n_poisons,)
        Row of X that each poison replaces.
    poison_target : ndarray of int of shape (n_poisons,)
        Position of the target that each poison is for.
    collision_ratio : ndarray of shape (n_poisons,)
        Feature distance to the target, of the poison as it was injected over that of
        its base, by the surrogate; near 0 where features collide.
    objective_ratio : ndarray of shape (n_poisons,)
        Objective of the attack where its search ended over that where it started; it
        stays near 1 where the attack did not get far. Of joint attacks that of all
        poisons of a target.
    surrogate : {"own", "given", "imitation"}
        On what the poisons were crafted: the pipeline itself as trained without
        poisons, what the caller gave, or a network that imitates the pipeline.
    agreement : float or None
        Share of the rows that targets are drawn from for which an imitation predicts
        what the pipeline does; None for other surrogates.
    eight_bit_scale : float or None
        What makes the values of X, and of the poisons, whole numbers from 0 to 255;
        None if nothing does.
    settings : dict
        Parameters of the attack, as JSON has them.

    See Also
    --------
    sklgm.red_team : Makes it.
    """

    target_indices: NDArray[np.int64]
    target_labels: NDArray[Any]
    base_labels: NDArray[Any]
    control_labels: NDArray[Any]
    predicted_labels: NDArray[Any]
    accuracies: NDArray[np.float64]
    control_accuracy: Rate
    X_poison: NDArray[Any]
    X_base: NDArray[Any]
    poison_indices: NDArray[np.int64]
    poison_target: NDArray[np.int64]
    collision_ratio: NDArray[np.float64]
    objective_ratio: NDArray[np.float64]
    surrogate: str
    agreement: float | None
    eight_bit_scale: float | None
    settings: dict[str, Any]

    @property
    def is_black_box(self) -> bool:
        """Whether the attacker saw no more of the pipeline than its predictions."""
        return self.surrogate == "imitation"

    @property
    def is_8_bit(self) -> bool:
        """Whether poisons were rounded to the 8-bit values that X has."""
        return self.eight_bit_scale is not None

    @property
    def success_rate(self) -> Rate:
        """Share of targets that are given their base label, with its interval."""
        return attack_success_rate(
            self.predicted_labels,
            self.base_labels,
            control_labels=self.control_labels,
            target_labels=self.target_labels,
        )

    @property
    def changed_rate(self) -> Rate:
        """Share of targets that lose their true label, whichever they are given."""
        changed = self.predicted_labels != self.target_labels
        return wilson_rate(int(changed.sum()), len(changed))

    @property
    def is_success(self) -> NDArray[np.bool_]:
        """Whether each target is given its base label."""
        return np.asarray(self.predicted_labels == self.base_labels)

    def __repr__(self) -> str:
        rate = self.success_rate
        kind = {
            "own": "on the pipeline itself",
            "given": "on the given surrogate",
            "imitation": "black box, on an imitation",
        }
        return (
            f"RedTeamResult({rate.n_success} of {rate.n_targets} targets misled, "
            f"{100 * rate.low:.0f} to {100 * rate.high:.0f} %; crafted "
            f"{kind[self.surrogate]})"
        )

    def to_frame(self) -> pl.DataFrame:
        """One row per target.

        Returns
        -------
        DataFrame
            ``target``, ``target_label``, ``base_label``, ``control_label``,
            ``predicted_label``, ``success``, ``n_poisons``, ``collision_ratio`` and
            ``objective_ratio`` (means), ``linf`` (largest) and ``accuracy``.

        Raises
        ------
        ImportError
            If polars is not installed.
        """
        polars = import_extra("polars", "cli")
        frame: pl.DataFrame = polars.DataFrame(self._rows())
        return frame

    def summary(self) -> dict[str, Any]:
        """Collect what was found, as JSON has it.

        Returns
        -------
        dict
            ``success_rate`` and ``changed_rate`` with intervals and counts,
            ``control_accuracy``, ``poisoned_accuracy``, ``collision_ratio`` and
            ``objective_ratio`` (medians; None where they are not finite),
            ``surrogate``, ``is_black_box``, ``agreement``, ``is_8_bit`` and
            ``settings``.
        """
        accuracy, low, high = mean_interval(self.accuracies, bounds=(0.0, 1.0))
        return {
            "success_rate": _plain(self.success_rate),
            "changed_rate": _plain(self.changed_rate),
            "control_accuracy": _plain(self.control_accuracy),
            "poisoned_accuracy": {
                "value": accuracy,
                "low": None if np.isnan(low) else low,
                "high": None if np.isnan(high) else high,
                "n": len(self.accuracies),
            },
            "collision_ratio": _median(self.collision_ratio),
            "objective_ratio": _median(self.objective_ratio),
            "surrogate": self.surrogate,
            "is_black_box": self.is_black_box,
            "agreement": self.agreement,
            "is_8_bit": self.is_8_bit,
            "settings": self.settings,
        }

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        image_shape: Sequence[int] | None = None,
        row_names: Sequence[str] | None = None,
    ) -> None:
        """Write ``red_team.json``, ``targets.csv``, the poisons and their manifest.

        Parameters
        ----------
        folder : path-like
            Where; made if it is missing. Files of the same names are replaced, and the
            poisons of an earlier result deleted.
        image_shape : tuple of int or None, default=None
            Shape (n_channels, height, width) of the images that flat rows are; images
            have their own.
        row_names : sequence of str of length n_samples or None, default=None
            Name of each row of X, such as its file: the manifest then also has
            ``replaced_name``.

        Raises
        ------
        ValueError
            If `image_shape` does not fit the rows, or has neither 1 nor 3 channels.

        Notes
        -----
        Poisons with 8-bit values that are images become PNG files,
        ``poisons/target-003/row-00012.png``, named by the target's position and the row
        that the poison replaces. Each is read again and holds the very values that the
        pipeline was trained on: the attack is as strong as it was measured. All others
        become ``poisons.npz``. ``manifest.csv`` has one line for each poison: ``file``,
        ``target``, ``target_label``, ``claimed_label``, ``replaced_row``, ``linf``.
        Labels and names that a spreadsheet would take for formulas begin with an
        apostrophe.
        """
        folder = Path(folder)
        shape = self._image_shape(image_shape)
        folder.mkdir(parents=True, exist_ok=True)
        for pattern in POISON_FILES:
            for old in folder.glob(pattern):
                old.unlink()
        text = json.dumps(self.summary(), indent=2, default=str) + "\n"
        (folder / "red_team.json").write_text(text, encoding="utf-8")
        _write_csv(folder / "targets.csv", self._rows())
        if shape is None:
            files = ["poisons.npz"] * len(self.X_poison)
            np.savez_compressed(
                folder / "poisons.npz",
                X=self.X_poison,
                y=self.base_labels[self.poison_target],
                replaced_row=self.poison_indices,
                target=self.poison_target,
            )
        else:
            files = self._save_images(folder, shape)
        linf = self._linf()
        manifest = [
            {
                "file": file,
                "target": int(self.target_indices[t]),
                "target_label": self.target_labels[t],
                "claimed_label": self.base_labels[t],
                "replaced_row": int(row),
                **({} if row_names is None else {"replaced_name": row_names[row]}),
                "linf": float(linf[i]),
            }
            for i, (file, t, row) in enumerate(
                zip(files, self.poison_target, self.poison_indices, strict=True)
            )
        ]
        _write_csv(folder / "manifest.csv", manifest)

    def _rows(self) -> list[dict[str, Any]]:
        linf, rows = self._linf(), []
        for t in range(len(self.target_indices)):
            own = self.poison_target == t
            row = {
                "target": int(self.target_indices[t]),
                "target_label": self.target_labels[t],
                "base_label": self.base_labels[t],
                "control_label": self.control_labels[t],
                "predicted_label": self.predicted_labels[t],
                "success": bool(self.is_success[t]),
                "n_poisons": int(own.sum()),
                "collision_ratio": float(self.collision_ratio[own].mean()),
                "objective_ratio": float(self.objective_ratio[own].mean()),
                "linf": float(linf[own].max()),
                "accuracy": float(self.accuracies[t]),
            }
            rows.append({name: _scalar(value) for name, value in row.items()})
        return rows

    def _linf(self) -> NDArray[np.float64]:
        """Largest change of a value of each poison."""
        change = self.X_poison.astype(np.float64) - self.X_base
        return np.asarray(np.abs(change).reshape(len(change), -1).max(axis=1))

    def _image_shape(self, given: Sequence[int] | None) -> tuple[int, ...] | None:
        """Shape of the images to save; None where poisons are not 8-bit images."""
        own = self.X_poison.shape[1:]
        shape = own if given is None else tuple(given)
        if given is not None:
            is_image = len(shape) == 3 and shape[0] in (1, 3)
            if not is_image or np.prod(shape) != np.prod(own):
                raise ValueError(
                    f"image_shape={given!r} must be (n_channels, height, width) with 1 "
                    f"or 3 channels, for rows of {int(np.prod(own))} values"
                )
        if not self.is_8_bit or len(shape) != 3 or shape[0] not in (1, 3):
            return None
        return tuple(int(size) for size in shape)

    def _save_images(self, folder: Path, shape: tuple[int, ...]) -> list[str]:
        from PIL import Image

        scale = self.eight_bit_scale
        assert scale is not None
        pixels = np.rint(self.X_poison.reshape(-1, *shape) * scale).astype(np.uint8)
        files = []
        for i, (t, row) in enumerate(
            zip(self.poison_target, self.poison_indices, strict=True)
        ):
            file = Path("poisons") / f"target-{t:03d}" / f"row-{row:05d}.png"
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            image = pixels[i, 0] if shape[0] == 1 else pixels[i].transpose(1, 2, 0)
            Image.fromarray(image).save(path)
            with Image.open(path) as opened:
                read = np.asarray(opened)
            back = read[None] if shape[0] == 1 else read.transpose(2, 0, 1)
            values = (back / scale).astype(self.X_poison.dtype)
            if not np.allclose(values, self.X_poison[i].reshape(shape), atol=1e-6):
                raise RuntimeError(f"{path} does not hold the poison that was injected")
            files.append(file.as_posix())
        return files


def _median(ratios: NDArray[np.float64]) -> float | None:
    median = float(np.median(ratios))
    return median if np.isfinite(median) else None


def _plain(rate: Rate) -> dict[str, Any]:
    return {
        "value": rate.value,
        "low": rate.low,
        "high": rate.high,
        "n_success": rate.n_success,
        "n": rate.n_targets,
    }


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = [[_scalar(value) for value in row.values()] for row in rows]
    write_csv(path, [list(rows[0]), *lines], escape_formulas=True)
