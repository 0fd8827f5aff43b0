// One recording beside the table: what became of it, its player, its transcript. Opened and closed here.

// A word below this confidence is marked.
const UNSURE = 0.5;

function openPanel(index) {
  const row = rows[index];
  view.open = index;
  for (const line of byId("body").children) {
    line.className = "";
    line.querySelector("button").setAttribute("aria-expanded", "false");
    if (Number(line.dataset.index) === index) markOpen(line);
  }
  const player = row.audio ? element("audio", { controls: true, preload: "metadata", src: row.audio, "aria-label": "Recording" }) : null;
  const unreachable = element("p", { className: "hint", textContent: `The audio cannot be played from here: ${row.audio}`, hidden: true });
  player?.addEventListener("error", () => { unreachable.hidden = false; });
  const content = [
    element("header", {}, element("h3", { id: "panel-title", textContent: row.key }),
      element("button", { type: "button", className: "close", textContent: "Close", onclick: closePanel })),
    element("span", { className: `pill ${row.state}`, textContent: row.state }),
  ];
  if (row.reason || row.message) {
    content.push(element("p", { className: row.state === "failed" ? "message" : "" },
      ...(row.reason ? [element("b", { textContent: row.reason }), row.message ? ": " : ""] : []), row.message ?? ""));
  }
  if (player) content.push(player, unreachable);
  content.push(...transcriptNodes(transcripts[index], player), panelFacts(row));
  const panel = byId("panel");
  panel.replaceChildren(...content);
  panel.hidden = false;
  panel.scrollTop = 0;
  byId("work").classList.add("with-panel");
  panel.focus({ preventScroll: true });
}

function closePanel() {
  const line = byId("body").querySelector("tr.open");
  byId("panel").replaceChildren();
  byId("panel").hidden = true;
  byId("work").classList.remove("with-panel");
  view.open = null;
  if (!line) return;
  line.className = "";
  line.querySelector("button").setAttribute("aria-expanded", "false");
  line.querySelector("button").focus();
}

function panelFacts(row) {
  // The report lies three folders below the output location.
  const href = row.output && `../../../${row.output.split("/").map(encodeURIComponent).join("/")}`;
  const spent = row.steps?.map((seconds, i) => seconds === null ? null : `${WORK_STEPS[i]} ${seconds.toFixed(2)} s`);
  return facts(element("dl", { className: "facts" }), [
    ["Length", row.duration === undefined ? null : clock(row.duration, 1)],
    ["Words", row.words === undefined ? null : whole(row.words)],
    ["Size", size(row.size)],
    ["Attempts", row.attempts > 1 ? String(row.attempts) : null],
    ["Work", spent?.filter(Boolean).join(", ")],
    ["Worker", row.worker],
    ["Finished", row.finished && moment(row.finished)],
    ["Transcript", href && element("a", { href, textContent: row.output })],
  ]);
}

function transcriptNodes(channels, player) {
  if (!channels) return [];
  const timed = [];
  const nodes = channels.flatMap(({ channel, segments }) => {
    const list = element("ol", { className: "transcript" });
    for (const segment of segments) {
      const [node, words] = segmentNode(segment, player);
      timed.push({ start: segment[0], end: segment[1], node, words });
      list.append(element("li", {}, node));
    }
    const empty = segments.length ? list : element("p", { className: "hint", textContent: "Nothing was said." });
    return [element("h4", { textContent: channel === null ? "Transcript" : `Channel ${channel}` }), empty];
  });
  player?.addEventListener("timeupdate", () => follow(timed, player.currentTime));
  return nodes;
}

function segmentNode([start, end, text, words], player) {
  const spoken = element("span");
  const timed = words.map(([word, wordStart, wordEnd, confidence]) => {
    const node = element("span", { textContent: word });
    node.title = confidence === null ? clock(wordStart, 2) : `${clock(wordStart, 2)}, confidence ${confidence.toFixed(2)}`;
    if (confidence !== null && confidence < UNSURE) node.classList.add("unsure");
    node.dataset.start = wordStart;
    spoken.append(spoken.hasChildNodes() ? " " : "", node);
    return { start: wordStart, end: wordEnd, node };
  });
  if (!words.length) spoken.textContent = text;
  const node = element(player ? "button" : "div", { className: "segment" },
    element("time", { textContent: clock(start, 1), title: `${clock(start, 2)} to ${clock(end, 2)}` }), spoken);
  if (player) {
    node.type = "button";
    node.onclick = (event) => {
      player.currentTime = Number(event.target.dataset?.start ?? start);
      player.play().catch(() => {});
    };
  }
  return [node, timed];
}

function follow(timed, now) {
  for (const segment of timed) {
    const here = now >= segment.start && now < segment.end;
    if (here) segment.node.setAttribute("aria-current", "true");
    else segment.node.removeAttribute("aria-current");
    for (const word of segment.words) word.node.classList.toggle("now", here && now >= word.start && now < word.end);
  }
}
