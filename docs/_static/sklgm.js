// Names and roles that axe-core misses in what the theme, docutils and the gallery write,
// and wide pictures, which scroll on a phone.
document.addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll(".version-switcher__button")) {
    button.removeAttribute("aria-label"); // its text names it
  }
  for (const list of document.querySelectorAll("div.citation-list[role=list]")) {
    list.removeAttribute("role"); // its entries are not list items
  }
  for (const link of document.querySelectorAll(".sphx-glr-thumbcontainer a.internal")) {
    link.setAttribute("aria-label", link.textContent.trim()); // its text is hidden
  }
  for (const figure of document.querySelectorAll(".bd-article figure")) {
    const image = figure.querySelector("img");
    const mark = () => {
      if (image.naturalWidth <= 560) return;
      figure.classList.add("wide");
      figure.tabIndex = 0; // for the keyboard
    };
    if (image?.complete) mark();
    else image?.addEventListener("load", mark);
  }
});
