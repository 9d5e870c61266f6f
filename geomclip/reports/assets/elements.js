// Elements made by hand. Text enters the page only through textContent: markup in a caption is shown, never run.
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") made.textContent = value;
    else if (key === "click") made.addEventListener("click", value);
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** A caption or id, kept apart from the writing direction of its surroundings. */
const words = (text, kind = "words") => element("bdi", { class: kind, dir: "auto", text });

const count = (number) => number.toLocaleString("en");

/** The thumbnail of an image; a box where it has none; nothing where the page carries none at all. */
function thumbnail(items, row) {
  if (!items.thumbnails.length || row === undefined || row === null) return null;
  const webp = items.thumbnails[row];
  if (!webp) return element("span", { class: "thumb none", role: "img", "aria-label": "no thumbnail" });
  const alt = items.textsOf(row).slice(0, 1).map(({ row: text }) => items.texts[text])[0] || items.images[row];
  return element("img", { class: "thumb", src: `data:image/webp;base64,${webp}`, alt, decoding: "async" });
}
