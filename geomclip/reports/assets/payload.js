// What the page carries: base64 of zlib of JSON, with arrays as base64 of their bytes.
const ARRAYS = {
  i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array,
  f4: Float32Array, f8: Float64Array,
};
const bytesOf = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));

/** The value of a data block; the block is removed, since nobody needs it twice. */
async function unpacked(id) {
  const block = document.getElementById(id);
  if (typeof DecompressionStream === "undefined") {
    throw new Error("This browser is too old for the pictures and lists of this page: it has no DecompressionStream.");
  }
  const stream = new Blob([bytesOf(block.textContent)]).stream().pipeThrough(new DecompressionStream("deflate"));
  block.remove();
  return revived(JSON.parse(await new Response(stream).text()));
}

/** The same value with its arrays of numbers as typed arrays; tables as {data, shape}. */
function revived(value) {
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) if (typeof value[i] === "object") value[i] = revived(value[i]);
    return value;
  }
  if (value === null || typeof value !== "object") return value;
  if (typeof value.bdata === "string" && ARRAYS[value.dtype] && typeof value.shape !== "string") {
    const data = new ARRAYS[value.dtype](bytesOf(value.bdata).buffer);
    return value.shape && value.shape.length > 1 ? { data, shape: value.shape } : data;
  }
  for (const key of Object.keys(value)) value[key] = revived(value[key]);
  return value;
}
