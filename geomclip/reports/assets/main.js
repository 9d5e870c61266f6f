// Starts everything: theme button, downloads, lists, pictures.
function offerFiles(files) {
  for (const button of document.querySelectorAll("button[data-file]")) {
    const name = button.dataset.file;
    button.addEventListener("click", () => {
      const type = name.endsWith(".csv") ? "text/csv" : "application/json";
      const address = URL.createObjectURL(new Blob([files[name]], { type }));
      element("a", { href: address, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(address), 10000);
    });
  }
}

async function start() {
  window.geomclip.start();
  await window.geomclip.painted; // text, numbers and the still sphere are seen before anything is unpacked
  const data = await unpacked("geomclip-data");
  offerFiles(data.files);
  const explored = data.items ? explorer(itemsOf(data.items)) : null;
  const pictures = await unpacked("geomclip-pictures");
  for (const place of document.querySelectorAll("[data-picture]")) {
    const drawing = window.geomclip.draw(place, pictures[place.dataset.picture]);
    drawing.then((drawn) => explored && drawn.dataset.map !== undefined && explored.add(drawn), () => {});
  }
  document.documentElement.dataset.ready = "yes";
  window.geomclip.drawTheRest().catch(() => {}); // whoever draws tells it
}

start().catch((error) => {
  const told = element("p", { class: "trouble", role: "alert", text: `${error.message || error}` });
  document.querySelector("main").prepend(told);
  throw error;
});
