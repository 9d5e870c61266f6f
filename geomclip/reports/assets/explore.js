// Search, the chosen item with its neighbours, and the tip at the pointer.
const SHOWN = 60;

function explorer(items) {
  const byId = (id) => document.getElementById(id);
  const [search, found, hits, chosen, tip, part] = ["search", "found", "hits", "chosen", "tip", "area"].map(byId);
  const cards = [...document.querySelectorAll("button.card")];
  const names = { image: "image", text: items.classes ? "class" : "text" };
  const maps = [];
  const before = []; // what was chosen earlier
  let current = null;
  let matches = [];
  let area = null; // images and texts inside of a line that was drawn on a map

  function mark() {
    for (const map of maps) map.mark(marks);
  }
  function marks(space, kind) {
    const marked = new Map(area ? [...area[kind]].map((row) => [row, "area"]) : []);
    if (kind === "text") for (const row of matches) marked.set(row, "hit");
    if (current && current.kind !== kind) {
      for (const { row } of items.nearest(space, current.kind, current.row)) marked.set(row, "near");
    }
    if (current && current.kind === kind) {
      marked.delete(current.row); // it is drawn last, above the others
      marked.set(current.row, "chosen");
    }
    return marked;
  }

  /** Whether an item, or a partner of it, lies in the area; all do where there is none. */
  const within = (kind, row) =>
    !area || area[kind].has(row) || items.partners(kind, row).some((partner) => area[OTHER[kind]].has(partner.row));

  function choosePart(inside) {
    area = inside && inside.image.size + inside.text.size ? inside : null;
    part.hidden = !area;
    if (area) {
      const plural = items.classes ? "classes" : "texts";
      const told = `In the area: ${count(area.image.size)} images, ${count(area.text.size)} ${plural}. The lists below show these and their partners.`;
      part.replaceChildren(small(told), element("button", { type: "button", text: "Clear", click: () => choosePart(null) }));
    }
    for (const card of cards) card.hidden = !within(card.dataset.kind, Number(card.dataset.row));
    for (const gallery of document.querySelectorAll(".gallery")) {
      gallery.classList.toggle("empty", !gallery.querySelector("button.card:not([hidden])"));
    }
    look();
  }

  function look() {
    matches = items.search(search.value).filter((row) => within("text", row));
    const asked = search.value.trim();
    const listed = asked ? matches : [...items.texts.keys()].filter((row) => within("text", row));
    const shown = listed.slice(0, SHOWN);
    hits.replaceChildren(...shown.map((row) => line("text", row, [])));
    const more = listed.length > shown.length ? `, the first ${count(shown.length)} listed` : "";
    const what = items.classes ? "classes" : "texts";
    const all = `${count(items.texts.length)} ${what}`;
    found.textContent = (asked || area ? `${count(listed.length)} of ${all}` : all) + (area ? " in the area" : "") + more;
    mark();
  }

  /** A list item whose button chooses an image or a text. */
  function line(kind, row, told, own = false) {
    const image = kind === "image" ? row : items.classes ? null : (items.partners("text", row)[0] || {}).row;
    const label = kind === "image" ? items.images[row] : items.texts[row];
    const captions = kind === "image" && !items.classes ? items.textsOf(row).slice(0, 1).map((each) => items.texts[each.row]) : [];
    const button = element(
      "button",
      { type: "button", class: own ? "item own" : "item", click: () => choose(kind, row) },
      thumbnail(items, image),
      element("span", { class: "said" }, words(captions[0] || label), ...told),
    );
    return element("li", {}, button);
  }
  const small = (text, kind = "told") => element("span", { class: kind, text });

  /** Show an item; `step` says that it comes from here, and the way back is kept. */
  function choose(kind, row, { back = false } = {}) {
    if (current && !back) before.push(current);
    current = { kind, row };
    const heading = element("h3", { tabindex: "-1" }, element("span", { class: `dot ${kind}` }), `Chosen ${names[kind]}`);
    const parts = [element("div", { class: "head" }, heading, backButton()), ...portrait(kind, row)];
    items.spaces.forEach((space, index) => parts.push(...neighbours(space, index, kind, row)));
    chosen.replaceChildren(...parts);
    mark();
    for (const map of maps) map.reveal(kind, row);
    heading.focus({ preventScroll: true });
    chosen.scrollIntoView({ block: "nearest" });
  }
  function backButton() {
    if (!before.length) return null;
    const click = () => {
      const last = before.pop();
      choose(last.kind, last.row, { back: true });
    };
    return element("button", { type: "button", text: "Back", click });
  }

  function portrait(kind, row) {
    const partners = items.partners(kind, row);
    if (kind === "image") {
      const own = partners.slice(0, SHOWN).map(({ row: text, pair }) => line("text", text, [cosines(pair)], true));
      const heading = items.classes ? "Its class" : "Its texts";
      return [
        element("div", { class: "portrait" }, thumbnail(items, row), words(items.images[row], "id")),
        ...(own.length ? [element("h4", { text: heading }), element("ol", { class: "items" }, ...own)] : []),
      ];
    }
    const lead = element("p", { class: "caption" }, words(items.texts[row]));
    if (items.classes) return [lead, element("p", { class: "note", text: `${count(partners.length)} images` })];
    const own = partners.map(({ row: image, pair }) => line("image", image, [cosines(pair)], true));
    return [lead, element("h4", { text: "Its image" }), element("ol", { class: "items" }, ...own)];
  }
  const cosines = (pair) =>
    small(`cosine ${items.spaces.map((_, space) => items.cosine(space, pair).toFixed(4)).join(" → ")}`);

  function neighbours(space, index, kind, row) {
    const near = items.nearest(index, kind, row);
    if (!near.length) return [];
    const other = OTHER[kind];
    const plural = items.classes && other === "text" ? "classes" : `${other}s`;
    const rows = near.map((each, place) =>
      line(other, each.row, [small(`${place + 1}. cosine ${each.cosine.toFixed(4)}`), each.own ? small("own", "mark") : null].filter(Boolean), each.own),
    );
    const rank = items.rank(index, kind, row);
    const partner = items.classes ? "own class" : kind === "image" ? "first own text" : "own image";
    const within = near.findIndex((each) => each.own) + 1;
    const at = rank ? `${partner} at rank ${count(rank)}` : within ? `${partner} in place ${within}` : `${partner} not among these`;
    const title = `Nearest ${plural}${space.name ? `, ${space.name}` : ""}`;
    return [
      element("h4", { text: title }),
      items.partners(kind, row).length ? element("p", { class: "note", text: at }) : element("p", { class: "note", text: "has no partner" }),
      element("ol", { class: "items near" }, ...rows),
    ];
  }

  function hover(kind, row) {
    const image = kind === "image" ? row : items.classes ? null : (items.partners("text", row)[0] || {}).row;
    const lines = kind === "text" ? [items.texts[row]] : items.textsOf(row).slice(0, 3).map((each) => items.texts[each.row]);
    tip.replaceChildren(
      ...[thumbnail(items, image)].filter(Boolean),
      element("span", { class: "said" }, small(kind === "image" ? `image ${items.images[row]}` : names.text), ...lines.map((text) => words(text))),
    );
    tip.hidden = false;
  }
  const leave = () => (tip.hidden = true);
  document.addEventListener("pointermove", ({ clientX, clientY }) => {
    if (tip.hidden) return;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(clientX + 14, window.innerWidth - width - 8))}px`;
    tip.style.top = `${clientY + 18 + height > window.innerHeight ? Math.max(8, clientY - height - 14) : clientY + 18}px`;
  });

  let waiting = null;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(look, items.texts.length > 5000 ? 150 : 30);
  });
  for (const card of cards) {
    const [kind, row, image] = ["kind", "row", "image"].map((name) => card.dataset[name]);
    const picture = image === undefined ? null : thumbnail(items, Number(image));
    if (picture) card.prepend(picture);
    card.addEventListener("click", () => choose(kind, Number(row)));
  }
  look();
  return {
    async add(drawn) {
      maps.push(await mapOf(drawn, { hover, leave, click: (kind, row) => choose(kind, row), area: choosePart }));
      mark();
    },
  };
}
