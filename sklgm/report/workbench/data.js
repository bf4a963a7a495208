// The audit, as Python wrote it into the page, and how its values are written.

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const nItems = data.row.length;
const indexOfRow = new Map(data.row.map((row, index) => [row, index]));

// Why a row is listed, as bits.
const reasons = { suspect: 1, toCheck: 2, duplicate: 4, rare: 8 };

const className = (k) => data.classes[k];

// The label to give to a row: the likelier one. Where that is the claimed one, the next.
const betterLabel = (index) => {
  const isOther = (k) => k !== data.claimed[index];
  return [data.likely[index], ...(data.top?.[index].map(([k]) => k) ?? []), 0, 1].find(isOther);
};
const nameOf = (index) => (data.name === null ? "" : data.name[index]);

// What a row is known by beside its number: the text that it holds, or its name.
const textColumn = data.contents?.columns?.findIndex(({ kind }) => kind === "text") ?? -1;
const snippetOf = (index) => {
  if (data.contents?.kind === "texts") return data.contents.texts[index];
  const cell = data.contents?.cells?.[index].find(([j]) => j === textColumn);
  return cell?.[1] ?? nameOf(index);
};

const count = (n) => n.toLocaleString("en");
const plural = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;

// A space that no line break parts.
const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}\u00a0%`;

// Never rounded to certainty.
const probability = (p) => {
  if (p > 0.99 && p < 1) return ">\u00a099\u00a0%";
  if (p > 0 && p < 0.01) return "<\u00a01\u00a0%";
  return percent(p);
};

// How suspect a row is, short: a probability, or against trusted rows a p-value.
const suspicion = (index) =>
  data.wrong === null
    ? `p\u00a0=\u00a0${data.p[index].toPrecision(2)}`
    : probability(data.wrong[index]);

// Elements are made of text, never of markup: names may hold anything.
const element = (tag, properties = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
};

// Long names of columns break after an underscore rather than anywhere.
const withBreaks = (text) =>
  text.split(/(?<=_)/).flatMap((part, at) => (at === 0 ? [part] : [element("wbr"), part]));

const imageOf = (row) => data.contents?.images?.[row] ?? null;

const picture = (row, alt, className_) => {
  const source = imageOf(row);
  if (source === null) return null;
  const image = element("img", { src: source, alt, className: className_ });
  image.classList.toggle("crisp", data.contents.isCrisp);
  return image;
};
