// Images and texts, which belong together, and what is nearest to each in every space.
const OTHER = { image: "text", text: "image" };

function itemsOf(told) {
  const { image, text } = told.pairs;
  const lists = { image: told.images.map(() => []), text: told.texts.map(() => []) };
  for (let pair = 0; pair < image.length; pair++) {
    lists.image[image[pair]].push({ row: text[pair], pair });
    lists.text[text[pair]].push({ row: image[pair], pair });
  }
  const folded = told.texts.map((caption) => fold(caption));
  return {
    ...told,
    size: (kind) => lists[kind].length,
    textsOf: (row) => lists.image[row] || [],
    partners: (kind, row) => lists[kind][row],
    /** [{row, cosine, own}], nearest first; empty where the space has none. */
    nearest(space, kind, row) {
      const table = told.spaces[space].nearest[kind];
      if (!table) return [];
      const own = new Set(lists[kind][row].map((partner) => partner.row));
      const width = table.row.shape[1];
      return Array.from({ length: width }, (_, place) => {
        const found = table.row.data[row * width + place];
        return { row: found, cosine: table.cosine.data[row * width + place] / 10000, own: own.has(found) };
      });
    },
    /** Rank of the first own partner; undefined where it is not known or there is none. */
    rank: (space, kind, row) => (told.spaces[space].rank[kind] || [])[row] || undefined,
    cosine: (space, pair) => told.spaces[space].cosine[pair] / 10000,
    /** Rows of the texts that hold every word of the query: first those in which all begin a word. */
    search(query) {
      const asked = fold(query).split(/\s+/).filter(Boolean);
      if (!asked.length) return [];
      const found = [...folded.keys()].filter((row) => asked.every((word) => folded[row].includes(word)));
      const begins = (row) => asked.every((word) => ` ${folded[row]}`.includes(` ${word}`));
      return [...found.filter(begins), ...found.filter((row) => !begins(row))];
    },
  };
}

/** Letters without case and accents, so that "cafe" finds "Café". */
const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
