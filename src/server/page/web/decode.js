// The map of a sequence as the server writes it (src/server/page/cache_json.h), back to one number per block.

// Base64 of packed bytes: n < 128 is followed by n + 1 bytes as they are, n > 128 by one byte that stands 257 - n times.
function unpack(text, length) {
  const packed = atob(text);
  const out = new Uint8Array(length);
  let at = 0;
  for (let i = 0; i < packed.length && at < length;) {
    const n = packed.charCodeAt(i++);
    if (n < 128) {
      for (let k = 0; k <= n && at < length; ++k) out[at++] = packed.charCodeAt(i++);
    } else if (n > 128) {
      out.fill(packed.charCodeAt(i++), at, at + 257 - n);
      at += 257 - n;
    }
  }
  return out;
}

export const NEVER = Infinity;

// Steps ago, from a code of an eighth of a doubling each.
function steps(code) {
  if (code === 0) return 0;
  if (code === 255) return NEVER;
  return Math.round(2 ** ((code - 1) / 8));
}

// {id, tokens, blockSize, lanes, seated, tail, blocks, fast, selected: share of the lanes [0, 1]; ago: steps, or NEVER;
// shared: 0 or 1}
export function decodeMap(json) {
  const share = (text) => Float32Array.from(unpack(text, json.blocks), (v) => v / json.levels);
  return {
    id: json.id,
    tokens: json.tokens,
    blockSize: json.block_size,
    layers: json.layers,
    kvHeads: json.kv_heads,
    lanes: json.layers * json.kv_heads,
    seated: json.seated,
    tail: json.tail,
    blocks: json.blocks,
    fast: share(json.fast),
    selected: share(json.selected),
    ago: Float64Array.from(unpack(json.age, json.blocks), steps),
    shared: unpack(json.shared, json.blocks),
  };
}
