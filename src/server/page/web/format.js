// Numbers as people read them.

export function count(n) { return Math.round(n).toLocaleString("en-US"); }
export function plural(n, one, many = one + "s") { return `${count(n)} ${n === 1 ? one : many}`; }
export function percent(x) { return `${(100 * x).toFixed(x >= 0.9995 || x === 0 ? 0 : 1)}%`; }
export function rate(x) { return x >= 100 ? count(x) : x.toFixed(1); }
export function seconds(s) { return s < 10 ? `${s.toFixed(1)} s` : `${count(s)} s`; }

export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    ++unit;
  }
  return `${unit === 0 ? n : n.toFixed(1)} ${units[unit]}`;
}

// Places of tokens beside the map: short.
export function tokens(n) {
  if (n < 1000) return String(n);
  if (n < 1e6) return `${n < 1e5 ? (n / 1e3).toFixed(1) : Math.round(n / 1e3)}K`;
  return `${(n / 1e6).toFixed(2)}M`;
}
