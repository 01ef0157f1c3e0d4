// Prometheus' text, as far as the console reads it.

// The samples as `{name, labels, value}`.
export function parseMetrics(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!found) continue;
    const labels = {};
    for (const [, name, value] of (found[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g))
      labels[name] = value.replace(/\\(.)/g, (_, each) => (each === "n" ? "\n" : each));
    samples.push({ name: found[1], labels, value: Number(found[3]) });
  }
  return samples;
}

export function sum(samples, name, wanted = {}) {
  const hits = samples.filter(each => each.name === name && Object.entries(wanted).every(([label, value]) => each.labels[label] === value));
  return hits.reduce((total, each) => total + each.value, 0);
}

// What happened a second between two readings, `seconds` apart.
export function rate(now, before, name, seconds) {
  return before && seconds > 0 ? Math.max(0, sum(now, name) - sum(before, name)) / seconds : 0;
}

// The mean of what a histogram saw between two readings; of all if nothing came.
export function mean(now, before, name) {
  const n = sum(now, `${name}_count`) - (before ? sum(before, `${name}_count`) : 0);
  const all = sum(now, `${name}_sum`) - (before ? sum(before, `${name}_sum`) : 0);
  if (n > 0) return all / n;
  const count = sum(now, `${name}_count`);
  return count ? sum(now, `${name}_sum`) / count : null;
}

export function byLabel(samples, name, label) {
  const found = new Map();
  for (const each of samples.filter(sample => sample.name === name && sample.value))
    found.set(each.labels[label] ?? "", (found.get(each.labels[label] ?? "") ?? 0) + each.value);
  return [...found].sort((a, b) => b[1] - a[1]);
}
