// The summary in a terminal.

const fixed = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2));

function line(name, { type, values }) {
  if (type === 'trend') {
    const said = ['med', 'p(95)', 'p(99)', 'max'].map((key) => `${key} ${fixed(values[key])}`).join('  ');
    return `  ${name.padEnd(22)} ${said}  (${values.count})`;
  }
  if (type === 'rate') return `  ${name.padEnd(22)} ${(100 * values.rate).toFixed(3)} % of ${values.passes + values.fails}`;
  return `  ${name.padEnd(22)} ${values.count === undefined ? values.value : values.count}`;
}

export function textSummary(scenario, data, judged) {
  const shown = Object.entries(data.metrics).filter(([name]) => name.startsWith('parley_')
    || ['http_req_duration', 'http_reqs', 'iterations'].includes(name));
  const missed = judged.filter(({ ok }) => !ok);
  const lines = ['', scenario, ...shown.sort().map(([name, metric]) => line(name, metric)), ''];
  missed.forEach(({ name, threshold }) => lines.push(`  MISSED  ${name}: ${threshold}`));
  lines.push(`${judged.length - missed.length} of ${judged.length} thresholds met`, '');
  return lines.join('\n');
}
