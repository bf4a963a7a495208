"""skorch's nested parameters, such as ``optimizer__weight_decay``, of an estimator."""

from typing import Any, Self

from sklearn.base import BaseEstimator

NESTED_PREFIXES = ("optimizer__", "callbacks__", "iterator_train__", "iterator_valid__")


class SkorchParams(BaseEstimator):
    """Estimator whose constructor takes skorch's nested parameters too.

    They live in a private dict. Unknown names are refused where the estimator is
    fitted (:meth:`_checked_nested_params`), never in the constructor.
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters, skorch's nested ones among them.

        Parameters
        ----------
        deep : bool, default=True
            As in scikit-learn.

        Returns
        -------
        dict of str to object
            Parameter values by name.
        """
        params: dict[str, Any] = super().get_params(deep=deep)
        return {**params, **self._nested_params()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters, skorch's nested ones among them.

        Parameters
        ----------
        **params : dict
            Parameters of the constructor, and names that start with
            ``optimizer__``, ``callbacks__``, ``iterator_train__`` or
            ``iterator_valid__``.

        Returns
        -------
        self : object
            The classifier.

        Raises
        ------
        ValueError
            If a name is unknown.
        """
        nested = {k: v for k, v in params.items() if k.startswith(NESTED_PREFIXES)}
        super().set_params(**{k: v for k, v in params.items() if k not in nested})
        if nested:
            self._skorch_params = {**self._nested_params(), **nested}
        return self

    def _nested_params(self) -> dict[str, Any]:
        # Set only where there are any: scikit-learn allows no other attribute
        # than the named parameters after __init__.
        return dict(vars(self).get("_skorch_params", {}))

    def _checked_nested_params(self) -> dict[str, Any]:
        nested = self._nested_params()
        for name in nested:
            if not name.startswith(NESTED_PREFIXES):
                raise ValueError(
                    f"{name!r} is not a parameter of {type(self).__name__}; nested "
                    f"parameters start with one of {NESTED_PREFIXES}"
                )
        return nested
