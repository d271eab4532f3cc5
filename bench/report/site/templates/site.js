// The question of the front page, sorting, filtering and highlighting of a board, tips on coloured cells, charts.
// The state of a board is part of its address: #sort=utility:desc&q=dp&hide=no_effect&stage=training&family=dp_sgd&at=plane
// It stands behind "#" since a page that is opened from disk may change nothing else of its address.
"use strict";
(() => {
  const root = document.body.dataset.root;
  const said = document.getElementById("said");
  document.documentElement.classList.add("js");

  const cited = new URLSearchParams(location.hash.slice(1)).get("version");
  if (cited && cited !== document.body.dataset.version) document.getElementById("cited").hidden = false;

  // ---------------------------------------------------------------- the board
  const table = document.getElementById("rows");
  const tools = document.querySelector(".tools");
  const more = document.querySelector(".more");
  const names = ["q", "stage", "family"];
  const heads = table ? [...table.tHead.rows[0].cells] : [];
  const most = 100; // rows laid out at once: a longer table would make sorting stutter
  let limit = most;
  let charts = [];

  const body = table && table.querySelector("tbody.sorted");
  const rows = body ? [...body.rows].map((row) => ({
    row, flags: row.dataset.h.split(" "), stages: row.dataset.s.split(" "),
    text: [1, 7].map((at) => `${row.cells[at].dataset.v} ${row.cells[at].textContent}`).join(" ").toLowerCase(),
    keys: [...row.cells].map((cell) => {
      const text = cell.dataset.v ?? "";
      const number = Number(text);
      return text === "" || Number.isNaN(number) ? text : number;
    }),
  })) : [];
  const all = table ? [...table.tBodies].flatMap((part) => [...part.rows]) : [];

  function read() {
    const given = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
    const [column = "L", turn = "asc"] = (given.get("sort") || "L:asc").split(":");
    const state = { column, turn, hide: (given.get("hide") || "").split(",").filter(Boolean), at: given.get("at") || "" };
    for (const name of names) state[name] = given.get(name) || "";
    return state;
  }

  function address(state) {
    const kept = new URLSearchParams();
    if (state.column !== "L" || state.turn !== "asc") kept.set("sort", `${state.column}:${state.turn}`);
    for (const name of names) if (state[name]) kept.set(name, state[name]);
    if (state.hide.length) kept.set("hide", state.hide.join(","));
    if (state.at) kept.set("at", state.at);
    const text = kept.toString();
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  }

  function show(state) {
    let head = heads.find((cell) => cell.querySelector(`button[data-col="${CSS.escape(state.column)}"]`));
    if (!head) [state.column, state.turn, head] = ["L", "asc", heads[2]];
    const at = head.cellIndex;
    const sign = state.turn === "desc" ? -1 : 1;
    rows.sort(({ keys: { [at]: a } }, { keys: { [at]: b } }) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      return sign * (a < b ? -1 : a > b ? 1 : 0);
    });
    const wanted = state.q.toLowerCase();
    let passed = 0;
    let seen = 0;
    let group = null;
    for (const { row, flags, stages, text } of rows) {
      const out = (wanted && !text.includes(wanted)) || (state.stage && !stages.includes(state.stage))
        || state.hide.some((flag) => flags.includes(flag));
      passed += !out;
      row.hidden = out || passed > limit;
      if (row.hidden) continue;
      // A rule between groups that can be told apart, where the order is that of leakage.
      row.classList.toggle("tie", state.column === "L" && seen > 0 && row.dataset.g !== group);
      group = row.dataset.g;
      seen += 1;
    }
    body.append(...rows.map(({ row }) => row));
    for (const cell of heads) if (cell.ariaSort) cell.ariaSort = "none";
    head.ariaSort = sign < 0 ? "descending" : "ascending";
    for (const row of all) row.classList.toggle("lit", state.family !== "" && row.dataset.f === state.family);
    table.classList.toggle("dim", state.family !== "");
    const fixed = all.length - rows.length;
    tools.querySelector("output").textContent = passed === rows.length
      ? `${all.length} rows` : `${passed + fixed} of ${all.length} rows`;
    document.querySelector(".none").hidden = passed > 0 || rows.length === 0;
    more.hidden = seen === passed;
    more.textContent = `Show ${passed - seen} more rows`;
    for (const name of names) if (tools.elements[name]) tools.elements[name].value = state[name];
    for (const box of tools.querySelectorAll("[name=hide]")) box.checked = state.hide.includes(box.value);
    highlight(state.family);
    return head;
  }

  function change(update, tell) {
    const state = { ...read(), ...update };
    const head = show(state);
    address(state);
    said.textContent = tell(head, state);
  }

  function whole() {
    limit = Infinity;
    show(read());
  }

  const count = () => `Showing ${tools.querySelector("output").textContent}.`;

  function filter() {
    const update = { hide: [...tools.querySelectorAll("[name=hide]:checked")].map((box) => box.value) };
    for (const name of names) if (tools.elements[name]) update[name] = tools.elements[name].value;
    change(update, count);
  }

  function light(family) {
    const now = read().family;
    change({ family: now === family ? "" : family }, (_, state) =>
      state.family ? `${tools.elements.family.selectedOptions[0].textContent} is highlighted.` : "Nothing is highlighted.");
  }

  if (body) {
    table.tHead.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-col]");
      if (!button) return;
      const turn = button.closest("th").ariaSort === "ascending" ? "desc" : "asc";
      change({ column: button.dataset.col, turn }, (head) =>
        `Sorted by ${button.textContent}, ${head.ariaSort}.`);
    });
    tools.addEventListener("input", filter);
    tools.addEventListener("submit", (event) => event.preventDefault());
    tools.addEventListener("reset", (event) => {
      event.preventDefault();
      change({ q: "", stage: "", family: "", hide: [] }, count);
    });
    more.addEventListener("click", whole);
    addEventListener("hashchange", () => show(read()));
    show(read());
    // A jump within the page keeps what is filtered and sorted.
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[href^='#']");
      const place = link && document.getElementById(link.hash.slice(1));
      if (!place) return;
      event.preventDefault();
      address({ ...read(), at: place.id });
      jump(place);
    });
    const place = document.getElementById(read().at);
    if (place) jump(place);
  }

  function jump(place) {
    place.scrollIntoView();
    place.tabIndex = -1;
    place.focus({ preventScroll: true });
  }

  // ---------------------------------------------------------------- the question
  const asked = document.getElementById("question");
  const answers = [...document.querySelectorAll("#answers article")];

  function answer() {
    const { kind, access, tier } = asked.elements;
    const fits = (article, ...boxes) => boxes.every((box) => article.dataset[box.name] === box.value);
    for (const option of access.options) {
      option.hidden = option.disabled = !answers.some((article) => fits(article, kind) && article.dataset.access === option.value);
    }
    if (access.selectedOptions[0].disabled) access.value = [...access.options].find((option) => !option.disabled).value;
    let shown = 0;
    for (const article of answers) {
      article.hidden = !fits(article, kind, access, tier);
      shown += !article.hidden;
    }
    document.querySelector("#answers .none").hidden = shown > 0;
    return new URLSearchParams([kind, access, tier].map((box) => [box.name, box.value]));
  }

  if (asked) {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const box of [...asked.elements]) {
      if ([...box.options].some((option) => option.value === given.get(box.name))) box.value = given.get(box.name);
    }
    answer();
    asked.addEventListener("input", () => history.replaceState(null, "", `#${answer()}`));
    asked.addEventListener("submit", (event) => event.preventDefault());
  }

  // ---------------------------------------------------------------- the matrix
  const matrix = document.getElementById("matrix");
  if (matrix) {
    const last = matrix.tHead.rows[matrix.tHead.rows.length - 1].cells;
    matrix.tHead.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const head = button.closest("th");
      const at = head.cellIndex;
      const sign = head.ariaSort === "ascending" ? -1 : 1;
      const value = (row) => {
        const text = row.cells[at].dataset.v ?? "";
        return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
      };
      const lines = [...matrix.tBodies[0].rows].filter((row) => !row.classList.contains("reference"));
      lines.sort((one, other) => {
        const [a, b] = [value(one), value(other)];
        if (a === "" || b === "") return (a === "") - (b === "");
        return sign * (a < b ? -1 : a > b ? 1 : 0);
      });
      matrix.tBodies[0].append(...lines);
      for (const cell of last) cell.ariaSort = "none";
      head.ariaSort = sign < 0 ? "descending" : "ascending";
      said.textContent = `${button.ariaLabel || "Sorted by defense"}, ${head.ariaSort}.`;
    });
  }

  // ---------------------------------------------------------------- tips
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  document.body.append(tip);

  function tell(cell) {
    const owner = cell.closest("table");
    const heads = owner.tHead.rows[owner.tHead.rows.length - 1].cells;
    const attack = heads[owner.classList.contains("attacks") ? cell.cellIndex - 1 : cell.cellIndex];
    const title = attack && (attack.title || attack.textContent.trim());
    const parts = [["b", cell.parentElement.cells[0].innerText.trim()]];
    if (owner.classList.contains("attacks")) parts.push(["span", title]);
    parts.push(["span", `L ${cell.dataset.l ?? cell.textContent} ${cell.dataset.t}`]);
    tip.replaceChildren(...parts.map(([tag, text]) => {
      const part = document.createElement(tag);
      part.textContent = text;
      return part;
    }));
    tip.hidden = false;
    const box = cell.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 8);
    const above = box.top - tip.offsetHeight - 6;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(above > 0 ? above : box.bottom + 6) + scrollY}px`;
  }

  for (const owner of document.querySelectorAll("table.tips")) {
    owner.addEventListener("pointerover", (event) => {
      const cell = event.target.closest("td[data-t]");
      if (cell) tell(cell);
      else tip.hidden = true;
    });
    owner.addEventListener("pointerleave", () => { tip.hidden = true; });
  }

  // ---------------------------------------------------------------- charts
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let library = null;

  function plotly() {
    library ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `${root}assets/plotly.min.js`;
      script.onload = () => resolve(window.Plotly);
      script.onerror = reject;
      document.head.append(script);
    });
    return library;
  }

  function painted(value, style) {
    if (typeof value === "string") {
      const role = /^var\((--[a-z-]+)\)$/.exec(value);
      return role ? style.getPropertyValue(role[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((part) => painted(part, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, painted(part, style)]));
    }
    return value;
  }

  // Names that lie apart on a wide screen would cover each other on a phone: the first of them stay.
  function apart({ annotations, margin, xaxis, yaxis }, place) {
    const wide = (place.clientWidth - margin.l - margin.r) / (xaxis.range[1] - xaxis.range[0]);
    const high = (place.clientHeight - margin.t - margin.b) / (yaxis.range[1] - yaxis.range[0]);
    const boxes = [];
    return annotations.filter(({ x, y, text, xanchor }) => {
      const size = 6.5 * text.length + 4; // a rough width of 11 pixel letters
      const left = x * wide - size * { left: 0, center: 0.5, right: 1 }[xanchor];
      const clear = boxes.every(([at, length, level]) =>
        left + size < at || at + length < left || Math.abs(y * high - level) > 16);
      if (clear) boxes.push([left, size, y * high]);
      return clear;
    });
  }

  function draw(chart) {
    const style = getComputedStyle(document.documentElement);
    const { data, layout } = painted(chart.figure, style);
    const ink = style.getPropertyValue("--ink").trim();
    if (layout.annotations) layout.annotations = apart(layout, chart.place);
    Object.assign(layout, {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: ink },
      hoverlabel: {
        bgcolor: style.getPropertyValue("--surface").trim(), bordercolor: style.getPropertyValue("--muted").trim(),
        font: { color: ink, size: 13, family: getComputedStyle(document.body).fontFamily }, align: "left",
      },
    });
    const config = { displayModeBar: false, displaylogo: false, responsive: true, scrollZoom: false, doubleClick: false };
    chart.lit = "";
    return window.Plotly.react(chart.place, data, layout, config);
  }

  function highlight(family) {
    for (const chart of charts) {
      const { place, figure } = chart;
      if (!place.data || chart.lit === family) continue; // drawing again would slow a sort
      chart.lit = family;
      const own = figure.data.map((_, i) => i).filter((i) => figure.data[i].meta);
      if (!own.length) continue;
      const opacity = own.map((i) => (!family || [family, "none"].includes(figure.data[i].meta) ? 1 : 0.12));
      window.Plotly.restyle(place, { opacity }, own);
    }
  }

  charts = [...document.querySelectorAll("[data-chart]")].map((place) => ({
    place, figure: JSON.parse(document.getElementById(place.dataset.chart).textContent),
  }));

  function first(chart) {
    const { place } = chart;
    if ("begun" in place.dataset) return null;
    place.dataset.begun = "";
    watch.unobserve(place);
    return plotly().then(() => draw(chart)).then(() => {
      place.dataset.drawn = "";
      place.on("plotly_click", ({ points: [point] }) => {
        const { meta } = chart.figure.data[point.curveNumber];
        if (meta && body) light(meta);
      });
      if (body) highlight(read().family);
    });
  }

  const watch = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) first(charts.find(({ place }) => place === target));
    }
  }, { rootMargin: "300px" });
  // What nobody scrolled to is drawn once nothing else is to do, so that a print has every chart.
  addEventListener("load", async () => {
    for (const chart of charts) {
      await new Promise((resolve) => (window.requestIdleCallback || setTimeout)(resolve));
      await first(chart);
    }
  });
  for (const { place, figure } of charts) {
    if (figure.layout.height) place.style.height = `${figure.layout.height}px`;
    watch.observe(place);
  }

  function redraw() {
    for (const chart of charts) if (chart.place.data) draw(chart);
    if (body) highlight(read().family);
  }
  dark.addEventListener("change", redraw);
  matchMedia("print").addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    if (body) whole();
    for (const details of document.querySelectorAll("details.legend")) details.open = true;
  });
})();
