// The table of recordings: sorted, filtered, a few hundred rows at a time.

const PAGE_ROWS = 200;
const COLUMNS = [
  { name: "Status", value: (row) => STATES.indexOf(row.state) },
  { name: "Recording", value: (row) => row.key },
  { name: "Length", value: (row) => row.duration, number: true },
  { name: "Words", value: (row) => row.words, number: true },
  { name: "Speed", value: (row) => row.speed, number: true },
  { name: "Detail", value: (row) => row.reason },
];
const view = { column: 0, descending: false, state: "all", limit: PAGE_ROWS, open: null };

function compare(a, b) {
  const { value } = COLUMNS[view.column];
  const [left, right] = [value(rows[a]), value(rows[b])];
  if (left === undefined || right === undefined) return (left === undefined) - (right === undefined) || a - b;
  const order = left < right ? -1 : left > right ? 1 : 0;
  return (view.descending ? -order : order) || a - b;
}

function matches(row, wanted) {
  if (view.state !== "all" && row.state !== view.state) return false;
  return !wanted || [row.key, row.reason, row.message].some((text) => text?.toLowerCase().includes(wanted));
}

function drawTable() {
  const wanted = byId("filter").value.trim().toLowerCase();
  const found = [...rows.keys()].filter((i) => matches(rows[i], wanted)).sort(compare);
  byId("body").replaceChildren(...found.slice(0, view.limit).map(tableRow));
  byId("count").textContent = found.length === rows.length
    ? plural(rows.length, "recording") : `${whole(found.length)} of ${plural(rows.length, "recording")}`;
  byId("empty").hidden = found.length > 0;
  const left = found.length - view.limit;
  byId("more").hidden = left <= 0;
  byId("more").textContent = `Show ${whole(Math.min(left, PAGE_ROWS))} more`;
  [...byId("head").children].forEach((cell, i) => {
    if (i === view.column) cell.setAttribute("aria-sort", view.descending ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  });
}

function tableRow(index) {
  const row = rows[index];
  const name = element("button", { type: "button", textContent: row.key, "aria-expanded": "false", "aria-controls": "panel" });
  const detail = element("td", { className: "detail" });
  if (row.reason) detail.append(element("b", { textContent: row.reason }), row.message ? `: ${row.message}` : "");
  else if (row.message) detail.append(row.message);
  const line = element("tr", { onclick: () => openPanel(index) },
    element("td", {}, element("span", { className: `pill ${row.state}`, textContent: row.state })),
    element("td", { className: "key" }, name),
    element("td", { className: "number", textContent: row.duration === undefined ? "" : clock(row.duration) }),
    element("td", { className: "number", textContent: row.words === undefined ? "" : whole(row.words) }),
    element("td", { className: "number", textContent: row.speed === undefined ? "" : times(row.speed) }),
    detail);
  line.dataset.index = index;
  if (index === view.open) markOpen(line);
  return line;
}

function markOpen(line) {
  line.className = "open";
  line.querySelector("button").setAttribute("aria-expanded", "true");
}

function drawHeadings() {
  COLUMNS.forEach((column, i) => {
    const sort = () => {
      view.descending = view.column === i ? !view.descending : Boolean(column.number);
      view.column = i;
      drawTable();
    };
    byId("head").append(element("th", { scope: "col", className: column.number ? "number" : "" },
      element("button", { type: "button", textContent: column.name, onclick: sort })));
  });
}

function drawStates() {
  const counts = { all: summary.failed + summary.done + summary.skipped, failed: summary.failed, done: summary.done, skipped: summary.skipped };
  for (const [state, count] of Object.entries(counts)) {
    const input = element("input", { type: "radio", name: "state", value: state, checked: state === view.state });
    input.onchange = () => setState(state);
    byId("states").append(element("label", {}, input, `${state[0].toUpperCase()}${state.slice(1)} ${whole(count)}`));
  }
}

function setState(state) {
  view.state = state;
  view.limit = PAGE_ROWS;
  document.querySelector(`input[value=${state}]`).checked = true;
  drawTable();
}
