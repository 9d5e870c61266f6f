// Maps: what is pointed at is told, what is chosen or found is marked.
const MARKS = {
  hit: { color: "#e69f00", size: 8 },
  near: { color: "#cc79a7", size: 9 },
  chosen: { color: "#ffffff", size: 14 },
};
const LIFT = 1.025; // marks lie a little above the sphere, which would cut them in two
const axisOf = (trace) => trace.scene || trace.xaxis || "";
/** 0 for the first scene or plane of a figure, 1 for the second. */
const spaceOf = (trace) => Math.max(0, (parseInt(axisOf(trace).replace(/\D/g, ""), 10) || 1) - 1);

/** A drawn figure that is a map: reports hover and click as (kind, row), and takes marks. */
async function mapOf(drawn, { hover, leave, click }) {
  const bases = drawn.data.filter((trace) => trace.meta === "image" || trace.meta === "text");
  const places = bases.map((trace) => new Map(Array.from(trace.customdata, (row, place) => [row, place])));
  const first = drawn.data.length;
  await window.Plotly.addTraces(drawn, bases.map(overlay));
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
  return {
    /** marks(space, kind) gives a Map of row -> name in MARKS. */
    mark(marks) {
      bases.forEach((trace, index) => {
        const rows = [...marks(spaceOf(trace), trace.meta)].filter(([row]) => places[index].has(row));
        const at = rows.map(([row]) => places[index].get(row));
        const lift = trace.z ? LIFT : 1;
        const changes = {
          x: [at.map((place) => lift * trace.x[place])],
          y: [at.map((place) => lift * trace.y[place])],
          "marker.size": [rows.map(([, name]) => MARKS[name].size)],
          "marker.color": [rows.map(([, name]) => MARKS[name].color)],
        };
        if (trace.z) changes.z = [at.map((place) => lift * trace.z[place])];
        window.Plotly.restyle(drawn, changes, [first + index]);
      });
      drawn.dataset.marked = String(bases.reduce((sum, trace) => sum + marks(spaceOf(trace), trace.meta).size, 0));
    },
  };
}

function overlay(trace) {
  const made = {
    type: trace.type, mode: "markers", x: [], y: [], meta: "mark", hoverinfo: "skip", showlegend: false,
    marker: { size: [], color: [], opacity: 1, line: { color: "#000000", width: 1.5 } },
  };
  for (const name of ["scene", "xaxis", "yaxis"]) if (trace[name]) made[name] = trace[name];
  if (trace.z) made.z = [];
  return made;
}
