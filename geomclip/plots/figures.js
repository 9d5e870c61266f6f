"use strict";
// window.geomclip: draws plotly figures with what plotly leaves out: light and dark, keys, narrow screens.
// Nothing here reads markup from data: text reaches the page through textContent and plotly's own escaping only.
window.geomclip = (() => {
  const CONFIG = {
    displaylogo: false,
    responsive: true,
    typesetMath: false, // a caption with two dollars is no formula
    scrollZoom: true,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "toggleHover", "resetCameraLastSave3d"],
    toImageButtonOptions: { format: "png", scale: 2, filename: "geomclip" },
  };
  const SHEET = 670; // pixels that fit between the margins of A4 and of Letter
  const templates = JSON.parse(document.getElementById("geomclip-themes").textContent);
  const preferred = window.matchMedia("(prefers-color-scheme: dark)");
  const all = [];
  const drawn = [];
  const waiting = [];
  const begun = [];

  /** Resolves when the page has been painted once. */
  const painted = new Promise((resolve) => {
    requestAnimationFrame(() => setTimeout(resolve));
    setTimeout(resolve, 300); // a tab at the back is not painted
  });
  const frame = () => new Promise((resolve) => {
    requestAnimationFrame(resolve);
    setTimeout(resolve, 300);
  });
  const idle = () => new Promise((resolve) => (window.requestIdleCallback || setTimeout)(resolve));

  const mode = () => document.documentElement.dataset.theme || (preferred.matches ? "dark" : "light");

  /** "light", "dark", or nothing for what the system prefers. */
  function theme(name) {
    if (name) document.documentElement.dataset.theme = name;
    for (const element of drawn) window.Plotly.relayout(element, { template: templates[mode()] });
    document.dispatchEvent(new CustomEvent("geomclip-theme", { detail: mode() }));
  }
  preferred.addEventListener("change", () => theme());

  function tell(element, error) {
    const line = document.createElement("p");
    line.className = "trouble";
    line.setAttribute("role", "alert");
    line.textContent = `${error.message || error}`;
    element.replaceChildren(line);
    element.dataset.failed = "yes";
  }

  /** Draw a figure ({data, layout, frames}) into an element once it is about to be seen; a promise of the element. */
  function draw(element, figure) {
    all.push(element);
    const { layout } = figure;
    const legend = element.dataset.controls !== "none";
    const sliders = layout.sliders;
    if (legend) {
      for (const { meta, marker } of figure.data) if (meta === "key") marker.showscale = false; // the key has it
      layout.showlegend = false;
      delete layout.sliders; // both come as elements that a keyboard reaches
      delete layout.updatemenus;
    }
    if (legend) for (const [, changes] of places(layout)) raise(changes, layout.meta.legend || 0);
    let placed = place(element, layout);
    const sizes = figure.data.map((trace) => (trace.meta === "image" || trace.meta === "text" ? trace.marker.size : null));
    figure.data.forEach((trace, index) => sizes[index] && (trace.marker.size = sizes[index] * finer(element)));
    element.style.minHeight = `${placed.height || layout.height || 450}px`; // nothing jumps when it is drawn
    const begin = seen(element)
      .then(() => window.plotlyReady)
      .then(async (Plotly) => {
        layout.template = templates[mode()];
        layout.autosize = true;
        delete layout.width;
        await Plotly.newPlot(element, figure.data, layout, CONFIG);
        await Plotly.relayout(element, placed);
        if (figure.frames && figure.frames.length) await Plotly.addFrames(element, figure.frames);
        drawn.push(element);
        if (legend) controls(element, sliders);
        turnable(element);
        link(element, (layout.meta || {}).linked || []);
        new ResizeObserver(() => {
          const now = place(element, layout);
          if (now === placed) return;
          placed = now;
          element.style.minHeight = `${placed.height}px`;
          Plotly.relayout(element, placed);
          const dots = [...sizes.keys()].filter((index) => sizes[index]);
          if (dots.length) Plotly.restyle(element, { "marker.size": dots.map((i) => sizes[i] * finer(element)) }, dots);
        }).observe(element);
        if (element.previousElementSibling?.matches(".controls") && element.closest(".stage")?.querySelector(".still")) {
          await frame(); // WebGL paints a frame later: until then the still picture stays
        }
        element.dataset.drawn = "yes";
        return element;
      });
    begin.catch((error) => tell(element, error));
    begun.push(begin);
    return begin;
  }

  const places = (layout) => (layout.meta && layout.meta.places) || [];
  /** Of layout.meta.places, [width, changes] by rising width, the changes for an element as wide as this. */
  function place(element, layout) {
    const fits = places(layout).filter(([width]) => width <= element.clientWidth);
    return fits.length ? fits[fits.length - 1][1] : {};
  }
  /** The room that plotly's own legend would take is not needed. */
  function raise(changes, legend) {
    changes.height -= legend;
    changes["margin.t"] -= legend;
  }
  /** Dots shrink with the picture, not below half. */
  const finer = (element) => Math.min(1, Math.max(0.5, element.clientWidth / 800));

  function seen(element) {
    return new Promise((resolve) => {
      const watch = new IntersectionObserver(
        (entries) => {
          if (!entries.some((entry) => entry.isIntersecting)) return;
          watch.disconnect();
          resolve();
        },
        { rootMargin: "400px" },
      );
      watch.observe(element);
      waiting.push(resolve); // printing waits for no one to scroll
    });
  }

  /** What nobody has scrolled to is drawn when there is nothing else to do: for prints and pictures of the page. */
  async function drawTheRest() {
    await window.plotlyReady;
    for (const resolve of waiting) {
      await idle();
      resolve();
      await frame();
    }
    await Promise.allSettled(begun);
    document.documentElement.dataset.complete = "yes"; // for who takes a picture of the page
  }

  /** On paper all is drawn, and no wider than the sheet; its colours are the style's. */
  function print(begin) {
    if (begin) waiting.forEach((resolve) => resolve());
    for (const element of all) {
      const wide = element.clientWidth;
      element.style.width = begin && wide > SHEET ? `${wide}px` : "";
      element.style.zoom = begin && wide > SHEET ? SHEET / wide : "";
    }
  }
  window.addEventListener("beforeprint", () => print(true));
  window.addEventListener("afterprint", () => print(false));

  /** Buttons for what the legend would list, and a slider where there are frames, above the figure. */
  function controls(element, sliders) {
    const bar = document.createElement("div");
    bar.className = "controls";
    const groups = new Map();
    element.data.forEach((trace, index) => {
      if (trace.meta === "globe" || trace.meta === "key") return;
      const key = trace.legendgroup || trace.name;
      if (!key) return;
      if (!groups.has(key)) groups.set(key, { traces: [], first: null });
      groups.get(key).traces.push(index);
      if (trace.showlegend !== false && !groups.get(key).first) groups.get(key).first = trace;
    });
    const listed = [...groups.values()].filter(({ first }) => first);
    listed.sort((a, b) => (a.first.legendrank ?? 1000) - (b.first.legendrank ?? 1000));
    for (const { traces, first } of listed) bar.append(toggle(element, traces, first));
    for (const trace of element.data) if (trace.meta === "key") bar.append(entry(trace));
    if (sliders && sliders.length) bar.append(...morph(element, sliders[0]));
    if (bar.childElementCount) element.before(bar);
  }

  function toggle(element, traces, first) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "toggle";
    const swatch = document.createElement("span");
    const color = (first.marker && first.marker.color) || (first.line && first.line.color) || "gray";
    const line = first.mode === "lines" || first.meta === "link";
    swatch.className = `swatch ${line ? "line" : (first.marker || {}).symbol === "diamond" ? "turned" : "round"}`;
    swatch.style.background = typeof color === "string" ? color : "currentColor"; // where a column gives the colours
    button.append(swatch, named(first));
    const show = (on) => button.setAttribute("aria-pressed", String(on));
    show(first.visible !== "legendonly");
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      show(on);
      window.Plotly.restyle(element, { visible: on ? true : "legendonly" }, traces);
    });
    return button;
  }

  function named(trace) {
    const name = document.createElement("span");
    // the legend's own text is markup, in which < and & are written out
    name.textContent = trace.name.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
    return name;
  }

  /** What a colour means: a group, or a scale. */
  function entry(trace) {
    const item = document.createElement("span");
    item.className = "entry";
    const swatch = document.createElement("span");
    const { color, colorscale } = trace.marker;
    swatch.className = colorscale ? "swatch scale" : "swatch";
    swatch.style.background = colorscale ? `linear-gradient(90deg, ${colorscale.map((stop) => stop[1]).join(", ")})` : color;
    item.append(swatch, named(trace));
    return item;
  }

  /** A range input in place of plotly's slider, and a button that runs through it. */
  function morph(element, slider) {
    const steps = slider.steps;
    const range = document.createElement("input");
    Object.assign(range, { type: "range", min: 0, max: steps.length - 1, step: 1, value: slider.active || 0 });
    range.className = "morph";
    range.setAttribute("aria-label", "from before to after");
    const told = document.createElement("output");
    let shown = null;
    let busy = false;
    async function show() {
      const step = steps[range.value];
      told.textContent = step.label;
      range.setAttribute("aria-valuetext", step.label);
      if (busy) return; // the running one looks again at its end
      busy = true;
      while (shown !== range.value) {
        shown = range.value;
        await window.Plotly.animate(element, [steps[shown].args[0][0]], {
          mode: "immediate",
          frame: { duration: 0, redraw: true },
          transition: { duration: 0 },
        });
      }
      busy = false;
    }
    range.addEventListener("input", show);
    const play = document.createElement("button");
    play.type = "button";
    play.textContent = "Play";
    let timer = null;
    const stop = () => {
      clearInterval(timer);
      timer = null;
      play.textContent = "Play";
    };
    play.addEventListener("click", () => {
      if (timer !== null) return stop();
      if (Number(range.value) === steps.length - 1) range.value = 0;
      play.textContent = "Stop";
      timer = setInterval(() => {
        if (Number(range.value) === steps.length - 1) return stop();
        range.value = Number(range.value) + 1;
        show();
      }, 120);
      return show();
    });
    told.textContent = steps[range.value].label;
    return [play, range, told];
  }

  const scenes = (element) => Object.keys(element.layout).filter((key) => /^scene\d*$/.test(key));
  const camera = (element, scene) => element._fullLayout[scene]._scene.getCamera();

  /** Arrow keys turn the scenes of a focused figure, plus and minus come nearer and go away. */
  function turnable(element) {
    if (!scenes(element).length) return;
    element.tabIndex = 0;
    element.addEventListener("keydown", (event) => {
      const turns = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      const nearer = { "+": 0.9, "=": 0.9, "-": 1 / 0.9 }[event.key];
      if ((!turns && !nearer) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const changes = {};
      for (const scene of scenes(element)) {
        const from = camera(element, scene);
        changes[`${scene}.camera`] = turns ? turned(from, ...turns) : scaled(from, nearer);
      }
      window.Plotly.relayout(element, changes);
    });
  }

  const vector = (a) => [a.x, a.y, a.z];
  const point = ([x, y, z]) => ({ x, y, z });
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const unit = (a) => a.map((value) => value / Math.sqrt(dot(a, a)));
  /** Rodrigues' rotation of a about a unit axis. */
  function about(a, axis, angle) {
    const [c, s, along, side] = [Math.cos(angle), Math.sin(angle), dot(axis, a), cross(axis, a)];
    return a.map((value, i) => value * c + side[i] * s + axis[i] * along * (1 - c));
  }
  function turned(from, right, up) {
    const step = Math.PI / 18;
    let eye = vector(from.eye);
    let top = unit(vector(from.up));
    if (right) eye = about(eye, top, right * step);
    if (up) {
      const side = unit(cross(top, eye));
      eye = about(eye, side, -up * step);
      top = about(top, side, -up * step);
    }
    return { ...from, eye: point(eye), up: point(top) };
  }
  const scaled = (from, factor) => ({ ...from, eye: point(vector(from.eye).map((value) => value * factor)) });

  /** Turn all scenes so far that the middle of these points is within an angle of this cosine to the eye. */
  function reveal(element, points, cosine) {
    const middle = [0, 1, 2].map((axis) => points.reduce((sum, at) => sum + at[axis], 0));
    if (dot(middle, middle) < 1e-6) return;
    const [scene] = scenes(element);
    const from = camera(element, scene);
    const [eye, target] = [vector(from.eye), unit(middle)];
    const apart = Math.acos(Math.min(1, Math.max(-1, dot(unit(eye), target))));
    const turn = apart - Math.acos(cosine);
    if (turn <= 0) return;
    let axis = cross(eye, target);
    if (dot(axis, axis) < 1e-9) axis = vector(from.up); // behind: any way round
    const [round, up] = [eye, vector(from.up)].map((a) => about(a, unit(axis), turn));
    const seen = { ...from, eye: point(round), up: point(up) };
    window.Plotly.relayout(element, Object.fromEntries(scenes(element).map((each) => [`${each}.camera`, seen])));
  }

  /** Of a scene with a globe: from a point to where in the element it is seen, [NaN, NaN] behind the globe. */
  function projection(element, scene) {
    const { _scene, domain } = element._fullLayout[scene];
    const { model, view, projection: lens } = _scene.glplot.cameraParams;
    const { l, t, w, h } = element._fullLayout._size;
    const times = (matrix, a) => [0, 1, 2, 3].map((row) => a.reduce((sum, value, i) => sum + matrix[4 * i + row] * value, 0));
    const eye = vector(camera(element, scene).eye);
    const rim = 1 / (Math.sqrt(dot(eye, eye)) * GLOBE);
    return (at) => {
      if (dot(unit(eye), at) < rim) return [NaN, NaN];
      const [x, y, , share] = times(lens, times(view, times(model, [...at.map((value, i) => value * _scene.dataScale[i]), 1])));
      const across = domain.x[0] + (domain.x[1] - domain.x[0]) * (0.5 + x / share / 2);
      const upright = domain.y[0] + (domain.y[1] - domain.y[0]) * (0.5 + y / share / 2);
      return [l + w * across, t + h * (1 - upright)];
    };
  }
  const GLOBE = 2.2; // side of the box that a scene shows, in radii; it is 1 in the units of the camera

  /** Scenes named in layout.meta.linked are seen from one place: who turns one turns all. */
  function link(element, linked) {
    if (linked.length < 2) return;
    let following = false;
    const follow = (event) => {
      if (following) return;
      const leader = linked.find((scene) => event[`${scene}.camera`]);
      if (!leader) return;
      const seenFrom = event[`${leader}.camera`];
      const others = linked.filter((scene) => scene !== leader && !event[`${scene}.camera`]);
      if (!others.length) return;
      following = true;
      const changes = Object.fromEntries(others.map((scene) => [`${scene}.camera`, seenFrom]));
      window.Plotly.relayout(element, changes).finally(() => (following = false));
    };
    element.on("plotly_relayouting", follow);
    element.on("plotly_relayout", follow);
  }

  /** Every figure of a page: <div class="figure" data-figure="ID of its JSON block">; and the theme button. */
  function start() {
    const elements = [...document.querySelectorAll("[data-figure]")];
    painted.then(() => {
      for (const element of elements) {
        draw(element, JSON.parse(document.getElementById(element.dataset.figure).textContent));
      }
      if (elements.length) drawTheRest().catch(() => {}); // whoever draws tells it
    });
    for (const button of document.querySelectorAll("button[data-theme-switch]")) {
      const say = () => (button.textContent = mode() === "dark" ? "Light" : "Dark");
      say();
      button.addEventListener("click", () => theme(mode() === "dark" ? "light" : "dark"));
      document.addEventListener("geomclip-theme", say);
    }
  }

  return { draw, drawTheRest, theme, mode, start, painted, reveal, projection };
})();
