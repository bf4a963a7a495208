"""What a run says, in a table and in sentences that follow from it."""

from dataclasses import replace

import pytest

from sklgm.experiments import PROTOCOLS, get_protocol
from sklgm.report import run_verdicts
from tests.tidy_rows import CLEAN, area, control, plain, rate, row, table_of

GAUSSIANS, TRIMMED = "softmax_trimmed_gaussians", "softmax + trimmed Gaussians"
DESCRIPTIONS = [get_protocol(name).description for name in PROTOCOLS]
CERTIFIED = {"protocol": "certified", "attack": None, "metric": "certified_accuracy"}


def verdict(rows):
    (found,) = run_verdicts(table_of(rows), DESCRIPTIONS)
    return found


def sentences(rows):
    return " ".join(plain(verdict(rows).sentences))


def cells(rows):
    """Texts of the table by the name of the model."""
    table = verdict(rows).table
    return {
        line.header: [cell and plain([cell.text])[0] for cell in line.cells]
        for line in table.rows
    }


def accuracy(victim, n_right, n=450, **changes):
    return rate(victim, n_right, n, metric="clean_accuracy", **changes)


def certified(victim, n_right, n_poisons=9, share=0.2, n=450):
    place = {"n_poisons": n_poisons, "share": share}
    return rate(victim, n_right, n, **CERTIFIED | place)


def difference(victim, value, low, high, n_poisons=9):
    place = CERTIFIED | {"metric": "certified_accuracy_difference"}
    return row(victim, value=value, low=low, high=high, n_poisons=n_poisons, **place)


# Who is fooled


@pytest.mark.parametrize(
    ("n_softmax", "n_ours", "words"),
    [
        (20, 1, "is fooled less often than softmax."),
        (4, 1, "ties with softmax (the intervals overlap)."),
        (9, 9, "is fooled as often as softmax."),
        (2, 30, "loses: it is fooled more often than softmax."),
    ],
    ids=["wins", "ties", "equal", "loses"],
)
def test_intervals_decide_who_is_fooled_less_often(n_softmax, n_ours, words):
    text = sentences([rate("softmax", n_softmax), rate("lgm_trim", n_ours)])
    assert text == f"L-GM + trim {words}"


@pytest.mark.parametrize(
    ("n_baseline", "words"),
    [(1, "ties with it"), (4, "ties with it"), (30, "is worse")],
    ids=["equal", "within-the-intervals", "worse"],
)
def test_the_cheap_baseline_is_always_named(n_baseline, words):
    rows = [rate("softmax", 20), rate("lgm_trim", 1), rate(GAUSSIANS, n_baseline)]
    assert f"softmax; the cheap baseline {words}." in sentences(rows)
    (line,) = [line for line in verdict(rows).lines() if "Gaussians" in line]
    assert line.startswith("softmax + trimmed Gaussians (cheap)")


def test_a_better_baseline_is_said_to_be_better():
    rows = [rate("softmax", 40), rate("lgm_trim", 30), rate(GAUSSIANS, 1)]
    assert "the cheap baseline is better." in sentences(rows)


def test_where_nothing_happens_is_said_plainly():
    text = sentences([rate("softmax", 0), rate("lgm_trim", 0), rate(GAUSSIANS, 0)])
    assert text.startswith(
        "Nothing happened: the attack fooled no model, not even softmax without a "
        "defence (0 of 50 targets), so these zeros say nothing for any defence."
    )
    assert "ties" not in text


def test_refits_to_convergence_that_lose_are_named():
    rows = [rate("softmax", 9), rate("softmax", 50, variant="converged")]
    rows += [rate("lgm_trim", 0), rate("lgm", 0), rate("lgm", 8, variant="converged")]
    text = sentences(rows)
    assert "But L-GM (refitted to convergence) is fooled on 8 of 50." in text
    rows[-1] = rate("lgm", 2, variant="converged")
    assert "is fooled on 2 of 50, a tie." in sentences(rows)


def test_variants_are_rows_only_where_they_are_fooled_more_often():
    rows = [rate("softmax", 9), rate(GAUSSIANS, 2), rate("lgm", 1)]
    rows += [rate(GAUSSIANS, 2, variant="diag"), rate("lgm", 3, variant="converged")]
    assert list(cells(rows)) == [
        "softmax (no defence)",
        "softmax + trimmed Gaussians",
        "L-GM",
        "L-GM (refitted to convergence)",
    ]


def test_the_worst_attack_counts_and_references_do_not():
    rows = [rate("softmax", 9), rate("softmax", 12, attack="watermark")]
    rows += [rate("lgm", 3), rate("lgm", 1, attack="watermark")]
    rows += [rate(name, 50, attack="flip_labels") for name in ("softmax", "lgm")]
    assert cells(rows) == {"softmax (no defence)": ["12 of 50"], "L-GM": ["3 of 50"]}
    assert verdict(rows).attacked == (
        "digits, transfer: 50 targets per model, 25 poisons each (the worst of 2 "
        "attacks: feature collision; watermark)."
    )


def test_how_far_a_single_attack_changes_its_bases_is_said():
    rows = [rate("softmax", 9), row("softmax", "linf", 0.935), row("lgm", "linf", 0.1)]
    assert verdict(rows).attacked == (
        "digits, transfer: 50 targets per model, 25 poisons each (feature collision, "
        "which changes a value by up to 0.94 on average)."
    )


def test_the_most_poisons_with_a_known_rate_count():
    rows = [rate("softmax", 1, n_poisons=5), rate("lgm", 0, n_poisons=5)]
    rows += [rate("softmax", 9), rate("lgm", 2), rate("lgm", 0, 0, n_poisons=50)]
    assert cells(rows) == {"softmax (no defence)": ["9 of 50"], "L-GM": ["2 of 50"]}


def test_seeds_are_pooled_and_repeated_rows_count_once():
    rows = [rate("lgm", 2), rate("lgm", 2), rate("lgm", 3, seed=1)]
    assert cells(rows) == {"L-GM": ["5 of 100"]}


def test_protocols_that_attack_have_a_column_each():
    rows = [rate("softmax", 9), rate("lgm", 1)]
    rows += [rate("softmax", 20, protocol="end-to-end")]
    table = verdict(rows).table
    assert table.columns == ["Model", "Fooled, transfer", "Fooled, end-to-end"]
    assert [cell and cell.text for cell in table.rows[1].cells] == ["1 of 50", None]
    assert "In the transfer protocol, L-GM ties with softmax" in sentences(rows)


# Accuracy


def test_accuracy_is_that_under_the_attack_else_without_poisons():
    rows = [rate("softmax", 20), rate("lgm", 1)]
    rows += [accuracy("softmax", 440), accuracy("softmax", 444, **CLEAN)]
    rows += [accuracy("lgm", 441, **CLEAN), control("lgm", 0)]
    assert cells(rows)["softmax (no defence)"] == ["20 of 50", "97.8 %"]
    assert cells(rows)["L-GM"] == ["1 of 50", "98.0 %"]
    assert "Accuracy ties." in sentences(rows)


def test_lost_accuracy_is_named():
    rows = [rate("softmax", 20), rate("lgm", 1)]
    rows += [accuracy("softmax", 440), accuracy("lgm", 300)]
    text = sentences(rows)
    assert "L-GM loses accuracy: 66.7 %, softmax 97.8 % (n = 450)." in text


# Certificates


def test_certificates_are_compared_row_by_row_with_the_best_rival():
    rows = [certified("softmax_median", 430), certified("lgm_median", 444)]
    rows += [certified("smoothed_softmax_median", 440)]
    rows += [difference("smoothed_softmax_median", 0.009, -0.008, 0.027)]
    rows += [difference("softmax_median", 0.03, 0.01, 0.05)]
    assert sentences(rows) == (
        "With any 9 training rows of one class (20 %) changed, L-GM is provably right "
        "on 98.7 % of test rows, softmax with label smoothing on 97.8 %: a tie "
        "(\u22120.8 to +2.7 points)."
    )
    rows[3] = difference("smoothed_softmax_median", 0.009, 0.002, 0.027)
    assert "97.8 %: more (+0.2 to +2.7 points)." in sentences(rows)
    rows[3] = difference("smoothed_softmax_median", -0.009, -0.02, -0.001)
    assert "97.8 %: L-GM loses (\u22122.0 to \u22120.1 points)." in sentences(rows)


def test_without_paired_differences_intervals_decide():
    rows = [certified("softmax_median", 300), certified("lgm_median", 444)]
    assert "66.7 %: more, and the intervals are apart." in sentences(rows)
    rows = [certified("softmax_median", 443), certified("lgm_median", 444)]
    assert "98.4 %: a tie, since the intervals overlap." in sentences(rows)


def test_heads_of_other_rows_or_classes_are_not_in_the_verdict():
    rows = [certified("softmax_median", 430), certified("lgm_median", 444)]
    rows += [certified("softmax_median", 440, 0, None)]
    rows += [certified("lgm_median", 445, 0, None)]
    others = [replace(known, variant="5 novel classes", value=0.1) for known in rows]
    assert cells([*rows, *others]) == cells(rows)
    assert sentences([*rows, *others]) == sentences(rows)


def test_certified_rows_stand_below_those_that_were_attacked():
    rows = [rate("softmax", 9), rate("lgm", 0), certified("lgm_median", 444)]
    rows += [certified("lgm_trimmed_mean", 443), certified("lgm_median", 448, 0, None)]
    table = verdict(rows).table
    assert table.columns == ["Model", "Fooled", "Accuracy", "Certified, 9 poisons"]
    assert cells(rows) == {
        "softmax (no defence)": ["9 of 50", None, None],
        "L-GM": ["0 of 50", None, None],
        "L-GM (class medians)": [None, "99.6 %", "98.7 %"],
    }


# Other protocols


def test_a_run_without_attack_or_certificate_ranks_its_first_headline():
    place = {"protocol": "white-box", "n_poisons": 1}
    rows = [area("softmax", 0.98, "posterior", **place)]
    rows += [area("lgm", 0.97, "likelihood", **place), area("lgm", 0.5, "x", **place)]
    found = verdict(rows)
    assert found.attacked == (
        "digits, feature collision: finding the poisons (white-box protocol)."
    )
    assert cells(rows)["L-GM (likelihood)"] == ["0.970"]
    assert plain(found.sentences) == [
        "Highest AUROC: softmax (posterior) (0.980); L-GM (likelihood) ties with that "
        "within the intervals; L-GM (x) is behind (0.500), n = 50."
    ]


def test_every_protocol_has_a_sentence_for_its_section():
    rows = [rate("softmax", 9), rate("lgm", 9), certified("lgm_median", 9)]
    found = verdict(rows).of_protocols
    assert plain(found.values()) == [
        "L-GM (class medians): 2.0 % (nothing to compare with).",
        "Fooled least: 9 of 50 targets for all, n = 50, which ranks nobody.",
    ]
    none = verdict([rate("softmax", 0), rate("lgm", 0)]).of_protocols["transfer"]
    assert none == (
        "The attack fooled no model: 0 of 50 targets for all, which tests no defence."
    )


@pytest.mark.parametrize(
    "rows",
    [
        [rate("lgm", 0, 0)],
        [row("lgm", "auroc", None)],
        [row(None, "some_metric")],
        [row("lgm", "some_metric", protocol="of-tomorrow")],
        [row("lgm", "backbone_accuracy", 0.7, protocol="search")],
    ],
    ids=["no-target", "unknown", "no-victim", "no-protocol", "no-headline"],
)
def test_a_table_that_says_nothing_gives_no_sentence(rows):
    found = verdict(rows)
    assert (found.sentences, found.table.rows) == ((), [])
    assert found.lines() == ["digits"]


def test_no_row_no_verdict():
    assert run_verdicts(table_of([]), DESCRIPTIONS) == []


# As plain text


def test_lines_break_between_words_and_have_at_most_80_letters():
    rows = [rate("softmax", 9), rate("softmax", 50, variant="converged")]
    rows += [rate(GAUSSIANS, 0), rate("lgm", 0), rate("lgm_trim", 0)]
    rows += [rate("softmax", 20, protocol="end-to-end"), accuracy("softmax", 440)]
    rows += [certified("smoothed_softmax_median", 440), certified("lgm_median", 9)]
    found = verdict(rows)
    lines = found.lines()
    assert max(map(len, lines)) <= 80
    words = " ".join(" ".join(lines).split())
    assert plain([found.attacked])[0] in words
    assert plain([" ".join(found.sentences)])[0] in words
    for name in ("softmax (refitted to convergence)", "L-GM + trim"):
        assert any(line.startswith(name) for line in lines)


def test_plain_text_has_variants_in_brackets_and_the_best_rival_alone():
    rows = [rate("softmax", 9), rate("softmax", 50, variant="converged")]
    rows += [rate("lgm", 0), rate("lgm_trim", 0), accuracy("softmax", 440)]
    rows += [
        certified("softmax_median", 430),
        certified("smoothed_softmax_median", 440),
    ]
    rows += [certified("smoothed_softmax_median", 445, 0, None)]
    rows += [certified("lgm_median", 444)]
    lines = verdict(rows).lines()
    table = lines[lines.index("") + 1 :]
    assert [line.split("  ")[0] for line in table[: table.index("")]] == [
        "Model",
        "softmax (no defence)",
        "L-GM",
        "L-GM + trim",
        "softmax with label smoothing (medians)",
        "L-GM (medians)",
    ]
    assert table[0].split()[1:] == ["Fooled", "(converged)", "Accuracy", "Certified"]
    assert table[1].endswith("  9 of 50 (50 of 50)    97.8 %          –")
    assert table[4].endswith("                   –    98.9 %     97.8 %")


def test_several_variants_have_rows_of_their_own():
    rows = [rate("softmax", 9), rate("softmax", 50, variant="converged")]
    rows += [rate(GAUSSIANS, 0), rate(GAUSSIANS, 2, variant="diag")]
    lines = verdict(rows).lines()
    assert "Fooled\n" in "\n".join(lines)
    for name in ("softmax (refitted to convergence)", f"{TRIMMED} (diag)"):
        assert any(line.startswith(name) for line in lines)
