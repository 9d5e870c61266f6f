// Maps: what is pointed at is told, what is chosen, found or in the area is marked, and the rest steps back.
const MARKS = {
  area: {},
  hit: { color: "#e69f00", size: 8 },
  near: { color: "#cc79a7", size: 9 },
  chosen: { color: "#ffffff", size: 15 },
};
const HALO = { color: "rgba(230, 159, 0, 0.45)", size: 34 };
const DIM = 0.22; // opacity of what is not marked
const LIFT = 1.025; // marks lie a little above the sphere, which would cut them in two
const IN_VIEW = 0.75; // cosine of the angle to the eye from which on a dot is brought nearer to the middle
const axisOf = (trace) => trace.scene || trace.xaxis || "";
/** 0 for the first scene or plane of a figure, 1 for the second. */
const spaceOf = (trace) => Math.max(0, (parseInt(axisOf(trace).replace(/\D/g, ""), 10) || 1) - 1);

/** A drawn figure that is a map: reports hover, click and area, and takes marks. */
async function mapOf(drawn, { hover, leave, click, area }) {
  const bases = drawn.data.filter((trace) => trace.meta === "image" || trace.meta === "text");
  const numbers = bases.map((trace) => drawn.data.indexOf(trace));
  const places = bases.map((trace) => new Map(Array.from(trace.customdata, (row, place) => [row, place])));
  const first = drawn.data.length;
  await window.Plotly.addTraces(drawn, [...bases.map((base) => overlay(base, "halo")), ...bases.map((base) => overlay(base, "mark"))]);
  const pointed = (event) => event.points.find((point) => ["image", "text"].includes(point.data.meta));
  drawn.on("plotly_hover", (event) => {
    const point = pointed(event);
    if (point) hover(point.data.meta, Number(point.customdata));
  });
  drawn.on("plotly_unhover", leave);
  drawn.on("plotly_click", (event) => {
    const point = pointed(event);
    if (point) click(point.data.meta, Number(point.customdata));
  });
  lasso(drawn, (inside) => {
    const found = { image: new Set(), text: new Set() };
    for (const trace of bases) {
      const at = placed(drawn, trace);
      trace.customdata.forEach((row, place) => {
        const [x, y] = at(place);
        if (inside(x, y)) found[trace.meta].add(row);
      });
    }
    area(found);
  });
  let dim = false;

  function restyle(trace, index, rows, looks) {
    const base = bases[index];
    const at = rows.map((row) => places[index].get(row));
    const lift = base.z ? LIFT : 1;
    const changes = {
      x: [at.map((place) => lift * base.x[place])],
      y: [at.map((place) => lift * base.y[place])],
      "marker.size": [looks.map(({ size }) => size ?? base.marker.size)],
      "marker.color": [looks.map(({ color }, i) => color ?? colorAt(base, at[i]))],
    };
    if (base.z) changes.z = [at.map((place) => lift * base.z[place])];
    window.Plotly.restyle(drawn, changes, [trace]);
  }

  return {
    /** marks(space, kind) gives a Map of row -> name in MARKS; the others step back where there is one. */
    mark(marks) {
      let total = 0;
      const all = bases.map((base, index) => [...marks(spaceOf(base), base.meta)].filter(([row]) => places[index].has(row)));
      all.forEach((rows, index) => {
        total += rows.length;
        const chosen = rows.filter(([, name]) => name === "chosen").map(([row]) => row);
        restyle(first + index, index, chosen, chosen.map(() => HALO));
        restyle(first + bases.length + index, index, rows.map(([row]) => row), rows.map(([, name]) => MARKS[name]));
      });
      if (dim !== total > 0) {
        dim = total > 0;
        window.Plotly.restyle(drawn, { "marker.opacity": dim ? DIM : 1 }, numbers);
      }
      drawn.dataset.marked = String(total);
    },
    /** Turn the sphere until this dot is seen, where it is not. */
    reveal(kind, row) {
      const found = bases.flatMap((base, index) => {
        const place = places[index].get(row);
        return base.meta === kind && base.z && place !== undefined ? [[base.x[place], base.y[place], base.z[place]]] : [];
      });
      if (found.length) window.geomclip.reveal(drawn, found, IN_VIEW);
    },
  };
}

const colorAt = (trace, place) => (typeof trace.marker.color === "string" ? trace.marker.color : trace.marker.color[place]);

function overlay(trace, meta) {
  const made = {
    type: trace.type, mode: "markers", x: [], y: [], meta, hoverinfo: "skip", showlegend: false,
    marker: { size: [], color: [], opacity: 1, line: { color: "#000000", width: meta === "halo" ? 0 : 1.5 } },
  };
  if (trace.marker.symbol && meta === "mark") made.marker.symbol = trace.marker.symbol;
  for (const name of ["scene", "xaxis", "yaxis"]) if (trace[name]) made[name] = trace[name];
  if (trace.z) made.z = [];
  return made;
}

/** Where in the element the dots of a trace are seen: place -> [x, y]; [NaN, NaN] for those behind a sphere. */
function placed(drawn, trace) {
  const layout = drawn._fullLayout;
  if (trace.z) {
    const seen = window.geomclip.projection(drawn, trace.scene || "scene");
    return (place) => seen([trace.x[place], trace.y[place], trace.z[place]]);
  }
  const axis = (name) => layout[`${name[0]}axis${name.slice(1)}`];
  const [across, upright] = [axis(trace.xaxis || "x"), axis(trace.yaxis || "y")];
  return (place) => [across._offset + across.d2p(trace.x[place]), upright._offset + upright.d2p(trace.y[place])];
}

/** A button above the figure; once pressed, a line drawn around dots reports what is inside of it. */
function lasso(drawn, report) {
  const bar = drawn.previousElementSibling;
  const button = element("button", { type: "button", class: "toggle area", "aria-pressed": "false", title: "Draw a line around dots: the lists then show these alone", text: "Lasso" });
  bar.append(button);
  const [sheet, line, hint] = ["svg", "polygon", "text"].map((name) => document.createElementNS("http://www.w3.org/2000/svg", name));
  sheet.setAttribute("class", "lasso");
  for (const [name, place] of [["x", 8], ["y", 18]]) hint.setAttribute(name, place);
  hint.textContent = "Draw a line around dots; Esc leaves.";
  sheet.append(hint, line); // above the figure, so that nothing moves
  drawn.style.position = "relative";
  let way = null;
  const on = (wanted) => {
    button.setAttribute("aria-pressed", String(wanted));
    way = null;
    line.setAttribute("points", "");
    if (wanted) drawn.append(sheet);
    else sheet.remove();
  };
  button.addEventListener("click", () => on(button.getAttribute("aria-pressed") !== "true"));
  document.addEventListener("keydown", (event) => event.key === "Escape" && on(false));
  const at = (event) => {
    const box = drawn.getBoundingClientRect();
    return [event.clientX - box.x, event.clientY - box.y];
  };
  sheet.addEventListener("pointerdown", (event) => {
    sheet.setPointerCapture(event.pointerId);
    way = [at(event)];
  });
  sheet.addEventListener("pointermove", (event) => {
    if (!way) return;
    way.push(at(event));
    line.setAttribute("points", way.map((point) => point.map(Math.round).join(",")).join(" "));
  });
  sheet.addEventListener("pointerup", () => {
    const drawnWay = way || [];
    on(false);
    if (drawnWay.length > 2) report((x, y) => encloses(drawnWay, x, y));
  });
}

/** Whether a point lies in a polygon: a ray from it crosses an odd number of sides. */
function encloses(way, x, y) {
  let inside = false;
  for (let i = 0, j = way.length - 1; i < way.length; j = i++) {
    const [[ax, ay], [bx, by]] = [way[i], way[j]];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}
