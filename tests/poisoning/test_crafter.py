import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils import check_random_state

from sklgm.classifiers import SoftmaxClassifier
from sklgm.poisoning import PoisonCrafter, craft
from tests.poisoning.conftest import assert_same, snapshot


def crafter(fitted_classifier, **settings):
    settings = {"max_iter": 20, "random_state": 0, **settings}
    return PoisonCrafter(FrozenEstimator(fitted_classifier), **settings)


@pytest.fixture(scope="module")
def fitted_crafter(fitted_classifier, training_set, new_rows):
    """Shared by the module: do not fit it again."""
    return crafter(fitted_classifier, X_target=new_rows, budget=3).fit(*training_set)


def test_fit_transform_overwrites_the_chosen_rows_only(
    fitted_classifier, fitted_crafter, training_set, new_rows
):
    X, y = training_set
    twin = crafter(fitted_classifier, X_target=new_rows, budget=3)
    X_poisoned = twin.fit_transform(X, y)
    is_poison = np.zeros(len(X), dtype=bool)
    is_poison[twin.poison_indices_] = True
    assert X_poisoned.shape == X.shape
    np.testing.assert_array_equal(X_poisoned[~is_poison], X[~is_poison])
    np.testing.assert_array_equal(X_poisoned[twin.poison_indices_], twin.X_poison_)
    assert (X_poisoned[is_poison] != X[is_poison]).any(axis=1).all()
    # fit alone crafts the same poisons.
    np.testing.assert_array_equal(twin.X_poison_, fitted_crafter.X_poison_)
    np.testing.assert_array_equal(twin.poison_indices_, fitted_crafter.poison_indices_)


def test_transform_returns_the_values_unchanged(fitted_crafter, training_set, new_rows):
    X, _ = training_set
    np.testing.assert_array_equal(fitted_crafter.transform(X), X)
    np.testing.assert_array_equal(fitted_crafter.transform(new_rows), new_rows)


def test_bases_have_the_base_label_and_serve_one_target(fitted_crafter, training_set):
    _, y = training_set
    indices, target = fitted_crafter.poison_indices_, fitted_crafter.poison_target_
    assert len(np.unique(indices)) == len(indices) == 12
    assert np.bincount(target).tolist() == [3, 3, 3, 3]
    np.testing.assert_array_equal(y[indices], fitted_crafter.base_label_[target])
    assert (fitted_crafter.base_label_ != fitted_crafter.target_label_).all()


def test_target_label_is_what_the_surrogate_predicts(
    fitted_crafter, fitted_classifier, new_rows
):
    expected = fitted_classifier.predict(new_rows)
    np.testing.assert_array_equal(fitted_crafter.target_label_, expected)


def test_poisons_are_those_of_craft(fitted_crafter, fitted_classifier, training_set):
    X, _ = training_set
    result = craft(
        fitted_classifier,
        X[fitted_crafter.poison_indices_],
        fitted_crafter.X_target_[fitted_crafter.poison_target_],
        pixel_range=(X.min(axis=0), X.max(axis=0)),
        max_iter=20,
    )
    np.testing.assert_array_equal(fitted_crafter.X_poison_, result.X_poison)


def test_diagnostics_say_how_the_search_went(fitted_crafter):
    result = fitted_crafter.result_
    for name in (
        "objective_initial",
        "objective_final",
        "feature_distance_initial",
        "feature_distance_final",
    ):
        attribute = getattr(fitted_crafter, f"{name}_")
        np.testing.assert_array_equal(attribute, getattr(result, name))
        assert attribute.shape == (12,)
    assert (result.objective_final < result.objective_initial).all()
    assert fitted_crafter.n_iter_ == result.n_iter.max()


def test_neither_data_nor_surrogate_are_changed(
    fitted_classifier, training_set, new_rows
):
    X, y, X_target = training_set[0].copy(), training_set[1].copy(), new_rows.copy()
    network = fitted_classifier.net_.module_
    before = copy.deepcopy(snapshot(network))
    crafter(fitted_classifier, X_target=X_target).fit_transform(X, y)
    assert_same(before, snapshot(network))
    np.testing.assert_array_equal(X, training_set[0])
    np.testing.assert_array_equal(y, training_set[1])
    np.testing.assert_array_equal(X_target, new_rows)


@pytest.mark.parametrize("X_target", [None, [[0.5] * 6]], ids=["drawn", "given"])
def test_same_seed_same_poisons(training_set, X_target):
    first, second, other = (
        PoisonCrafter(
            SoftmaxClassifier(max_epochs=1),
            X_target=X_target,
            budget=3,
            max_iter=5,
            random_state=seed,
        ).fit(*training_set)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.poison_indices_, second.poison_indices_)
    np.testing.assert_array_equal(first.X_poison_, second.X_poison_)
    assert (first.poison_indices_ != other.poison_indices_).any()


def test_a_seed_of_the_estimator_is_kept(training_set, new_rows):
    clf = SoftmaxClassifier(max_epochs=1, random_state=3)
    fitted = PoisonCrafter(clf, X_target=new_rows, random_state=0).fit(*training_set)
    assert fitted.estimator_.random_state == 3
    assert not hasattr(clf, "net_")


def test_global_random_state_is_not_touched(training_set):
    numpy_generator = check_random_state(None)  # numpy's global one
    numpy_state = numpy_generator.get_state()[1].copy()
    torch_state = torch.get_rng_state()
    clf = SoftmaxClassifier(max_epochs=1)
    PoisonCrafter(clf, max_iter=2, random_state=0).fit(*training_set)
    np.testing.assert_array_equal(numpy_state, numpy_generator.get_state()[1])
    assert torch.equal(torch_state, torch.get_rng_state())


def test_default_estimator_is_a_softmax_classifier(training_set, new_rows):
    fitted = PoisonCrafter(X_target=new_rows, max_iter=2, random_state=0)
    fitted.fit(*training_set)
    assert type(fitted.estimator_) is SoftmaxClassifier
    assert fitted.estimator_.classes_.tolist() == [0, 1, 2]


def test_a_frozen_estimator_is_used_as_it_is(fitted_classifier, fitted_crafter):
    assert fitted_crafter.estimator_.estimator is fitted_classifier


@pytest.mark.parametrize(
    ("budget", "n_poisons"),
    [(1, 1), (5, 5), (20, 20), (0.001, 1), (0.15, 3), (0.26, 6), (1.0, 20)],
)
def test_budget_counts_rows_or_is_a_share_of_the_base_class(
    fitted_classifier, training_set, new_rows, budget, n_poisons
):
    fitted = crafter(
        fitted_classifier,
        X_target=new_rows[:1],
        target_label=0,
        base_label=1,
        budget=budget,
        max_iter=1,
    ).fit(*training_set)
    assert len(fitted.X_poison_) == n_poisons


@pytest.mark.parametrize("budget", [0, 0.0])
def test_budget_zero_fits_and_poisons_nothing(training_set, new_rows, budget):
    class NeverFitted(SoftmaxClassifier):
        def fit(self, X, y):
            raise AssertionError

    X, y = training_set
    fitted = PoisonCrafter(NeverFitted(), X_target=new_rows, budget=budget)
    np.testing.assert_array_equal(fitted.fit_transform(X, y), X)
    assert fitted.estimator_ is None
    assert fitted.X_poison_.shape == (0, 6)
    assert len(fitted.poison_indices_) == len(fitted.result_.stop_reason) == 0


def test_a_drawn_target_is_a_row_of_another_class_than_its_bases(
    fitted_classifier, training_set
):
    X, y = training_set
    for seed in range(10):
        fitted = crafter(fitted_classifier, random_state=seed, max_iter=1).fit(X, y)
        (row,) = np.flatnonzero((X == fitted.X_target_[0]).all(axis=1))
        assert fitted.target_label_ == y[row] != fitted.base_label_
        assert row not in fitted.poison_indices_


@pytest.mark.parametrize("seed", range(5))
def test_given_labels_steer_the_drawn_target(fitted_classifier, training_set, seed):
    by_target = crafter(
        fitted_classifier, target_label=2, random_state=seed, max_iter=1
    ).fit(*training_set)
    assert by_target.target_label_.tolist() == [2]
    by_base = crafter(
        fitted_classifier, base_label=[0], random_state=seed, max_iter=1
    ).fit(*training_set)
    assert by_base.target_label_[0] in (1, 2)
    assert by_base.base_label_.tolist() == [0]


def test_labels_may_be_one_for_all_or_one_each(
    fitted_classifier, training_set, new_rows
):
    fitted = crafter(
        fitted_classifier,
        X_target=new_rows,
        target_label=[0, 1, 0, 1],
        base_label=2,
        max_iter=1,
    ).fit(*training_set)
    assert fitted.target_label_.tolist() == [0, 1, 0, 1]
    assert fitted.base_label_.tolist() == [2, 2, 2, 2]


def test_string_labels_and_data_frames(training_set, new_rows):
    X, y = training_set
    names = pd.Series(np.array(["ant", "bee", "cow"])[y])
    frame = pd.DataFrame(X, columns=list("abcdef"))
    fitted = PoisonCrafter(
        SoftmaxClassifier(max_epochs=1),
        X_target=new_rows[:2],
        target_label="bee",
        base_label=["cow", "ant"],
        max_iter=1,
        random_state=0,
    ).set_output(transform="pandas")
    X_poisoned = fitted.fit_transform(frame, names)
    assert fitted.base_label_.tolist() == ["cow", "ant"]
    assert names[fitted.poison_indices_].tolist() == ["cow", "ant"]
    assert X_poisoned.columns.tolist() == list("abcdef")
    assert fitted.get_feature_names_out().tolist() == list("abcdef")
    pd.testing.assert_frame_equal(fitted.transform(frame), frame)


def test_images_and_their_flat_rows_give_the_same_poisons():
    rng = np.random.RandomState(0)
    X = rng.uniform(size=(20, 1, 6, 6)).astype(np.float32)
    y = np.repeat([0, 1], 10)
    clf = SoftmaxClassifier(max_epochs=1, feature_dim=4, random_state=0).fit(X, y)
    X_target = rng.uniform(size=(2, 36))
    by_image, by_row = (
        crafter(clf, X_target=X_target, budget=2, pixel_range=(0, 1)) for _ in "ab"
    )
    images = by_image.fit_transform(X, y)
    rows = by_row.fit_transform(X.reshape(20, 36), y)
    assert images.shape == X.shape
    assert images.dtype == rows.dtype == np.float32
    np.testing.assert_allclose(images.reshape(20, 36), rows, atol=1e-6)
    assert by_image.X_poison_.shape == (4, 1, 6, 6)
    np.testing.assert_array_equal(by_image.transform(X), X)
    np.testing.assert_array_equal(
        by_image.transform(X.reshape(20, 36)), X.reshape(20, 36)
    )


@pytest.mark.filterwarnings("ignore::sklgm.exceptions.UnscaledImagesWarning")
def test_integer_images_become_floats_in_their_own_range():
    rng = np.random.RandomState(0)
    X = rng.randint(0, 256, size=(20, 1, 4, 4)).astype(np.uint8)
    y = np.repeat([0, 1], 10)
    fitted = PoisonCrafter(
        SoftmaxClassifier(max_epochs=1, random_state=0),
        pixel_range=(0, 255),
        random_state=0,
    )
    X_poisoned = fitted.fit_transform(X, y)
    assert X_poisoned.dtype == fitted.transform(X).dtype == np.float32
    assert X_poisoned.min() >= 0
    assert X_poisoned.max() <= 255
    assert (X_poisoned != X).any()


def test_default_pixel_range_is_by_column_for_rows(
    fitted_classifier, training_set, new_rows
):
    X, y = training_set
    fitted = crafter(
        fitted_classifier,
        X_target=3 * new_rows,
        target_label=0,
        watermark_opacity=0.9,
        budget=2,
    ).fit(X, y)
    assert (fitted.X_poison_ >= X.min(axis=0)).all()
    assert (fitted.X_poison_ <= X.max(axis=0)).all()


def test_bound_on_the_perturbation_holds(fitted_classifier, training_set, new_rows):
    fitted = crafter(
        fitted_classifier, X_target=new_rows, max_perturbation=0.03, budget=2
    ).fit(*training_set)
    assert (fitted.result_.linf <= 0.03).all()
    assert (fitted.result_.linf > 0).all()


def test_a_pipeline_is_attacked_in_its_raw_space(training_set, new_rows):
    X, y = training_set
    pipe = make_pipeline(StandardScaler(), SoftmaxClassifier(max_epochs=1))
    fitted = PoisonCrafter(
        pipe,
        X_target=100 * new_rows,
        pixel_range=(0, 100),
        similarity_weight=1e-7,
        budget=2,
        random_state=0,
    ).fit(100 * X, y)
    assert (fitted.result_.collision_ratio < 0.5).all()
    assert fitted.X_poison_.max() > 50


def test_as_a_step_it_poisons_the_training_only(
    fitted_classifier, training_set, new_rows
):
    X, y = training_set
    attack = crafter(fitted_classifier, X_target=new_rows, budget=3)
    pipe = Pipeline([("poison", attack), ("clf", LogisticRegression())]).fit(X, y)
    X_poisoned = clone(attack).fit_transform(X, y)
    expected = LogisticRegression().fit(X_poisoned, y)
    np.testing.assert_array_equal(pipe["clf"].coef_, expected.coef_)
    np.testing.assert_array_equal(pipe.predict_proba(X), expected.predict_proba(X))


def test_a_fitted_crafter_survives_pickling(fitted_crafter, new_rows):
    copied = pickle.loads(pickle.dumps(fitted_crafter))
    np.testing.assert_array_equal(copied.X_poison_, fitted_crafter.X_poison_)
    np.testing.assert_array_equal(copied.transform(new_rows), new_rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attack": "backdoor"}, "'attack' parameter of PoisonCrafter must be a str"),
        ({"budget": -1}, "The 'budget' parameter of PoisonCrafter must be"),
        ({"budget": 1.5}, "The 'budget' parameter of PoisonCrafter must be"),
        ({"max_iter": 0}, "The 'max_iter' parameter of PoisonCrafter must be"),
        ({"step_size": 0.0}, "The 'step_size' parameter of PoisonCrafter must be"),
        ({"watermark_opacity": 1.0}, "The 'watermark_opacity' parameter"),
        ({"max_perturbation": 0.0}, "The 'max_perturbation' parameter"),
        ({"estimator": "softmax"}, "The 'estimator' parameter of PoisonCrafter must"),
        ({"device": "abacus"}, "device='abacus' is not a torch device"),
        ({"target_label": 7}, r"target_label=7 is not among the classes of y, \[0, 1"),
        ({"base_label": "b"}, "base_label='b' is not among the classes of y"),
        (
            {"base_label": [0, 1]},
            "base_label must be one .* each of the 4 targets; got",
        ),
        (
            {"base_label": 1, "target_label": [0, 2, 1, 0]},
            "base_label=1 must differ from the label of its target, target_label=1",
        ),
        ({"base_label": [0, 1, 2, 0]}, "must differ from the label of its target"),
        (
            {"budget": 11, "base_label": [0, 0, 1, 1], "target_label": 2},
            "budget=11 asks for 11 rows of class 0 for each of 2 targets, but X has "
            "only 20 rows",
        ),
        ({"budget": 0.5, "target_label": 2, "base_label": 0}, "budget=0.5 asks for 10"),
        ({"pixel_range": (0.0, 0.5)}, r"X must lie in pixel_range=\(0.0, 0.5\)"),
        ({"pixel_range": (1.0, 0.0)}, r"X must lie in pixel_range=\(1.0, 0.0\)"),
        ({"pixel_range": (0.0,)}, r"pixel_range must be \(low, high\), got \(0.0,\)"),
        ({"X_target": [[0.5] * 5]}, r"X_target must hold instances of shape \(6,\)"),
        ({"X_target": [0.5] * 6}, "Expected 2D array, got 1D array"),
        ({"X_target": [[np.nan] * 6]}, "Input X_target contains NaN"),
    ],
)
def test_bad_parameters_are_an_error_that_names_them(
    fitted_classifier, training_set, new_rows, settings, message
):
    settings = {"X_target": new_rows, **settings}
    attack = crafter(fitted_classifier).set_params(**settings)
    with pytest.raises(ValueError, match=message):
        attack.fit(*training_set)


def test_labels_that_cannot_work_fail_before_the_surrogate_is_trained(
    training_set, new_rows
):
    class NeverFitted(SoftmaxClassifier):
        def fit(self, X, y):
            raise AssertionError

    attack = PoisonCrafter(NeverFitted(), X_target=new_rows, base_label=0, budget=6)
    with pytest.raises(ValueError, match="budget=6"):
        attack.fit(*training_set)


def test_other_pipeline_steps_are_an_error_that_names_them(training_set):
    clf = SoftmaxClassifier(max_epochs=1)
    pipe = Pipeline([("cross", PolynomialFeatures()), ("clf", clf)])
    with pytest.raises(ValueError, match="step 'cross' is a PolynomialFeatures"):
        PoisonCrafter(pipe).fit(*training_set)


def test_other_classifiers_are_an_error(training_set):
    with pytest.raises(TypeError, match="model must be a fitted sklgm classifier"):
        PoisonCrafter(LogisticRegression()).fit(*training_set)


def test_labels_are_required(training_set):
    with pytest.raises(ValueError, match="requires y to be passed, but the target y"):
        PoisonCrafter().fit(training_set[0])


def test_one_class_is_an_error(training_set):
    with pytest.raises(ValueError, match="y must have at least 2 classes"):
        PoisonCrafter().fit(training_set[0], np.zeros(60))


def test_transform_needs_fit(new_rows):
    with pytest.raises(NotFittedError):
        PoisonCrafter().transform(new_rows)
