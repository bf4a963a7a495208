// Names and roles that axe-core misses in what the theme, docutils and the gallery write.
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
});
