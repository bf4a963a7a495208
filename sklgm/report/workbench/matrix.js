// How often rows of the list claim one label and look like another.

// Classes with the most rows; others are left out.
const maxMatrix = 20;
const maxPairs = 12;

const countPairs = (indices) => {
  const counts = new Map();
  for (const index of indices) {
    const key = data.claimed[index] * data.classes.length + data.likely[index];
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
};

const mostFrequent = (indices) => {
  const totals = new Map();
  for (const index of indices) {
    for (const k of new Set([data.claimed[index], data.likely[index]])) {
      totals.set(k, (totals.get(k) ?? 0) + 1);
    }
  }
  return [...totals.entries()].sort((a, b) => b[1] - a[1] || a[0] - b[0]).map(([k]) => k);
};

const pairButton = (claimed, likely, text, label) => {
  const isPressed = filter.claimed === String(claimed) && filter.likely === String(likely);
  const button = element("button", { type: "button", "aria-label": label, "aria-pressed": isPressed }, text);
  button.addEventListener("click", () => {
    filterPair(isPressed ? "" : String(claimed), isPressed ? "" : String(likely));
  });
  button.dataset.pair = `${claimed}-${likely}`;
  return button;
};

// indices: rows of the list before labels are filtered.
const drawMatrix = (indices) => {
  const counts = countPairs(indices);
  const frequent = mostFrequent(indices);
  const shown = frequent.slice(0, maxMatrix).sort((a, b) => a - b);
  const largest = Math.max(1, ...counts.values());
  const table = byId("matrix");
  const focused = document.activeElement?.dataset.pair;
  byId("confusions").hidden = indices.length === 0;
  const head = element("tr", {}, element("td", { className: "corner" }, "claimed ↓ likelier →"));
  for (const k of shown) head.append(element("th", { scope: "col" }, className(k)));
  const body = element("tbody");
  for (const claimed of shown) {
    const row = element("tr", {}, element("th", { scope: "row" }, className(claimed)));
    for (const likely of shown) {
      const n = counts.get(claimed * data.classes.length + likely) ?? 0;
      const cell = element("td");
      if (n > 0) {
        const label = `${plural(n, "row")}: claimed ${className(claimed)}, likelier ${className(likely)}`;
        const button = pairButton(claimed, likely, count(n), label);
        button.style.setProperty("--share", `${Math.round(10 + 55 * Math.sqrt(n / largest))}%`);
        cell.append(button);
      }
      row.append(cell);
    }
    body.append(row);
  }
  table.replaceChildren(element("thead", {}, head), body);
  const note = byId("matrix-note");
  note.replaceChildren();
  if (frequent.length > maxMatrix) {
    note.append(`The ${maxMatrix} labels with the most rows; ${frequent.length - maxMatrix} more are left out. The most frequent pairs of all: `);
    const top = [...counts.entries()].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, maxPairs);
    for (const [key, n] of top) {
      const [claimed, likely] = [Math.floor(key / data.classes.length), key % data.classes.length];
      const text = `${className(claimed)} → ${className(likely)} ${count(n)}`;
      note.append(pairButton(claimed, likely, text, text), " ");
    }
  }
  // The button that was pressed is a new one now.
  if (focused) byId("confusions").querySelector(`[data-pair="${focused}"]`)?.focus();
};

// A slider that is dragged need not wait for the table of each rate.
let matrixTimer = 0;
const drawMatrixSoon = (indices) => {
  clearTimeout(matrixTimer);
  matrixTimer = setTimeout(() => drawMatrix(indices), 50);
};
