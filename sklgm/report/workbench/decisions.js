// Decisions on rows, kept in the storage of the browser, with undo.

const storageKey = `sklgm-audit-${data.key}`;

// Row number -> { decision, label, claimed, name }: label is the index of the new class
// or null, claimed that of the class the row claims. Both and the name stay with the
// decision, for the list of a later audit need not have the row.
let decisions = new Map();
// What to restore: [row, entry before, or undefined].
const history = [];
let isStored = true;
let isDownloaded = true;

const isEntry = (entry) =>
  Array.isArray(entry)
  && Number.isInteger(entry[0]) && entry[0] >= 0 && entry[0] < data.nRows
  && ["keep", "relabel", "drop", "unsure"].includes(entry[1])
  && (entry[1] === "relabel"
    ? Number.isInteger(entry[2]) && entry[2] >= 0 && entry[2] < data.classes.length
    : true)
  && Number.isInteger(entry[3]) && entry[3] >= 0 && entry[3] < data.classes.length
  && typeof entry[4] === "string";

const readStored = () => {
  try {
    const entries = JSON.parse(localStorage.getItem(storageKey) ?? "[]");
    const usable = Array.isArray(entries) ? entries.filter(isEntry) : [];
    return new Map(
      usable.map(([row, decision, label, claimed, name]) => [
        row,
        { decision, label: decision === "relabel" ? label : null, claimed, name },
      ]),
    );
  } catch {
    // Storage is off, or holds something that is no list.
    return new Map();
  }
};

const store = () => {
  const entries = [...decisions].map(([row, { decision, label, claimed, name }]) => [
    row, decision, label, claimed, name,
  ]);
  try {
    if (entries.length === 0) localStorage.removeItem(storageKey);
    else localStorage.setItem(storageKey, JSON.stringify(entries));
    isStored = true;
  } catch {
    isStored = false;
  }
};

// Whether the browser keeps anything, without a change of what it has.
const tryStorage = () => {
  try {
    localStorage.setItem(`${storageKey}-probe`, "");
    localStorage.removeItem(`${storageKey}-probe`);
    isStored = true;
  } catch {
    isStored = false;
  }
};

const setEntry = (row, entry) => {
  if (entry === undefined) decisions.delete(row);
  else decisions.set(row, entry);
};

// The same decision again takes it back.
const decide = (index, decision, label = null) => {
  const row = data.row[index];
  const before = decisions.get(row);
  const isSame = before?.decision === decision && before.label === label;
  const entry = { decision, label, claimed: data.claimed[index], name: nameOf(index) };
  history.push([[row, before]]);
  setEntry(row, isSame ? undefined : entry);
  isDownloaded = false;
  store();
  return !isSame;
};

// Several at once, undone at once.
const decideAll = (entries) => {
  history.push(entries.map(([row]) => [row, decisions.get(row)]));
  for (const [row, entry] of entries) setEntry(row, entry);
  isDownloaded = false;
  store();
};

// Returns the rows that changed.
const undo = () => {
  const changes = history.pop() ?? [];
  for (const [row, before] of changes) setEntry(row, before);
  if (changes.length > 0) {
    isDownloaded = false;
    store();
  }
  return changes.map(([row]) => row);
};

const decisionText = (entry) => {
  if (entry === undefined) return "";
  return entry.decision === "relabel"
    ? `relabel as ${className(entry.label)}`
    : entry.decision;
};

decisions = readStored();
