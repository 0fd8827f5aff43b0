// Keyboard, and the first drawing of everything. Runs last.

document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement && event.target.type === "search";
  if (event.key === "Escape" && view.open !== null && !typing) closePanel();
  if (event.key === "/" && !typing) {
    event.preventDefault();
    byId("filter").focus();
  }
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  const line = event.target.closest?.("tbody tr");
  const next = event.key === "ArrowDown" ? line?.nextElementSibling : line?.previousElementSibling;
  if (!next) return;
  event.preventDefault();
  next.querySelector("button").focus();
});

byId("filter").addEventListener("input", () => { view.limit = PAGE_ROWS; drawTable(); });
byId("more").addEventListener("click", () => { view.limit += PAGE_ROWS; drawTable(); });
byId("note").textContent = note && `${note}All of them are in manifest.jsonl.`;
byId("note").hidden = !note;

drawHead();
drawHistogram();
drawReasons();
drawAbout();
drawHeadings();
drawStates();
drawTable();
