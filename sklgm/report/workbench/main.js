// Filters, keys and buttons; what one of them changes is drawn again.

const hasReason = ([name]) => data.reasons.some((bits) => bits & reasons[name]);
const reasonNames = [
  ["suspect", "suspects"],
  ["toCheck", "rows that settle most"],
  ["duplicate", "duplicates with different labels"],
  ["rare", "labels too rare to judge"],
].filter((reason) => reason[0] === "suspect" || hasReason(reason));

// Suspects, if there are any; else what else there is to check.
const wholeList = () => ({
  rate: data.audited,
  reason: (reasonNames.find(hasReason) ?? reasonNames[0])[0],
  decision: "",
  claimed: "",
  likely: "",
  text: "",
});
const filter = wholeList();
const searched = data.row.map((row, index) =>
  [
    row,
    nameOf(index),
    className(data.claimed[index]),
    className(data.likely[index]),
    snippetOf(index),
  ].join(" ").toLowerCase());

// Whether a row is shown at the chosen rate, or is of the chosen kind.
const isWanted = (index) => {
  if (filter.reason !== "suspect") return (data.reasons[index] & reasons[filter.reason]) > 0;
  if (filter.rate === data.audited) return (data.reasons[index] & reasons.suspect) > 0;
  return data.q[index] <= data.rates[filter.rate];
};

const fitsDecision = (index) => {
  const found = decisions.get(data.row[index])?.decision ?? "none";
  return filter.decision === "" || found === filter.decision;
};

const all = Array.from({ length: nItems }, (_, index) => index);
// Rows at the chosen rate; the progress counts these, whatever else is filtered.
let wanted = [];

const say = (text) => {
  byId("said").textContent = text;
};

const drawProgress = () => {
  const done = wanted.filter((index) => decisions.has(data.row[index])).length;
  const progress = byId("progress");
  progress.max = Math.max(1, wanted.length);
  progress.value = done;
  byId("progress-text").textContent = `${count(done)} of ${count(wanted.length)} decided`;
  const download = byId("download");
  download.textContent = decisions.size === 0
    ? "Download decisions.csv"
    : `Download decisions.csv (${count(decisions.size)})`;
  download.disabled = decisions.size === 0;
  byId("undo").disabled = history.length === 0;
  byId("clear").disabled = decisions.size === 0;
  const storage = byId("storage");
  storage.hidden = isStored;
  storage.textContent = "This browser does not keep decisions: download them before you close the page.";
};

const expectedText = () => {
  const shown = listed.length;
  const text = shown === wanted.length ? plural(shown, "row") : `${count(shown)} of ${plural(wanted.length, "row")}`;
  if (shown === 0) return `${text}.`;
  if (data.wrong === null) {
    const worst = Math.max(...listed.map((index) => data.q[index]));
    const right = Math.ceil(worst * shown);
    return filter.reason === "suspect"
      ? `${text}; at most about ${plural(right, "right label")} expected among them.`
      : `${text}.`;
  }
  const right = listed.reduce((sum, index) => sum + 1 - data.wrong[index], 0);
  return `${text}; about ${right < 10 ? right.toFixed(1) : count(Math.round(right))} with right labels expected among them.`;
};

const drawRate = () => {
  const isOwn = filter.rate === data.audited;
  const rate = data.rates[filter.rate];
  const text = percent(rate, rate < 0.01 || rate === 0.075 ? 1 : 0);
  const slider = byId("filter-rate");
  slider.disabled = filter.reason !== "suspect";
  byId("rate-text").textContent = isOwn ? `${text} (as audited: ${data.rule})` : text;
  slider.setAttribute("aria-valuetext", byId("rate-text").textContent);
};

// Filters again; keeps the selected row selected where it is still listed, else the one
// that took its place.
const refilter = (keptIndex = current()) => {
  const text = filter.text.trim().toLowerCase();
  wanted = all.filter(isWanted);
  const before = wanted.filter((index) => fitsDecision(index) && searched[index].includes(text));
  listed = before.filter((index) =>
    (filter.claimed === "" || data.claimed[index] === Number(filter.claimed))
    && (filter.likely === "" || data.likely[index] === Number(filter.likely)));
  const at = listed.indexOf(keptIndex);
  place = -1;
  redrawList();
  const next = listed.findIndex((index) => index > keptIndex);
  select(at >= 0 ? at : keptIndex === null || next < 0 ? 0 : next);
  drawRate();
  byId("expected").textContent = expectedText();
  drawProgress();
  drawMatrixSoon(before);
};

const controls = {
  rate: byId("filter-rate"),
  reason: byId("filter-reason"),
  decision: byId("filter-decision"),
  claimed: byId("filter-claimed"),
  likely: byId("filter-likely"),
  text: byId("filter-text"),
};

const showFilter = () => {
  for (const [name, control] of Object.entries(controls)) control.value = String(filter[name]);
};

const filterPair = (claimed, likely) => {
  [filter.claimed, filter.likely] = [claimed, likely];
  showFilter();
  refilter();
  byId("workbench").scrollIntoView({ block: "nearest" });
};

const redrawDecisions = (rows) => {
  const changed = new Set(rows);
  for (const [at, item] of items) {
    if (changed.has(data.row[listed[at]])) fillItem(item, at);
  }
  drawDecision();
  drawProgress();
};

// Decides on the selected row and goes on to the next one.
const decideHere = (chosen) => {
  const index = current();
  if (index === null) return;
  // To give a row the label that it has is to keep it.
  const isKept = chosen === "relabel" && Number(newLabel.value) === data.claimed[index];
  const decision = isKept ? "keep" : chosen;
  const label = decision === "relabel" ? Number(newLabel.value) : null;
  const isSet = decide(index, decision, label);
  const text = isSet ? decisionText(decisions.get(data.row[index])) : "no decision";
  if (filter.decision !== "") refilter();
  else {
    redrawDecisions([data.row[index]]);
    if (isSet && place < listed.length - 1) select(place + 1);
  }
  const next = current();
  const onwards = next === null || next === index ? "" : ` Now row ${data.row[next]}, claims ${className(data.claimed[next])}.`;
  say(`Row ${data.row[index]}: ${text}.${onwards}`);
};

const undoHere = () => {
  const rows = undo();
  if (rows.length === 0) {
    say("Nothing to undo.");
    return;
  }
  if (filter.decision !== "") refilter();
  else redrawDecisions(rows);
  const at = rows.length === 1 ? listed.indexOf(indexOfRow.get(rows[0])) : -1;
  if (at >= 0) select(at);
  say(`Undone: ${rows.length === 1 ? `row ${rows[0]}` : plural(rows.length, "row")}.`);
};

for (const name of ["claimed", "likely"]) {
  const control = controls[name];
  control.append(element("option", { value: "" }, "all"));
  for (const k of [...new Set(data[name])].sort((a, b) => a - b)) {
    control.append(element("option", { value: String(k) }, className(k)));
  }
}
for (const [name, text] of reasonNames) {
  controls.reason.append(element("option", { value: name }, text));
}
controls.rate.max = String(data.rates.length - 1);
for (const [name, control] of Object.entries(controls)) {
  control.addEventListener("input", () => {
    filter[name] = name === "rate" ? Number(control.value) : control.value;
    refilter();
  });
}
byId("filter-reset").addEventListener("click", () => {
  Object.assign(filter, wholeList());
  showFilter();
  refilter();
});

for (const button of document.querySelectorAll("[data-decision].button")) {
  button.addEventListener("click", () => decideHere(button.dataset.decision));
}
newLabel.addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    event.preventDefault();
    decideHere("relabel");
    listElement.focus();
  }
});
byId("undo").addEventListener("click", undoHere);
byId("download").addEventListener("click", () => {
  saveFile("decisions.csv", "text/csv", csvText(decisionLines()));
  isDownloaded = true;
});
byId("label-config").value = labelStudioConfig();
byId("label-studio").addEventListener("click", () => {
  saveFile("label-studio-tasks.json", "application/json", JSON.stringify(labelStudioTasks(listed), null, 1));
});
byId("clear").addEventListener("click", () => {
  decideAll([...decisions.keys()].map((row) => [row, undefined]));
  refilter();
  say("All decisions are deleted; undo brings them back.");
});
byId("load").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (file === undefined) return;
  const { entries, nRefused } = readDecisions(await file.text());
  event.target.value = "";
  if (entries.length > 0) decideAll(entries);
  refilter();
  const refused = nRefused === 0 ? "" : ` ${plural(nRefused, "line")} did not fit these data and ${nRefused === 1 ? "was" : "were"} left out.`;
  say(`${plural(entries.length, "decision")} loaded.${refused}`);
});

// Keys: letters anywhere but where text is written, arrows where the list is meant.
const decisionKeys = { k: "keep", r: "relabel", d: "drop", u: "unsure" };
const isWriting = (target) =>
  target.matches("textarea, select, input:not([type=range]):not([type=checkbox])");
const isListInView = () => {
  const { top, bottom } = listElement.getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
};
const moves = (key) => {
  const page = Math.max(1, Math.floor(listElement.clientHeight / height) - 1);
  return {
    ArrowDown: place + 1, ArrowUp: place - 1, ArrowRight: place + 1, ArrowLeft: place - 1,
    PageDown: place + page, PageUp: place - page, Home: 0, End: listed.length - 1,
  }[key];
};
document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (isWriting(target)) return;
  const letter = key.toLowerCase();
  const isUndo = (event.ctrlKey || event.metaKey) && letter === "z" && !event.shiftKey;
  const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
  const isHere = isListInView();
  if (isUndo) undoHere();
  else if (!isPlain || !isHere) return;
  else if (byId("keys").checked && letter === "z") undoHere();
  else if (byId("keys").checked && letter in decisionKeys) decideHere(decisionKeys[letter]);
  else {
    const isList = target === listElement || target === document.body;
    const isAction = target.closest(".actions") !== null && key.startsWith("Arrow");
    const at = isList || isAction ? moves(key) : undefined;
    if (at === undefined) return;
    select(at);
  }
  event.preventDefault();
});

// The menu closes as menus do.
const menu = document.querySelector(".menu");
document.addEventListener("click", ({ target }) => {
  if (!menu.contains(target)) menu.open = false;
});
menu.addEventListener("keydown", ({ key }) => {
  if (key !== "Escape") return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

// Another tab of the same data.
addEventListener("storage", (event) => {
  if (event.key !== storageKey && event.key !== null) return;
  decisions = readStored();
  history.length = 0;
  refilter();
});
addEventListener("beforeunload", (event) => {
  if (!isStored && !isDownloaded && decisions.size > 0) event.preventDefault();
});

// On paper the list has no scroll bar: all its rows are printed, up to a limit.
const maxPrinted = 1000;
addEventListener("beforeprint", () => {
  const head = ["Row", ...(data.name === null ? [] : ["Name"]), "Claimed", "Likelier", "Probably wrong", "Decision"];
  const body = element("tbody");
  for (const index of listed.slice(0, maxPrinted)) {
    const cells = [
      ...(data.name === null ? [] : [nameOf(index)]),
      className(data.claimed[index]), className(data.likely[index]),
      suspicion(index), decisionText(decisions.get(data.row[index])),
    ];
    body.append(element("tr", {},
      element("th", { scope: "row" }, String(data.row[index])),
      ...cells.map((text) => element("td", {}, text))));
  }
  byId("print-list").replaceChildren(
    element("h2", {}, "Suspects"),
    element("p", {}, byId("expected").textContent),
    element("table", {},
      element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))),
      body));
});

// Rows of pairs lead to the list, with their images.
for (const span of document.querySelectorAll(".pairs [data-row]")) {
  const row = Number(span.dataset.row);
  const index = indexOfRow.get(row);
  const image = picture(row, "", "thumbnail");
  if (index !== undefined) {
    const button = element("button", { type: "button", className: "link" }, span.textContent);
    button.addEventListener("click", () => {
      const found = reasonNames.find(([name]) => data.reasons[index] & reasons[name]);
      Object.assign(filter, { decision: "", claimed: "", likely: "", text: "" });
      if (found) [filter.reason, filter.rate] = [found[0], data.audited];
      else [filter.reason, filter.rate] = ["suspect", data.rates.length - 1];
      showFilter();
      refilter(index);
      byId("workbench").scrollIntoView({ block: "start" });
      listElement.focus({ preventScroll: true });
    });
    span.replaceChildren(button);
  }
  if (image) span.prepend(image);
}

// On a phone the filter would push the list off the first screen.
if (matchMedia("(max-width: 50rem)").matches) byId("filters").open = false;
byId("workbench").hidden = false;
showFilter();
tryStorage();
refilter(null);
