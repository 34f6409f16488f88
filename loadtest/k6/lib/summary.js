// What is left of a run: the summary as JSON, and a small picture of it.

import { textSummary } from './text.js';
import { output } from './settings.js';

const escaped = (text) => String(text).replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
const rounded = (value) => (value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toFixed(3));

/** Thresholds as rows: what, which, whether it holds. */
export function judged(data) {
  return Object.entries(data.metrics).flatMap(([name, { thresholds = {} }]) => Object.entries(thresholds)
    .map(([threshold, { ok }]) => ({ name, threshold, ok })));
}

function bar(y, name, values, widest) {
  const x = (value) => 190 + 400 * Math.min(1, value / widest);
  const [low, middle, high] = [values.med, values['p(95)'], values['p(99)']];
  return `<text x="180" y="${y + 12}" text-anchor="end">${escaped(name)}</text>
<rect x="190" y="${y}" width="${x(high) - 190}" height="16" fill="#f2c9a1"/>
<rect x="190" y="${y}" width="${x(middle) - 190}" height="16" fill="#e39a52"/>
<rect x="190" y="${y}" width="${x(low) - 190}" height="16" fill="#b4632a"/>
<text x="600" y="${y + 12}">${rounded(low)} / ${rounded(middle)} / ${rounded(high)} ms</text>`;
}

function row(y, { name, threshold, ok }) {
  return `<text x="20" y="${y}" fill="${ok ? '#2c7a3f' : '#b3261e'}">${ok ? '✓' : '✗'} ${escaped(name)}: ${escaped(threshold)}</text>`;
}

export function picture(scenario, data) {
  const trends = Object.entries(data.metrics).filter(([name, { type, values }]) => type === 'trend'
    && (name.startsWith('parley_') || name === 'http_req_duration') && values.count > 0);
  const widest = Math.max(1, ...trends.map(([, { values }]) => values['p(99)']));
  const rows = judged(data);
  const middle = 60 + trends.length * 26;
  const height = middle + 30 + rows.length * 20;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="800" height="${height}" font-family="system-ui, sans-serif" font-size="13">
<rect width="800" height="${height}" fill="white"/>
<text x="20" y="28" font-size="18">${escaped(scenario)}: half, 95 % and 99 % within</text>
${trends.map(([name, { values }], place) => bar(50 + place * 26, name, values, widest)).join('\n')}
${rows.map((one, place) => row(middle + 20 + place * 20, one)).join('\n')}
</svg>
`;
}

export const summaryOf = (scenario) => (data) => {
  const files = { stdout: textSummary(scenario, data, judged(data)) };
  if (output) {
    files[`${output}.json`] = JSON.stringify({ scenario, ...data }, null, 2);
    files[`${output}.svg`] = picture(scenario, data);
  }
  return files;
};
