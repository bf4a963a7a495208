// The list of rows: only those in view are elements, however many there are.

const listElement = byId("list");
const itemsElement = byId("all-items");
// Beyond those in view, above and below.
const nSpare = 4;
// Elements in use, by their place in the list.
const items = new Map();

// Indices of the listed rows, and the place of the selected one; -1: none.
let listed = [];
let place = -1;

const itemHeight = () => {
  const height = parseFloat(getComputedStyle(listElement).getPropertyValue("--item"));
  return height * parseFloat(getComputedStyle(document.documentElement).fontSize);
};
let height = itemHeight();

const makeItem = () => {
  const item = element("div", { className: "item", role: "option" });
  item.parts = {
    image: data.contents?.kind === "images"
      ? element("img", { alt: "", decoding: "async", className: data.contents.isCrisp ? "crisp" : "" })
      : null,
    row: element("strong"),
    name: element("span", { className: "name" }),
    claim: element("span", { className: "claim" }),
    claimed: document.createTextNode(""),
    likely: document.createTextNode(""),
    suspicion: element("span", { className: "suspicion" }),
    decision: element("span", { className: "decision" }),
  };
  const { image, row, name, claim, suspicion: wrong, decision } = item.parts;
  if (image) item.append(image);
  // An arrow for the eye, words for the ear.
  claim.append(
    element("span", { className: "said" }, "claimed "), item.parts.claimed,
    element("span", { "aria-hidden": "true" }, " → "),
    element("span", { className: "said" }, ", likelier "), item.parts.likely,
  );
  item.append(
    element("span", { className: "texts" }, element("span", { className: "first" }, row, name), claim),
    element("span", { className: "state" }, wrong, decision),
  );
  return item;
};

const fillItem = (item, at) => {
  const index = listed[at];
  const { image, row, name, claimed, likely, suspicion: wrong, decision } = item.parts;
  item.id = `item-${at}`;
  item.place = at;
  item.style.transform = `translateY(${at * height}px)`;
  item.setAttribute("aria-posinset", at + 1);
  item.setAttribute("aria-setsize", listed.length);
  item.setAttribute("aria-selected", at === place);
  if (image) {
    const source = imageOf(data.row[index]);
    // Reading image.src would write the whole address anew.
    if (item.source !== source) {
      item.source = source;
      image.hidden = source === null;
      if (source === null) image.removeAttribute("src");
      else image.src = source;
    }
  }
  row.textContent = `Row ${data.row[index]}`;
  name.textContent = snippetOf(index);
  const isSame = data.claimed[index] === data.likely[index];
  claimed.data = className(data.claimed[index]);
  likely.data = isSame ? "the same, but unlike it" : className(data.likely[index]);
  wrong.textContent = suspicion(index);
  const entry = decisions.get(data.row[index]);
  decision.textContent = decisionText(entry);
  decision.dataset.decision = entry?.decision ?? "";
};

// Draws what is in view. Elements that went out of view are used again.
const drawList = () => {
  const first = Math.max(0, Math.floor(listElement.scrollTop / height) - nSpare);
  const nShown = Math.ceil(listElement.clientHeight / height) + 2 * nSpare;
  const last = Math.min(listed.length, first + nShown);
  const free = [];
  for (const [at, item] of items) {
    if (at < first || at >= last) {
      items.delete(at);
      free.push(item);
    }
  }
  for (let at = first; at < last; at += 1) {
    if (items.has(at)) continue;
    const item = free.pop() ?? makeItem();
    fillItem(item, at);
    if (item.parentNode === null) itemsElement.append(item);
    items.set(at, item);
  }
  for (const item of free) item.remove();
  if (items.has(place)) listElement.setAttribute("aria-activedescendant", `item-${place}`);
  else listElement.removeAttribute("aria-activedescendant");
};

// Fills all elements again, after the list or decisions changed.
const redrawList = () => {
  itemsElement.style.height = `${listed.length * height}px`;
  for (const item of items.values()) item.remove();
  items.clear();
  drawList();
};

const scrollToPlace = () => {
  const top = place * height;
  const bottom = top + height - listElement.clientHeight;
  if (listElement.scrollTop > top) listElement.scrollTop = top;
  else if (listElement.scrollTop < bottom) listElement.scrollTop = bottom;
};

const select = (at) => {
  const before = items.get(place);
  place = listed.length === 0 ? -1 : Math.max(0, Math.min(listed.length - 1, at));
  before?.setAttribute("aria-selected", false);
  if (place >= 0) scrollToPlace();
  drawList();
  items.get(place)?.setAttribute("aria-selected", true);
  drawDetail();
};

let isDrawing = false;
listElement.addEventListener("scroll", () => {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    drawList();
  });
}, { passive: true });
listElement.addEventListener("click", (event) => {
  const item = event.target.closest(".item");
  if (item) select(item.place);
});
new ResizeObserver(() => {
  height = itemHeight();
  redrawList();
}).observe(listElement);
