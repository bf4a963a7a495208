"""How fluent the page of an audit is with 10,000 suspects, in Chromium.

Run alone, with the extra ``browser``:
``pytest -n 0 -m benchmark -s tests/benchmarks/test_audit_page_speed.py``.
"""

import numpy as np
import pytest

from sklgm.auditing._result import AuditResult
from sklgm.report import write_audit_report
from tests.chromium import running_chromium

pytestmark = pytest.mark.benchmark

N_ROWS, N_SUSPECTS, N_CLASSES = 60_000, 10_000, 100

# Milliseconds from one frame to the next while the list is scrolled by 100 pixels each.
SCROLL = """async () => {
  const list = document.getElementById("list");
  const times = [];
  let last = performance.now();
  for (let i = 0; i < 200; i += 1) {
    list.scrollTop = 100 * i;
    await new Promise(requestAnimationFrame);
    times.push(performance.now() - last);
    last = performance.now();
  }
  return times;
}"""
# Milliseconds from a key to the frame after the one that shows what it did.
PRESS = """async (key) => {
  const list = document.getElementById("list");
  const times = [];
  for (let i = 0; i < 100; i += 1) {
    const start = performance.now();
    list.dispatchEvent(
      new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    times.push(performance.now() - start);
  }
  return times;
}"""
FILTER = """(value) => {
  const slider = document.getElementById("filter-rate");
  const start = performance.now();
  slider.value = value;
  slider.dispatchEvent(new Event("input"));
  document.body.getBoundingClientRect();
  return performance.now() - start;
}"""


def big_result():
    rng = np.random.default_rng(0)
    classes = np.array([f"class {k:03d}" for k in range(N_CLASSES)])
    claimed = rng.integers(N_CLASSES, size=N_ROWS)
    likely = claimed.copy()
    suspects = rng.choice(N_ROWS, N_SUSPECTS, replace=False)
    likely[suspects] += rng.integers(1, N_CLASSES, size=N_SUSPECTS)
    p_wrong = np.full(N_ROWS, 0.001)
    p_wrong[suspects] = rng.uniform(0.7, 1, N_SUSPECTS)
    order = np.argsort(-p_wrong)
    q_values = np.empty(N_ROWS)
    q_values[order] = np.cumsum(1 - p_wrong[order]) / np.arange(1, N_ROWS + 1)
    return AuditResult(
        claimed_labels=classes[claimed],
        likely_labels=classes[likely % N_CLASSES],
        scores=-p_wrong,
        p_values=1 - p_wrong,
        q_values=q_values,
        folds=np.zeros(N_ROWS, int),
        classes=classes,
        false_alarm_rate=None,
        fdr=float(q_values[order[N_SUSPECTS - 1]]),
        threshold=0.0,
        score_kind="posterior",
        n_trusted=0,
        noise_share=0.15,
        power=1.0,
        temperature=1.0,
        map_rows=np.arange(N_ROWS),
        map_features=rng.normal(size=(N_ROWS, 8)),
        typical_rows=np.arange(6 * N_CLASSES).reshape(N_CLASSES, 6),
        settings={},
        environment={},
        p_wrong=p_wrong,
    )


def test_ten_thousand_suspects_stay_fluent(tmp_path):
    X = np.random.default_rng(0).integers(0, 256, (N_ROWS, 1, 28, 28)).astype(np.uint8)
    path = write_audit_report(
        tmp_path / "page.html", big_result(), X, title="Big", max_images=N_SUSPECTS
    )
    print(f"\n{N_SUSPECTS:,} suspects, {path.stat().st_size / 1e6:.1f} MB")
    medians = {}
    with running_chromium() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        page.goto(path.as_uri())
        loaded = page.evaluate("performance.getEntriesByType('navigation')[0].duration")
        print(f"loaded in {loaded:.0f} ms")
        timings = {"scrolled frame": page.evaluate(SCROLL)}
        page.locator("#list").focus()
        for key in ("ArrowDown", "k", "r", "z"):
            timings[f"key {key}"] = page.evaluate(PRESS, key)
        timings["rate"] = [page.evaluate(FILTER, str(k)) for k in (5, 8, 12, 14) * 3]
        for name, times in timings.items():
            medians[name], late = np.quantile(times, [0.5, 0.95])
            print(f"{name}: median {medians[name]:.0f} ms, 95 % {late:.0f} ms")
    assert medians["scrolled frame"] < 50
    assert all(medians[f"key {key}"] < 100 for key in ("ArrowDown", "k", "r", "z"))
    assert medians["rate"] < 200
