// The selected row: what it holds, beside what is typical of its classes.

const newLabel = byId("new-label");
data.classes.forEach((name, k) => newLabel.append(element("option", { value: String(k) }, name)));

const current = () => (place < 0 ? null : listed[place]);

const typicalOf = (k) => data.contents?.typical?.[k] ?? [];

// "claimed cat" with typical images or texts of cats.
const classBox = (role, k, title) => {
  const box = element("div", { className: "of-class" });
  box.append(element("h3", {}, element("span", { className: "role" }, role), " ", className(k)));
  const typical = typicalOf(k);
  const kind = data.contents.kind;
  if (typical.length === 0) {
    box.append(element("p", { className: "hint" }, `No typical ${kind === "images" ? "image" : "text"}.`));
  } else if (kind === "images") {
    const images = element("div", { className: "typical" });
    typical.forEach((row) => {
      images.append(picture(row, `Row ${row}, typical of ${className(k)}`));
    });
    box.append(images);
  } else {
    box.append(element("ul", { className: "typical-texts" }, ...typical.map((text) => element("li", {}, text))));
  }
  box.title = title;
  return box;
};

const classBoxes = (index) => {
  const [claimed, likely] = [data.claimed[index], data.likely[index]];
  const boxes = element("div", { className: "classes" });
  if (claimed === likely) {
    boxes.append(classBox("claimed and likeliest, but unlike it:", claimed, "Typical rows"));
  } else {
    boxes.append(
      classBox("claimed", claimed, "Typical rows of the claimed label"),
      classBox("likelier", likely, "Typical rows of the likelier label"),
    );
  }
  return boxes;
};

const imageDetail = (index) => {
  const row = data.row[index];
  const image = picture(row, `Row ${row}, claimed ${className(data.claimed[index])}`, "large");
  const left = image ?? element("p", { className: "hint" }, "The image of this row is not in the page.");
  return element("div", { className: "of-images" }, left, classBoxes(index));
};

const textDetail = (index) =>
  element("div", {},
    element("blockquote", { className: "text" }, data.contents.texts[index]),
    classBoxes(index));

const numberText = (value, nDigits) => {
  if (value === null) return "missing";
  return typeof value === "number" ? String(Number(value.toPrecision(nDigits))) : value;
};

const usualText = (kind, usual, value) => {
  if (kind === "text" || usual === null || usual === undefined) return "–";
  if (kind === "category") {
    const share = usual[value ?? ""] ?? 0;
    return share === 0 ? "never so" : `${percent(share)} so`;
  }
  return usual[0] === usual[1]
    ? numberText(usual[0], 3)
    : `${numberText(usual[0], 3)} to ${numberText(usual[1], 3)}`;
};

// A sign for the eye, and words for the ear.
const unusualMark = (kind, value, usual) => {
  let [sign, words] = ["◆", "unusual: "];
  if (kind === "number" && typeof value === "number") {
    [sign, words] = value > usual[1] ? ["▲", "unusually high: "] : ["▼", "unusually low: "];
  }
  return [
    element("span", { className: "mark", "aria-hidden": "true" }, sign),
    element("span", { className: "said" }, words),
  ];
};

const svgElement = (tag, attributes) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};

// The usual intervals of both classes as bars, the value as a line across them.
const strip = (value, claimed, likely) => {
  const bounds = [value, ...(claimed ?? []), ...(likely ?? [])];
  const low = Math.min(...bounds);
  const width = Math.max(...bounds) - low || 1;
  const x = (number) => 3 + 94 * (number - low) / width;
  const svg = svgElement("svg", { viewBox: "0 0 100 16", class: "strip", "aria-hidden": "true" });
  [[claimed, "claimed", 1], [likely, "likely", 9]].forEach(([usual, name, y]) => {
    if (!usual) return;
    const length = Math.max(1.5, x(usual[1]) - x(usual[0]));
    svg.append(svgElement("rect", { x: x(usual[0]), y, width: length, height: 6, rx: 1.5, class: name }));
  });
  svg.append(svgElement("line", { x1: x(value), x2: x(value), y1: 0, y2: 16, class: "value" }));
  return svg;
};

const tableDetail = (index) => {
  const { columns, usual, cells } = data.contents;
  const [claimed, likely] = [data.claimed[index], data.likely[index]];
  const isSame = claimed === likely;
  const texts = element("div");
  const body = element("tbody");
  for (const [j, value, isUnusual] of cells[index]) {
    const { name, kind } = columns[j];
    if (kind === "text") {
      texts.append(element("h3", {}, name), element("blockquote", { className: "text" }, value ?? "missing"));
      continue;
    }
    const usuals = [usual[claimed][j], usual[likely][j]];
    const valueCell = element("td", { className: "number value" });
    if (isUnusual) valueCell.append(...unusualMark(kind, value, usuals[0]));
    valueCell.append(numberText(value, 4));
    const row = element("tr", { className: isUnusual ? "unusual" : "" },
      element("th", { scope: "row" }, ...withBreaks(name)),
      valueCell,
      element("td", {}, usualText(kind, usuals[0], value)));
    if (!isSame) row.append(element("td", {}, usualText(kind, usuals[1], value)));
    const drawn = element("td", { className: "drawn" });
    if (kind === "number" && typeof value === "number") {
      drawn.append(strip(value, usuals[0], isSame ? null : usuals[1]));
    }
    row.append(drawn);
    body.append(row);
  }
  const head = element("tr", {},
    element("th", { scope: "col" }, "Column"),
    element("th", { scope: "col", className: "number" }, "Value"),
    element("th", { scope: "col" }, element("span", { className: "key claimed" }), `usual for ${className(claimed)}`));
  if (!isSame) {
    head.append(element("th", { scope: "col" }, element("span", { className: "key likely" }), `usual for ${className(likely)}`));
  }
  head.append(element("td"));
  const nHidden = columns.length - cells[index].length;
  const hint = "Usual is what the middle 95\u00a0% of the rows have that claim the label and are no "
    + "suspects. ▲ ▼ ◆: unusually high, low or rare for the claimed label."
    + (nHidden > 0 ? ` The ${cells[index].length} most unusual of ${columns.length} columns.` : "");
  const parts = [texts];
  if (body.rows.length > 0) {
    parts.push(element("table", { className: "values" }, element("thead", {}, head), body),
      element("p", { className: "hint" }, hint));
  }
  return element("div", {}, ...parts);
};

const detailOf = { images: imageDetail, texts: textDetail, table: tableDetail };

const claimText = (index) => {
  const [claimed, likely] = [className(data.claimed[index]), className(data.likely[index])];
  const parts = ["Claims ", element("strong", {}, claimed)];
  if (data.claimed[index] === data.likely[index]) {
    parts.push(", which is likeliest, but it is unlike other rows of this label.");
  } else parts.push("; likelier is ", element("strong", {}, likely), ".");
  parts.push(
    data.wrong === null
      ? ` A right label looks as implausible with a chance of ${data.p[index].toPrecision(2)}.`
      : element("span", {}, " Probably wrong: ", element("strong", {}, probability(data.wrong[index])), "."),
  );
  return parts;
};

const numbersText = (index) => {
  const parts = [
    `q-value ${Number(data.q[index].toPrecision(2))}, p-value ${Number(data.p[index].toPrecision(2))}.`,
  ];
  if (data.top !== null) {
    const top = data.top[index].filter(([, p], at) => at === 0 || p >= 0.005)
      .map(([k, p]) => `${className(k)} (${probability(p)})`);
    parts.push(`Most probable by the model: ${top.join(", ")}.`);
  }
  const bits = data.reasons[index];
  if (bits & reasons.toCheck) parts.push("This is one of the rows that settle most.");
  if (bits & reasons.duplicate) parts.push("It has a duplicate with another label.");
  if (bits & reasons.rare) parts.push("Its label is too rare to be judged well.");
  return parts.join(" ");
};

const drawDecision = () => {
  const index = current();
  const entry = index === null ? undefined : decisions.get(data.row[index]);
  for (const button of document.querySelectorAll("[data-decision].button")) {
    button.disabled = index === null;
    button.setAttribute("aria-pressed", entry?.decision === button.dataset.decision);
  }
  newLabel.disabled = index === null;
  if (index !== null) newLabel.value = String(entry?.label ?? betterLabel(index));
};

const drawDetail = () => {
  const index = current();
  const [title, place_] = [byId("detail-row"), byId("detail-place")];
  const isNone = index === null;
  byId("detail").classList.toggle("empty", isNone);
  title.textContent = isNone ? "No row" : `Row ${data.row[index]}`;
  place_.textContent = isNone
    ? "No row of the list fits the filter."
    : [nameOf(index), `${count(place + 1)} of ${count(listed.length)}`].filter((text) => text !== "").join(" · ");
  byId("detail-claim").replaceChildren(...(isNone ? [] : claimText(index)));
  const contents = isNone ? null : detailOf[data.contents?.kind]?.(index);
  byId("detail-contents").replaceChildren(...(contents ? [contents] : []));
  byId("detail-numbers").textContent = isNone ? "" : numbersText(index);
  drawDecision();
};
