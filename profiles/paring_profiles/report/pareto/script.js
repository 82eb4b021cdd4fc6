"use strict";
// Without this script the page has its figures, tables and links; with it: axes, sorting, filters, keys.
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const data = JSON.parse($("#report-data").textContent);
  document.documentElement.classList.add("scripted");

  // Sections: a point or a link opens its variant's.
  const open = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target || !target.classList.contains("variant")) return;
    const more = $("details", target);
    if (more) more.open = true;
    target.focus({ preventScroll: true });
    target.scrollIntoView({ block: "start" });
  };
  addEventListener("hashchange", open);
  $$('a[href^="#variant-"]').forEach((link) => link.addEventListener("click", () => {
    if (link.getAttribute("href") === decodeURIComponent(location.hash)) open(); // no hashchange comes
  }));

  // Copying a recipe.
  $$("button.copy").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const text = document.getElementById(button.dataset.of);
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(text);
        button.textContent = "Selected: press Ctrl+C";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2500);
    });
  });

  // The ranked table: sorting by its heads.
  const table = $("#ranked");
  const rows = table ? $$("tbody tr", table) : [];
  const sort = (head, button) => {
    const column = [...head.parentNode.children].indexOf(head);
    const down = head.getAttribute("aria-sort") === "ascending";
    $$("th[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const keyed = rows.map((row, index) => ({ row, index, key: row.children[column].dataset.sort ?? "" }));
    const numeric = button.dataset.kind === "number";
    keyed.sort((a, b) => {
      if (a.key === "" || b.key === "") return (a.key === "") - (b.key === "") || a.index - b.index;
      const order = numeric ? a.key - b.key : a.key.localeCompare(b.key, "en", { numeric: true });
      return (down ? -order : order) || a.index - b.index;
    });
    $("tbody", table).append(...keyed.map((one) => one.row));
  };
  if (table) {
    $$("thead th", table).forEach((head) => {
      const button = $("button", head);
      if (button) button.addEventListener("click", () => sort(head, button));
    });
  }

  // Filters, of the table and of the scatter.
  const filters = $("#filters");
  const shown = new Set(rows.map((row) => row.dataset.key));
  const filter = () => {
    const words = filters.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = $$("select[data-field]", filters).filter((select) => select.value !== "");
    shown.clear();
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = words.every((word) => text.includes(word)) && chosen.every((select) =>
        JSON.parse(row.dataset.fields)[select.dataset.field].includes(select.value));
      row.hidden = !fits;
      if (fits) shown.add(row.dataset.key);
    }
    $("#count").textContent = `${shown.size} of ${rows.length} shown`;
    draw();
  };

  // The scatter.
  const svg = $("#scatter");
  const points = svg ? $$("a.point", svg) : [];
  const controls = $("#axes");
  const tip = $("#tip");
  const margin = { left: 64, right: 22, top: 14, bottom: 52 };
  let size = { wide: 720, high: 440 };
  let places = new Map(); // key -> [x, y] of the points that are drawn

  const element = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const now = () => ({
    x: controls.elements.x.value,
    y: controls.elements.y.value,
    group: controls.elements.group ? controls.elements.group.value : data.group,
  });

  const draw = () => {
    if (!svg) return;
    const { x, y, group } = now();
    const width = Math.max(280, Math.round(svg.parentNode.clientWidth));
    size = { wide: width, high: Math.round(Math.min(460, Math.max(330, width * 0.6))) };
    svg.setAttribute("viewBox", `0 0 ${size.wide} ${size.high}`);
    const wide = size.wide - margin.left - margin.right, high = size.high - margin.top - margin.bottom;
    const across = (at) => margin.left + at * wide, down = (at) => margin.top + (1 - at) * high;
    const scales = data.scales[group];
    svg.setAttribute("aria-label", `Scatter of variants: ${data.axes[x].label}; ${data.axes[y].label}`);
    drawGrid($(".grid", svg), scales[x] ?? [], scales[y] ?? [], across, down, wide, high);
    drawTitles(x, y, wide, high);
    places = new Map();
    for (const point of points) {
      const own = data.points[point.dataset.key], a = own.figures[x], b = own.figures[y];
      const seen = own.group === group && a && b && (shown.has(point.dataset.key) || !rows.length);
      point.style.display = seen ? "" : "none";
      if (!seen) continue;
      const left = across(a[0]), top = down(b[0]);
      places.set(point.dataset.key, [left, top]);
      point.setAttribute("transform", `translate(${left} ${top})`);
      const bars = `M${across(a[1]) - left} 0H${across(a[2]) - left}M0 ${down(b[1]) - top}V${down(b[2]) - top}`;
      $(".bars", point).setAttribute("d", bars);
      const number = point.classList.contains("baseline") ? "" : `Variant ${point.dataset.key}, `;
      point.setAttribute("aria-label", `${number}${own.name}, ${own.place}, ${data.axes[x].label}: ${a[3]}, ${data.axes[y].label}: ${b[3]}`);
    }
    drawBest(x, y);
    label();
    rove();
  };

  const drawGrid = (grid, xs, ys, across, down, wide, high) => {
    const few = Math.ceil(xs.length * 62 / wide); // every so many ticks have room for their text
    grid.replaceChildren(
      ...xs.flatMap(([at, text], index) => [
        element("path", { d: `M${across(at)} ${margin.top}v${high}` }),
        element("text", { x: across(at), y: margin.top + high + 18, "text-anchor": "middle" }, index % few ? "" : text),
      ]),
      ...ys.flatMap(([at, text]) => [
        element("path", { d: `M${margin.left} ${down(at)}h${wide}` }),
        element("text", { x: margin.left - 8, y: down(at) + 4, "text-anchor": "end" }, text),
      ]),
    );
  };
  const drawTitles = (x, y, wide, high) => {
    const [below, beside] = $$("text.title", svg);
    const fit = (text, room) => (text.length * 6.6 > room ? text.replace(/, (less|more) is better$/, "") : text);
    below.textContent = fit(data.axes[x].label, size.wide);
    below.setAttribute("x", Math.min(margin.left + wide / 2, size.wide / 2 + 20));
    below.setAttribute("y", size.high - 10);
    beside.textContent = fit(data.axes[y].label, high + margin.bottom);
    beside.setAttribute("transform", `translate(14 ${size.high / 2 - 16}) rotate(-90)`);
  };
  // The best of the two axes shown, point estimates alone: a staircase.
  const drawBest = (x, y) => {
    const signX = data.axes[x].less ? 1 : -1, signY = data.axes[y].less ? -1 : 1; // SVG's y goes down
    const all = [...places.values()].sort((a, b) => signX * (a[0] - b[0]) || signY * (a[1] - b[1]));
    let path = "", best = Infinity, last = null;
    for (const [left, top] of all) {
      if (signY * top >= best) continue;
      best = signY * top;
      path += last ? `H${left}V${top}` : `M${left} ${top}`;
      last = [left, top];
    }
    $(".best", svg).setAttribute("d", path);
  };
  // Numbers beside the front's points, where none lies over another or over a point.
  const label = () => {
    const taken = [...places.values()].map(([left, top]) => [left - 7, top - 7, left + 7, top + 7]);
    const ringed = (point) => Number(Boolean($(".ring", point))); // these are told first
    for (const point of [...points].reverse().sort((a, b) => ringed(b) - ringed(a))) {
      const text = $("text", point), at = places.get(point.dataset.key);
      if (!at || !text.textContent) continue;
      const box = [at[0] + 9, at[1] - 19, at[0] + 11 + 7 * text.textContent.length, at[1] - 7];
      const free = taken.every((b) => box[2] < b[0] || box[0] > b[2] || box[3] < b[1] || box[1] > b[3]);
      text.style.display = free ? "" : "none";
      if (free) taken.push(box);
    }
  };

  // One point takes part in the order of the Tab key; arrows go to the next one in their direction.
  let current = null;
  const rove = () => {
    if (!places.has(current)) current = [...places.keys()].find((key) => key in data.points) ?? null;
    points.forEach((point) => point.setAttribute("tabindex", point.dataset.key === current ? "0" : "-1"));
  };
  const toward = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const move = (event) => {
    const way = toward[event.key], from = places.get(event.currentTarget.dataset.key);
    if (!way || !from) return;
    event.preventDefault();
    let next = null, least = Infinity;
    for (const [key, at] of places) {
      const ahead = (at[0] - from[0]) * way[0] + (at[1] - from[1]) * way[1];
      const aside = Math.abs((at[0] - from[0]) * way[1]) + Math.abs((at[1] - from[1]) * way[0]);
      if (key === current || ahead <= 0.01) continue;
      if (ahead + 2 * aside < least) { least = ahead + 2 * aside; next = key; }
    }
    if (next === null) return;
    current = next;
    rove();
    points.find((point) => point.dataset.key === next).focus();
  };
  const showTip = (point) => {
    const own = data.points[point.dataset.key], at = places.get(point.dataset.key), { x, y } = now();
    if (!at) return;
    const lines = [own.name, own.place, `${data.axes[x].label.split(",")[0]}: ${own.figures[x][3]}`,
      `${data.axes[y].label.split(",")[0]}: ${own.figures[y][3]}`];
    const number = point.classList.contains("baseline") ? [] : [`Variant ${point.dataset.key}`];
    tip.replaceChildren(...[...number, ...lines].map((line, index) => {
      const made = document.createElement(index ? "span" : "strong");
      made.textContent = line;
      return made;
    }));
    tip.hidden = false;
    const left = Math.min(at[0] + 14, size.wide - tip.offsetWidth - 4);
    tip.style.left = `${Math.max(4, left)}px`;
    const above = at[1] - tip.offsetHeight - 14;
    tip.style.top = `${above > 0 ? above : at[1] + 16}px`;
  };
  const hideTip = () => { tip.hidden = true; };

  points.forEach((point) => {
    $("title", point).remove(); // the tip says it
    point.addEventListener("keydown", move);
    point.addEventListener("mouseenter", () => showTip(point));
    point.addEventListener("mouseleave", hideTip);
    point.addEventListener("focus", () => { current = point.dataset.key; rove(); showTip(point); });
    point.addEventListener("blur", hideTip);
  });
  addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  if (svg) {
    controls.hidden = false;
    controls.addEventListener("change", draw);
    controls.addEventListener("submit", (event) => event.preventDefault());
    new ResizeObserver(() => { if (Math.abs(svg.parentNode.clientWidth - size.wide) > 1) draw(); }).observe(svg.parentNode);
  }
  if (filters) {
    filters.hidden = false;
    filters.addEventListener("input", filter);
    filters.addEventListener("reset", () => setTimeout(filter));
    filters.addEventListener("submit", (event) => event.preventDefault());
  }
  draw();
  open();
})();
