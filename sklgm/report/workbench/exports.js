// Files: decisions.csv, which sklgm reads, and tasks for Label Studio.

// As sklgm writes its lists: spreadsheets must not take a name for a formula.
const formulaStart = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/;
const inert = (text) =>
  formulaStart.test(text) && (text.trim() === "" || Number.isNaN(Number(text)))
    ? `'${text}`
    : text;
const csvCell = (value) => {
  const text = inert(String(value));
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};
const csvText = (lines) =>
  lines.map((line) => line.map(csvCell).join(",")).join("\r\n") + "\r\n";

// One line per decision, in the order of the rows.
const decisionLines = () => {
  const isNamed = data.name !== null;
  const header = ["row", ...(isNamed ? ["name"] : []), "claimed_label", "decision", "new_label"];
  const rows = [...decisions.keys()].sort((a, b) => a - b);
  const lines = rows.map((row) => {
    const { decision, label, claimed, name } = decisions.get(row);
    return [
      row,
      ...(isNamed ? [name] : []),
      data.labels[claimed],
      decision,
      label === null ? "" : data.labels[label],
    ];
  });
  return [header, ...lines];
};

// Lines of a CSV file as objects; quoted cells may hold anything.
const parseCsv = (text) => {
  // Spreadsheets write other separators than commas in some languages.
  const firstLine = text.slice(0, text.search(/[\r\n]|$/));
  const count = (mark) => firstLine.split(mark).length;
  const separator = [",", ";", "\t", "|"].reduce((a, b) => (count(b) > count(a) ? b : a));
  const lines = [[""]];
  let isQuoted = false;
  for (let i = text.charCodeAt(0) === 0xfeff ? 1 : 0; i < text.length; i += 1) {
    const line = lines.at(-1);
    const letter = text[i];
    if (isQuoted && letter === '"' && text[i + 1] === '"') {
      line[line.length - 1] += '"';
      i += 1;
    } else if (letter === '"') isQuoted = !isQuoted;
    else if (isQuoted) line[line.length - 1] += letter;
    else if (letter === separator) line.push("");
    else if (letter === "\n") lines.push([""]);
    else if (letter !== "\r") line[line.length - 1] += letter;
  }
  const [header = [], ...rest] = lines.filter((line) => line.length > 1 || line[0] !== "");
  const names = header.map((name) => name.trim().toLowerCase());
  return rest.map((line) => Object.fromEntries(names.map((name, j) => [name, line[j]])));
};

// Entries of a decisions.csv, and how many lines do not fit these data.
const readDecisions = (text) => {
  const entries = [];
  let nRefused = 0;
  const labelIndex = (text) => data.labels.findIndex((label) => inert(label) === inert(text));
  const lines = parseCsv(text);
  if (lines.length > 0 && !("row" in lines[0] && "decision" in lines[0])) {
    return { entries, nRefused: lines.length };
  }
  for (const line of lines) {
    const decision = (line.decision ?? "").trim().toLowerCase();
    if (decision === "") continue;
    const row = /^\d+$/.test(line.row ?? "") ? Number(line.row) : -1;
    const index = indexOfRow.get(row);
    const claimed = line.claimed_label === undefined && index !== undefined
      ? data.claimed[index]
      : labelIndex(line.claimed_label ?? "");
    // As sklgm reads it: the new label, or the likelier one of the list itself.
    const said = line.new_label || line.likely_label
      || data.labels[index === undefined ? -1 : betterLabel(index)] || "";
    const label = decision === "relabel" ? labelIndex(said) : null;
    const name = index === undefined ? line.name ?? "" : nameOf(index);
    const isOther = index !== undefined && claimed !== data.claimed[index];
    if (isOther || label === claimed || !isEntry([row, decision, label, claimed, name])) nRefused += 1;
    else entries.push([row, { decision, label, claimed, name }]);
  }
  return { entries, nRefused };
};

// Label Studio calls the data of a task by the kind of what is shown.
const taskKinds = {
  images: { tag: "Image", name: "image" },
  texts: { tag: "Text", name: "text" },
  table: { tag: "Table", name: "table" },
};
const taskKind = () => taskKinds[data.contents?.kind] ?? taskKinds.texts;

const taskData = (index) => {
  const row = data.row[index];
  const extra = { row, claimed_label: data.labels[data.claimed[index]] };
  if (data.name !== null) extra.name = nameOf(index);
  const contents = data.contents;
  if (contents?.kind === "images") {
    // The file, if Label Studio serves its folder; else the image itself.
    const image = data.name === null
      ? imageOf(row)
      : `/data/local-files/?d=${encodeURIComponent(nameOf(index)).replaceAll("%2F", "/")}`;
    return { image, ...extra };
  }
  if (contents?.kind === "texts") return { text: contents.texts[index], ...extra };
  if (contents?.kind === "table") {
    const cells = contents.cells[index].map(([j, value]) => [contents.columns[j].name, value]);
    return { table: Object.fromEntries(cells), ...extra };
  }
  return { text: nameOf(index) || `row ${row}`, ...extra };
};

const choiceOf = (k) => [{
  from_name: "label",
  to_name: taskKind().name,
  type: "choices",
  value: { choices: [data.labels[k]] },
}];

const labelStudioTasks = (indices) =>
  indices.map((index) => {
    const task = {
      data: taskData(index),
      predictions: [{
        model_version: "sklgm",
        score: data.wrong === null ? 1 - data.p[index] : data.wrong[index],
        result: choiceOf(data.likely[index]),
      }],
    };
    const entry = decisions.get(data.row[index]);
    if (entry?.decision === "keep") {
      task.annotations = [{ result: choiceOf(data.claimed[index]) }];
    } else if (entry?.decision === "relabel") {
      task.annotations = [{ result: choiceOf(entry.label) }];
    }
    return task;
  });

const labelStudioConfig = () => {
  const escaped = (text) =>
    text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
  const { tag, name } = taskKind();
  const choices = data.labels.map((label) => `    <Choice value="${escaped(label)}"/>`);
  return [
    "<View>",
    `  <${tag} name="${name}" value="$${name}"/>`,
    `  <Choices name="label" toName="${name}" choice="single" showInline="true">`,
    ...choices,
    "  </Choices>",
    "</View>",
  ].join("\n");
};

const saveFile = (name, type, text) => {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = element("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
};
