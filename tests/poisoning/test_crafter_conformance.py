from sklearn.utils.estimator_checks import parametrize_with_checks

from sklgm.classifiers import SoftmaxClassifier
from sklgm.poisoning import PoisonCrafter

BY_DESIGN = "fit_transform poisons the training set, transform passes data through"


def crafter(**settings):
    return PoisonCrafter(SoftmaxClassifier(max_epochs=1), max_iter=2, **settings)


def expected_failed_checks(estimator):
    if estimator.budget == 0:
        return {}
    return {
        "check_transformer_general": BY_DESIGN,
        "check_transformer_data_not_an_array": BY_DESIGN,
    }


@parametrize_with_checks(
    [crafter(), crafter(budget=0)],
    expected_failed_checks=expected_failed_checks,
    xfail_strict=True,
)
def test_crafter_is_a_scikit_learn_transformer(estimator, check):
    check(estimator)
