"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const severities = ["unknown", "negligible", "low", "medium", "high", "critical"];
  const EXPLOITED = 1, REFUSED = 2, ACCEPTED = 4, NEW = 8;
  const STEP = 100, PRINTED = 1000;
  const text = (n) => data.texts[n];
  const lower = data.texts.map((s) => s.toLowerCase());
  const rows = data.rows.map((r) => ({
    id: r[0], name: r[1], version: r[2], type: r[3], rank: r[4], epss: r[5], flags: r[6], fixed: r[7], accepted: r[8], images: r[9],
  }));

  const $ = (id) => document.getElementById(id);
  const form = $("filters"), search = $("search"), state = $("state"), body = $("rows"), more = $("more"), table = $("table");
  let only = -1, sortBy = "worst", descending = true, matching = [], shown = STEP;

  const imageMatches = (row, word) => row.images.some((i) => lower[data.images[i]].includes(word));
  const has = {
    all: () => true,
    refused: (r) => r.flags & REFUSED,
    accepted: (r) => r.flags & ACCEPTED,
    exploited: (r) => r.flags & EXPLOITED,
    fixed: (r) => text(r.fixed) !== "",
    new: (r) => r.flags & NEW,
  };
  const orders = {
    worst: () => 0,
    id: (a, b) => text(a.id).localeCompare(text(b.id), "en", { numeric: true }),
    severity: (a, b) => a.rank - b.rank,
    epss: (a, b) => a.epss - b.epss,
    package: (a, b) => text(a.name).localeCompare(text(b.name), "en") || text(a.version).localeCompare(text(b.version), "en"),
    images: (a, b) => a.images.length - b.images.length,
  };

  function element(tag, className, content) {
    const e = document.createElement(tag);
    if (className) e.className = className;
    if (content !== undefined) e.textContent = content;
    return e;
  }
  function cell(label, ...parts) {
    const td = element("td");
    td.dataset.label = label;
    for (const p of parts) td.append(p, " ");
    return td;
  }
  function images(row) {
    const names = row.images.map((i) => text(data.images[i]));
    const td = cell("Images", ...names.slice(0, 2).map((n) => element("span", "name", n)));
    if (names.length > 2) {
      const all = element("button", "link", `and ${names.length - 2} more`);
      all.type = "button";
      all.addEventListener("click", () => td.replaceChildren(...names.map((n) => element("span", "name", n))));
      td.append(all);
    }
    return td;
  }
  function line(row) {
    const tr = element("tr");
    const what = cell("Vulnerability", element("span", "id", text(row.id)));
    if (row.flags & EXPLOITED) what.append(element("span", "flag exploited", "exploited"), " ");
    if (row.flags & REFUSED) what.append(element("span", "flag refusedflag", "refused"), " ");
    if (row.flags & NEW) what.append(element("span", "flag newflag", "new"), " ");
    if (row.flags & ACCEPTED) what.append(element("span", "flag acceptedflag", text(row.accepted)));
    const epss = element("td", "right", row.epss ? `${(row.epss / 10).toFixed(1)} %` : "");
    epss.dataset.label = "EPSS";
    const severity = severities[row.rank];
    tr.append(
      what,
      cell("Severity", element("span", `tag ${severity}`, severity)),
      epss,
      cell("Package", element("span", "pkg", `${text(row.name)} ${text(row.version)}`.trim()), element("span", "quiet", text(row.type))),
      cell("Fixed in", text(row.fixed) ? element("span", "pkg", text(row.fixed)) : element("span", "quiet", "no fix")),
      images(row),
    );
    return tr;
  }

  function draw() {
    const part = matching.slice(0, shown);
    body.replaceChildren(...part.map(line));
    more.hidden = part.length >= matching.length;
    more.textContent = `Show ${Math.min(STEP, matching.length - part.length)} more of ${matching.length}`;
    const n = (x) => x.toLocaleString("en");
    let say = matching.length === rows.length ? `${n(rows.length)} findings` : `${n(matching.length)} of ${n(rows.length)} findings match`;
    if (part.length < matching.length) say += `, ${n(part.length)} of them shown`;
    $("count").textContent = say + ".";
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = new Set([...form.querySelectorAll("[name=severity]:checked")].map((c) => severities.indexOf(c.value)));
    const test = has[state.value];
    matching = rows.filter((r) => wanted.has(r.rank) && test(r) && (only < 0 || r.images.includes(only)) &&
      words.every((w) => lower[r.id].includes(w) || lower[r.name].includes(w) || lower[r.version].includes(w) || imageMatches(r, w)));
    if (sortBy !== "worst") {
      const order = orders[sortBy], sign = descending ? -1 : 1;
      matching = matching.map((r, i) => [r, i]).sort((a, b) => sign * order(a[0], b[0]) || a[1] - b[1]).map((p) => p[0]);
    }
    shown = STEP;
    $("only").hidden = only < 0;
    $("only-name").textContent = only < 0 ? "" : text(data.images[only]);
    draw();
  }

  for (const th of table.querySelectorAll("th[data-sort]")) {
    const button = element("button");
    button.type = "button";
    button.append(...th.childNodes);
    th.append(button);
    button.addEventListener("click", () => {
      const was = th.getAttribute("aria-sort");
      const down = was ? was === "ascending" : th.dataset.sort !== "id" && th.dataset.sort !== "package";
      for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
      sortBy = th.dataset.sort;
      descending = down;
      th.setAttribute("aria-sort", down ? "descending" : "ascending");
      filter();
    });
  }
  for (const button of document.querySelectorAll("button[data-image]")) {
    button.disabled = false;
    button.addEventListener("click", () => {
      only = Number(button.dataset.image);
      filter();
      $("findings").focus({ preventScroll: true });
      $("findings").scrollIntoView();
    });
  }
  $("only-clear").addEventListener("click", () => { only = -1; filter(); search.focus(); });
  let timer;
  search.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(filter, 120); });
  form.addEventListener("change", filter);
  form.addEventListener("submit", (e) => { e.preventDefault(); clearTimeout(timer); filter(); });
  form.addEventListener("reset", () => { only = -1; setTimeout(filter); });
  more.addEventListener("click", () => {
    const at = shown;
    shown += STEP;
    draw();
    const next = body.rows[at];
    if (next) { next.tabIndex = -1; next.focus({ preventScroll: true }); }
  });
  let before = 0;
  window.addEventListener("beforeprint", () => {
    before = shown;
    shown = PRINTED;
    draw();
    for (const d of document.querySelectorAll("details")) d.open = true;
  });
  window.addEventListener("afterprint", () => { shown = before; draw(); });

  form.hidden = false;
  filter();
})();
