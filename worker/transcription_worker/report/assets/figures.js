"use strict";
// The data of the page, how numbers are written, and everything above the table. figures.js, table.js, panel.js and
// page.js are one script, in this order. Whatever comes from the data is set as text, never as markup.

const { summary, rows, transcripts, note } = JSON.parse(document.getElementById("data").textContent);
const STATES = ["failed", "done", "skipped"];
const WORK_STEPS = ["fetch", "decode", "model", "commit"];

const byId = (id) => document.getElementById(id);

function element(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-")) node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children);
  return node;
}

const whole = (number) => number.toLocaleString("en-US");
const plural = (number, noun) => `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;
const times = (speed) => `${speed >= 100 ? whole(Math.round(speed)) : speed.toFixed(1)}×`;
const moment = (rfc3339) => rfc3339.replace("T", " ").replace(/(\.\d+)?Z$/, " UTC");

function clock(seconds, decimals = 0) {
  const units = 10 ** decimals;
  const total = Math.floor(seconds * units + 1e-6);
  const [h, m, s] = [Math.floor(total / 3600 / units), Math.floor(total / 60 / units) % 60, (total / units) % 60];
  const padded = (value, size) => String(value).padStart(size, "0");
  const tail = padded(s.toFixed(decimals), decimals ? 3 + decimals : 2);
  return h ? `${h}:${padded(m, 2)}:${tail}` : `${m}:${tail}`;
}

function span(seconds) {
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

function amount(seconds) {
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  return seconds < 7200 ? `${(seconds / 60).toFixed(1)} min` : `${whole(Math.round(seconds / 360) / 10)} h`;
}

function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = bytes ? Math.min(Math.floor(Math.log10(bytes) / 3), units.length - 1) : 0;
  return `${(bytes / 1000 ** power).toFixed(power ? 1 : 0)} ${units[power]}`;
}

function drawHead() {
  byId("job").textContent = summary.job;
  const speed = summary.speed === null || !summary.done ? "" : `, ${times(summary.speed)} real time`;
  const upToDate = summary.skipped ? ` ${plural(summary.skipped, "transcript")} ${summary.skipped === 1 ? "was" : "were"} up to date.` : "";
  byId("lede").textContent =
    `${whole(summary.done)} of ${plural(summary.planned, "recording")} transcribed: ${amount(summary.audio_seconds)} of audio ` +
    `in ${span(summary.wall_seconds)}${speed}.${upToDate}`;
  const warnings = [];
  if (summary.missing) {
    warnings.push(`${plural(summary.missing, "planned recording")} ${summary.missing === 1 ? "has" : "have"} no outcome: apply the job again to finish.`);
  }
  if (!summary.conditional_writes) {
    warnings.push("The store has no conditional writes: recordings were split between the workers beforehand.");
  }
  byId("missing").textContent = warnings.join(" ");
  byId("missing").hidden = !warnings.length;
  const tiles = [
    ["Failed", whole(summary.failed), summary.failed ? "failed" : ""],
    ["Done", whole(summary.done), ""],
    ["Skipped", whole(summary.skipped), ""],
    ["Audio", amount(summary.audio_seconds), ""],
    ["Speed", summary.speed === null || !summary.done ? "–" : times(summary.speed), ""],
    ["Words", whole(summary.words), ""],
  ];
  byId("tiles").append(
    ...tiles.map(([name, value, className]) =>
      element("div", { className }, element("dt", { textContent: name }), element("dd", { textContent: value }))),
  );
}

const edge = (seconds) => seconds < 60 ? `${seconds} s` : seconds < 3600 ? `${seconds / 60} min` : `${seconds / 3600} h`;
const binName = (bin) => bin.below === null ? `${edge(bin.at_least)} or longer` : `${edge(bin.at_least)} to ${edge(bin.below)}`;

function drawHistogram() {
  const bins = summary.durations;
  byId("durations").hidden = !bins.length;
  if (!bins.length) return;
  const svg = (name, attributes, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const [width, height, top, bottom] = [600, 200, 22, 26];
  const most = Math.max(...bins.map((bin) => bin.count));
  const step = Math.min(width / bins.length, 120);
  const left = (width - step * bins.length) / 2;
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  chart.setAttribute("aria-label", bins.map((bin) => `${binName(bin)}: ${whole(bin.count)}`).join("; "));
  bins.forEach((bin, i) => {
    const tall = bin.count ? Math.max((height - top - bottom) * bin.count / most, 2) : 0;
    const x = left + i * step;
    const bar = svg("rect", { x: x + 3, y: height - bottom - tall, width: step - 6, height: tall, rx: 3 });
    bar.append(svg("title", {}, `${binName(bin)}: ${plural(bin.count, "recording")}`));
    chart.append(bar);
    if (bin.count) chart.append(svg("text", { x: x + step / 2, y: height - bottom - tall - 6 }, whole(bin.count)));
    // An edge stands under the line between two bars.
    if (i) chart.append(svg("text", { x, y: height - 6 }, edge(bin.at_least)));
  });
  chart.append(svg("line", { x1: 0, x2: width, y1: height - bottom + 0.5, y2: height - bottom + 0.5 }));
  byId("histogram").append(chart);
}

function drawReasons() {
  const reasons = Object.entries(summary.failures_by_reason);
  byId("reasons").hidden = !reasons.length;
  const most = Math.max(...reasons.map(([, count]) => count));
  for (const [reason, count] of reasons) {
    const bar = element("span", { className: "bar", "aria-hidden": "true" });
    bar.style.width = `${100 * count / most}%`;
    const show = () => { byId("filter").value = reason; setState("failed"); };
    byId("reason-list").append(element("li", {}, element("button", { type: "button", onclick: show },
      element("span", { textContent: reason }), bar, element("span", { textContent: whole(count) }))));
  }
}

function facts(list, entries) {
  for (const [name, value] of entries) {
    if (value === undefined || value === null || value === "") continue;
    const shown = value instanceof Node || typeof value === "string" ? value : JSON.stringify(value);
    list.append(element("dt", { textContent: name }), element("dd", {}, shown));
  }
  return list;
}

function usageFacts(usage) {
  if (!usage) return [];
  const share = (seconds) => `${Math.round(100 * seconds / usage.worker_seconds)} %`;
  const split = Object.entries(usage.seconds).filter(([, seconds]) => seconds > 0).map(([step, seconds]) => `${step} ${share(seconds)}`);
  const perHour = usage.gpu_seconds_per_audio_hour;
  return [
    ["Time of the workers", `${span(usage.worker_seconds)} by ${plural(usage.workers, "worker")}: ${split.join(", ")}`],
    ["Audio through the models", usage.audio_seconds ? amount(usage.audio_seconds) : ""],
    ["GPU time", usage.gpu_seconds === null ? "" : `${span(usage.gpu_seconds)}${perHour === null ? "" : `, ${perHour.toFixed(1)} s per hour of audio`}`],
    ["Cost of the GPUs, estimated", usage.cost === null ? "" : `${usage.cost.toFixed(2)} ${usage.currency}`],
  ];
}

function drawAbout() {
  const spent = WORK_STEPS.map((step) => `${step} ${span(summary.work_seconds[step])}`).join(", ");
  facts(byId("about"), [
    ["Job", summary.job_id], ["Input", summary.input], ["Output", summary.output], ["Model", summary.model],
    ...Object.entries(summary.options),
    ["Started", moment(summary.started)], ["Finished", moment(summary.finished)],
    ["Objects that are no recordings", whole(summary.ignored)], ["Size of the recordings", size(summary.source_bytes)],
    ["Work, all workers", spent],
    ...usageFacts(summary.usage), ["Software", summary.software],
  ]);
}
