"use strict";
// window.plotlyReady: a promise of Plotly, unpacked from this page; its errors are sentences for the reader
// once the page itself has been seen: 4 MB of script would keep it waiting
window.plotlyReady = (async () => {
  await new Promise((resolve) => {
    requestAnimationFrame(() => setTimeout(resolve)); // after a frame
    setTimeout(resolve, 300); // in a tab at the back there are none
  });
  if (typeof DecompressionStream === "undefined") {
    throw new Error(
      "This browser cannot unpack the pictures (it has no DecompressionStream): " +
        "open this file with Chrome or Edge 80, Firefox 113, Safari 16.4, or a later one.",
    );
  }
  const block = document.getElementById("plotly-packed");
  const packed = Uint8Array.from(atob(block.textContent), (sign) => sign.charCodeAt(0));
  block.remove(); // nobody needs it twice
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script); // runs at once, as inline scripts do
  if (!window.Plotly) throw new Error("plotly.js is in this page but did not start; the console says why.");
  return window.Plotly;
})();
window.plotlyReady.catch(() => {}); // whoever draws tells it
