// The gallery's search as you type. Without this script the form is sent, and the server does the same
// (grantkeeper.web.gallery).
"use strict";
(() => {
  const form = document.getElementById("search");
  const field = form.elements.search;
  const told = document.getElementById("found");
  const none = document.getElementById("none");
  const groups = Array.from(document.querySelectorAll(".category"), (section) => ({
    section,
    link: document.querySelector(`.categories a[href="#${section.id}"]`).parentElement,
    count: section.querySelector(".count"),
    offers: Array.from(section.querySelectorAll(".offer")),
  }));
  const total = groups.reduce((sum, group) => sum + group.offers.length, 0);
  let waiting;

  // As the server compares: no accents, no capitals.
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

  const show = () => {
    const words = plain(field.value).split(/\s+/).filter(Boolean);
    let found = 0;
    for (const group of groups) {
      let here = 0;
      for (const offer of group.offers) {
        offer.hidden = !words.every((word) => offer.dataset.searched.includes(word));
        here += offer.hidden ? 0 : 1;
      }
      group.section.hidden = group.link.hidden = here === 0;
      group.count.textContent = String(here);
      found += here;
    }
    none.hidden = found > 0;
    return found;
  };

  // Read out, and kept for whoever comes back, once the typing pauses.
  const settle = (found) => {
    told.textContent = found === total ? `${total} services` : `${found} of ${total} services`;
    const query = field.value.trim() ? `?${new URLSearchParams({ search: field.value })}` : location.pathname;
    history.replaceState(null, "", query);
  };

  field.addEventListener("input", () => {
    const found = show();
    clearTimeout(waiting);
    waiting = setTimeout(settle, 250, found);
  });

  // Enter goes to the first that was found.
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    document.querySelector(".offer:not([hidden]) .button")?.focus();
  });

  form.querySelector("button").hidden = true;
  show();
})();
