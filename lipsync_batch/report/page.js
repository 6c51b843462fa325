"use strict";
// Everything is shown as text: nothing here makes markup of what the rows hold (the page's policy forbids it as well).
(() => {
  const $ = (id) => document.getElementById(id);
  const about = JSON.parse($("about").textContent);
  const rows = JSON.parse($("rows").textContent).map((values) => {
    const row = {};
    about.fields.forEach((name, index) => { row[name] = values[index]; });
    return row;
  });

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== undefined && value !== null) made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  // ---- Numbers and times, as the reader writes them -------------------------------------------------------------

  const number = new Intl.NumberFormat("en");
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const second = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });
  const day = new Intl.DateTimeFormat(undefined, { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" });
  const at = (seconds) => new Date(seconds * 1000);

  function seconds(value) {
    if (value < 59.95) return `${value.toFixed(1)} s`;
    const whole = Math.round(value);
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
    return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  }
  function counted(jobs) {
    return jobs === 1 ? "1 job" : `${number.format(jobs)} jobs`;
  }
  function dollars(micro) {
    const digits = micro > 0 && micro < 100000 ? 4 : 2;
    return `$${(micro / 1e6).toFixed(digits)}`;
  }
  function size(bytes) {
    return bytes < 1e6 ? `${number.format(Math.ceil(bytes / 1e3))} kB` : `${number.format(Math.round(bytes / 1e5) / 10)} MB`;
  }

  function useLocalTimes() {
    for (const time of document.querySelectorAll("time")) {
      time.title = time.textContent;
      time.textContent = full.format(new Date(time.dateTime));
    }
    for (const tick of document.querySelectorAll("text[data-time]")) {
      tick.textContent = { day, clock, second }[tick.dataset.shows].format(new Date(tick.dataset.time));
    }
    for (const title of document.querySelectorAll("title[data-time]")) {
      title.textContent = `${second.format(new Date(title.dataset.time))}: ${title.textContent}`;
    }
  }

  // ---- What a job is ---------------------------------------------------------------------------------------------

  /** Where the video lies, as a link from this page; a name may hold any character. */
  function link(output) {
    return "./" + output.replace(/\p{Surrogate}/gu, "\ufffd").split("/").map(encodeURIComponent).join("/");
  }
  function looks(row) {
    return row.state === "done" && row.suspect !== null ? "suspect" : row.state;
  }
  const SIGNS = { failed: "×", unclear: "?", suspect: "!" };
  const WORST_FIRST = ["failed", "unclear", "suspect", "pending", "submitting", "submitted", "ready", "done"];
  const rank = Object.fromEntries(WORST_FIRST.map((name, index) => [name, index]));
  const badness = (row) => rank[looks(row)];
  function note(row) {
    return row.message || row.error || row.suspect;
  }
  /** What was charged; until that is known, about what the provider named. */
  function cost(row) {
    return row.settled === null ? `~${dollars(row.quoted)}` : dollars(row.settled);
  }
  function dot(state) {
    return element("i", { class: `dot s-${state}` });
  }

  // ---- Choosing: search, states, order. The choice stands in the address, so that it can be kept and sent on -----

  const choice = { q: "", states: new Set(), sort: "position", down: false };
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  let view = rows;

  function haystack(row) {
    row.hay ??= [row.key, row.output, ...row.labels, row.error, row.message, row.suspect, row.video, row.speech, row.generation]
      .filter((text) => text != null).join("\n").toLowerCase();
    return row.hay;
  }
  /** The value that `name=value` looks at: a label, or a field of our own; undefined for any other name. */
  function named(name) {
    const label = about.labels.indexOf(name);
    if (label >= 0) return (row) => row.labels[label];
    return ["key", "output", "state", "error", "video", "speaker"].includes(name) ? (row) => row[name] : undefined;
  }
  /** Tests out of what was typed: words, "several words", name=value, "a name"="a value" (a quote inside is doubled). */
  function tests(text) {
    const part = /(?:(?:"((?:[^"]|"")*)"|([^\s"=]+))=)?(?:"((?:[^"]|"")*)"|(\S+))/g;
    return Array.from(text.matchAll(part), ([whole, quotedName, plainName, quoted, plain]) => {
      const name = (quotedName ?? plainName)?.replaceAll('""', '"');
      const value = (quoted ?? plain).replaceAll('""', '"');
      const get = name === undefined ? undefined : named(name);
      if (get) return (row) => (get(row) ?? "") === value;
      const word = (name === undefined ? value : whole).toLowerCase();
      return (row) => haystack(row).includes(word);
    });
  }
  function term(name, value) {
    return [name, value].map((text) => (/^[^\s"=]+$/.test(text) ? text : `"${text.replaceAll('"', '""')}"`)).join("=");
  }
  function choose() {
    const wanted = tests(choice.q);
    const { states } = choice;
    const shown = (row) => !states.size || states.has(row.state) || states.has(looks(row));
    view = rows.filter((row) => shown(row) && wanted.every((test) => test(row)));
    const column = columns.find((one) => one.id === choice.sort);
    if (column && choice.sort !== "position") view.sort((a, b) => compare(column.value(a), column.value(b)) || a.position - b.position);
    else if (choice.down) view.reverse();
  }
  /** Jobs without a value come last, whichever way the others are sorted. */
  function compare(a, b) {
    if (a == null || b == null) return (a == null) - (b == null);
    const order = typeof a === "number" ? a - b : collator.compare(a, b);
    return choice.down ? -order : order;
  }
  function remember(job) {
    const address = new URLSearchParams();
    if (choice.states.size) address.set("state", [...choice.states].join(","));
    if (choice.q) address.set("q", choice.q);
    if (choice.sort !== "position" || choice.down) address.set("sort", (choice.down ? "-" : "") + choice.sort);
    if (job) address.set("job", job);
    history.replaceState(null, "", `#${address}`);
  }
  function recall() {
    const address = new URLSearchParams(location.hash.slice(1));
    if (![...address.keys()].some((name) => ["state", "q", "sort", "job"].includes(name))) return;
    const job = address.get("job");
    if (!job || address.size > 1) {
      choice.states = new Set((address.get("state") ?? "").split(",").filter(Boolean));
      choice.q = address.get("q") ?? "";
      const sort = address.get("sort") ?? "position";
      choice.down = sort.startsWith("-");
      choice.sort = sort.replace(/^-/, "");
      $("search").value = choice.q;
      refresh();
    }
    const row = job && rows.find((one) => one.key === job);
    if (row) open(row);
    else if (!job) $("jobs").scrollIntoView();
  }

  // ---- The table: only the rows in sight exist -------------------------------------------------------------------

  const ROW = 36;
  const SPARE = 8;
  const PRINTED = 500;
  const all = [
    { id: "position", title: "#", kind: "num k-position", value: (row) => row.position, text: (row) => number.format(row.position + 1) },
    { id: "state", title: "State", kind: "k-state", value: badness },
    { id: "key", title: "Job", kind: "k-key", value: (row) => row.key },
    ...about.labels.slice(0, 2).map((name, index) => ({
      id: `label:${name}`, title: name, kind: index ? "k-label k-more" : "k-label", value: (row) => row.labels[index] ?? null,
    })),
    { id: "length", title: "Length", kind: "num k-length", value: (row) => row.length, text: (row) => seconds(row.length) },
    { id: "took", title: "Made in", kind: "num k-took", value: (row) => row.took, text: (row) => seconds(row.took) },
    { id: "cost", title: "Cost", kind: "num k-cost", value: (row) => row.settled ?? row.quoted, text: cost },
    { id: "finished", title: "Finished", kind: "k-finished", value: (row) => row.finished, text: (row) => day.format(at(row.finished)) },
    { id: "note", title: "Note", kind: "k-note", value: note },
  ];
  const columns = all.filter((column) => rows.some((row) => column.value(row) != null));
  const scroller = $("table");
  const body = element("tbody");
  let active = 0;
  let printing = false;

  function cellOf(row, column) {
    const value = column.value(row);
    const cell = element("td", { class: column.kind });
    if (column.id === "state") cell.append(dot(looks(row)), looks(row));
    else if (column.id === "key") cell.append(element("button", { type: "button", class: "open", tabindex: -1, dir: "auto" }, row.key));
    else if (value != null) {
      const text = column.text ? column.text(row) : value;
      cell.append(element("bdi", {}, text));
      if (!column.text) cell.title = text;
    }
    return cell;
  }
  function rowOf(row, index) {
    const made = element("tr", { class: "row", "aria-rowindex": index + 2 }, ...columns.map((column) => cellOf(row, column)));
    made.dataset.index = index;
    return made;
  }
  function space(count) {
    const cell = element("td"); // One cell: a colspan would count the columns that a narrow page hides.
    cell.style.height = `${count * ROW}px`;
    return element("tr", { class: "space", "aria-hidden": "true" }, cell);
  }
  function paint() {
    const first = printing ? 0 : Math.max(0, Math.floor(scroller.scrollTop / ROW) - SPARE);
    const count = printing ? PRINTED : Math.ceil(scroller.clientHeight / ROW) + 2 * SPARE;
    const last = Math.min(view.length, first + count);
    const focused = body.contains(document.activeElement);
    const painted = view.slice(first, last).map((row, offset) => rowOf(row, first + offset));
    body.replaceChildren(space(first), ...painted, space(printing ? 0 : view.length - last));
    const stop = active >= first && active < last ? active - first : Math.min(SPARE, painted.length - 1);
    const button = painted[stop]?.querySelector("button");
    if (button) button.tabIndex = 0;
    if (focused) (button ?? scroller).focus({ preventScroll: true });
  }
  function move(to) {
    active = Math.max(0, Math.min(view.length - 1, to));
    const top = active * ROW;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    const low = top + 2 * ROW - scroller.clientHeight;
    if (low > scroller.scrollTop) scroller.scrollTop = low;
    paint();
  }
  function heading(column) {
    const sorted = choice.sort === column.id ? (choice.down ? "descending" : "ascending") : undefined;
    const button = element("button", { type: "button" }, column.title);
    button.addEventListener("click", () => {
      choice.down = choice.sort === column.id && !choice.down;
      choice.sort = column.id;
      refresh();
      remember();
      head.querySelectorAll("button")[columns.indexOf(column)].focus();
    });
    return element("th", { scope: "col", class: column.kind, "aria-sort": sorted }, button);
  }
  const head = element("tr");
  const nothing = element("p", { class: "empty", hidden: "" }, "No job is like that.");

  function refresh() {
    choose();
    head.replaceChildren(...columns.map(heading));
    for (const chip of $("filters").children) chip.setAttribute("aria-pressed", choice.states.has(chip.dataset.state));
    $("found").textContent = (view.length < rows.length ? `${number.format(view.length)} of ` : "") + counted(rows.length);
    nothing.hidden = view.length > 0;
    active = 0;
    scroller.scrollTop = 0;
    paint();
  }

  function buildTable() {
    $("tools").hidden = scroller.hidden = false;
    scroller.append(element("table", { class: "jobs", "aria-rowcount": rows.length + 1 }, element("thead", {}, head), body), nothing);
    const present = ["suspect", ...about.states].filter((state) => rows.some((row) => row.state === state || looks(row) === state));
    for (const state of WORST_FIRST.filter((name) => present.includes(name))) {
      const chip = element("button", { type: "button", class: "chip" }, dot(state), state);
      chip.dataset.state = state;
      chip.addEventListener("click", () => {
        if (!choice.states.delete(state)) choice.states.add(state);
        refresh();
        remember();
      });
      $("filters").append(chip);
    }
    const label = about.labels.findIndex((_, index) => rows.some((row) => row.labels[index]));
    if (label >= 0) $("search").placeholder += `, or ${term(about.labels[label], rows.find((row) => row.labels[label]).labels[label])}`;
    $("search").addEventListener("input", (event) => {
      choice.q = event.target.value;
      refresh();
      remember();
    });
    let asked = false;
    scroller.addEventListener("scroll", () => {
      if (!asked) requestAnimationFrame(() => { asked = false; paint(); });
      asked = true;
    }, { passive: true });
    new ResizeObserver(paint).observe(scroller);
    body.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (row) { active = Number(row.dataset.index); open(view[active]); }
    });
    body.addEventListener("keydown", (event) => {
      const page = Math.floor(scroller.clientHeight / ROW) - 1;
      const to = { ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page, Home: 0, End: view.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      move(to);
    });
    body.addEventListener("focusin", (event) => { active = Number(event.target.closest(".row").dataset.index); });
    addEventListener("beforeprint", () => { printing = true; paint(); });
    addEventListener("afterprint", () => { printing = false; paint(); });
    refresh();
  }

  // ---- The viewer: a job's video and all that is known of it -----------------------------------------------------

  const viewer = $("viewer");
  let seen = null;

  function screen(row) {
    if (row.state !== "done") return [];
    const address = link(row.output);
    const video = element("video", { controls: "", playsinline: "", preload: "auto", src: address });
    video.addEventListener("error", () => {
      video.replaceWith(element("p", {}, "The video is not where this page looks for it: ", element("a", { href: address }, element("bdi", {}, row.output))));
    });
    video.play().catch(() => {}); // A browser may want another click first: the controls are there.
    return [video];
  }
  function facts(row) {
    const told = [
      ["State", looks(row)], ["Cause", row.error], ["Message", row.message], ["Looks wrong", row.suspect],
      ...about.labels.map((name, index) => [name, row.labels[index]]),
      ["Video", row.video], [row.speaker ? "Text" : "Speech", row.speech], ["Speaker", row.speaker],
      ["Length", row.length === null ? null : seconds(row.length)],
      ["Picture", row.size && `${row.size[0]} × ${row.size[1]}`], ["Size", row.bytes === null ? null : size(row.bytes)],
      ["Submitted", row.submitted === null ? null : full.format(at(row.submitted))],
      ["Finished", row.finished === null ? null : full.format(at(row.finished))],
      ["Made in", row.took === null ? null : seconds(row.took)], ["Settled", row.settled === null ? null : dollars(row.settled)], ["Quoted", row.quoted === null ? null : dollars(row.quoted)],
      ["Attempts", row.attempts > 1 ? String(row.attempts) : null], ["Generation", row.generation],
    ];
    return told.filter(([, value]) => value).flatMap(([name, value]) => [
      element("dt", {}, element("bdi", {}, name)),
      element("dd", { dir: "auto" }, ...(name === "State" ? [dot(value), value] : [value])),
    ]);
  }
  function output(row) {
    const shown = row.state === "done" ? element("a", { href: link(row.output) }, row.output) : row.output;
    return [element("dt", {}, "Output"), element("dd", { dir: "auto" }, shown)];
  }
  function open(row) {
    seen = row;
    const place = view.indexOf(row);
    $("viewer-key").textContent = row.key;
    $("viewer-place").textContent = place < 0 ? "" : `${number.format(place + 1)} of ${number.format(view.length)}`;
    $("viewer-screen").replaceChildren(...screen(row));
    $("viewer-facts").replaceChildren(...facts(row), ...output(row));
    for (const button of viewer.querySelectorAll("[data-go]")) button.disabled = place < 0 || !view[place + Number(button.dataset.go)];
    if (!viewer.open) viewer.showModal();
    viewer.scrollTop = 0;
    remember(row.key);
  }
  function go(by) {
    const place = view.indexOf(seen);
    const next = place < 0 ? undefined : view[place + by];
    if (next) open(next);
  }
  function buildViewer() {
    viewer.addEventListener("close", () => {
      $("viewer-screen").replaceChildren();
      const place = view.indexOf(seen);
      if (place >= 0 && body.contains(document.activeElement)) move(place);
      remember();
    });
    viewer.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button?.dataset.go) go(Number(button.dataset.go));
      else if (button || event.target === viewer) viewer.close();
    });
    viewer.addEventListener("keydown", (event) => {
      if (event.key === "j") go(1);
      if (event.key === "k") go(-1);
    });
  }

  // ---- At a glance: video × label, or a wall of cells where nothing makes columns --------------------------------

  const MOST_CELLS = 12000;
  const MOST_COLUMNS = 60;
  const DENSE_ROWS = 80;
  const WIDEST_NAME = 260;
  const WIDEST_CELL = 72;

  function crossed(label) {
    const columnNames = new Map();
    const lines = new Map();
    for (const row of rows) {
      const name = row.labels[label] ?? "";
      columnNames.set(name, columnNames.size);
      if (!lines.has(row.video)) lines.set(row.video, new Map());
      const line = lines.get(row.video);
      line.set(name, [...(line.get(name) ?? []), row]);
    }
    return { names: [...columnNames.keys()], lines };
  }
  /** Whether columns by this label say something: few enough of them, and at least half of the cells in use. */
  function telling(label) {
    const names = new Set(rows.map((row) => row.labels[label] ?? ""));
    if (names.size < 2 || names.size > MOST_COLUMNS) return false;
    const videos = new Set(rows.map((row) => row.video));
    const used = new Set(rows.map((row) => `${row.labels[label] ?? ""}\n${row.video}`));
    return used.size * 2 >= names.size * videos.size;
  }
  function cell(jobs, label) {
    const row = jobs.reduce((worst, one) => (badness(one) < badness(worst) ? one : worst));
    const state = looks(row);
    const title = [row.key, state, note(row), jobs.length > 1 ? counted(jobs.length) : null].filter(Boolean).join("\n");
    const made = element("button", { type: "button", class: `cell s-${state}`, title, "aria-label": `${row.key}: ${state}`, tabindex: -1 }, SIGNS[state] ?? "");
    made.addEventListener("click", () => {
      if (jobs.length === 1) return open(row);
      location.hash = new URLSearchParams({ q: `${term(about.labels[label], row.labels[label] ?? "")} ${term("video", row.video)}` });
    });
    return made;
  }
  /** The last part of each path; the whole path where two would look alike. */
  function shortNames(paths) {
    const short = paths.map((path) => path.split("/").pop() || path);
    return new Set(short).size === short.length ? short : paths;
  }
  function matrix(label) {
    const { names, lines } = crossed(label);
    names.sort(collator.compare);
    const shortened = shortNames([...lines.keys()]);
    let shown = [...lines].map(([video, line], index) => ({ video, line, short: shortened[index] }));
    const most = Math.floor(MOST_CELLS / names.length);
    if (shown.length > most) {
      const worst = ({ line }) => Math.min(...[...line.values()].flat().map(badness));
      tell(`${number.format(most)} of ${number.format(shown.length)} videos: those with a problem first.`);
      shown = shown.sort((a, b) => worst(a) - worst(b)).slice(0, most);
    }
    const tall = names.some((name) => name.length > 3) ? "tall" : "";
    const table = element("table", { class: shown.length > DENSE_ROWS ? "grid dense" : "grid" },
      element("thead", {}, element("tr", {}, element("td"), ...names.map((name) => element("th", { scope: "col", class: tall, title: name }, element("span", {}, element("bdi", {}, name || "–")))))),
      element("tbody", {}, ...shown.map(({ video, line, short }) => element("tr", {},
        element("th", { scope: "row", title: video, dir: "auto" }, short),
        ...names.map((name) => element("td", {}, ...(line.has(name) ? [cell(line.get(name), label)] : [])))))));
    table.style.maxWidth = `${WIDEST_NAME + names.length * WIDEST_CELL}px`;
    return table;
  }
  function wall() {
    const shown = rows.length > MOST_CELLS ? [...rows].sort((a, b) => badness(a) - badness(b)).slice(0, MOST_CELLS) : rows;
    if (shown.length < rows.length) tell(`${number.format(shown.length)} of ${number.format(rows.length)} jobs: those with a problem first.`);
    return element("div", { class: "wall" }, ...shown.map((row) => cell([row])));
  }
  function tell(text) {
    $("glance-note").textContent = text;
    $("glance-note").hidden = false;
  }
  function paintGlance(label) {
    $("glance-note").hidden = true;
    $("glance-grid").replaceChildren(label === undefined ? wall() : matrix(label));
    const first = $("glance-grid").querySelector(".cell");
    if (first) first.tabIndex = 0;
  }
  /** The cell that an arrow key leads to: the next one that way in its line, or nearest in the line above or below. */
  function neighbour(from, key) {
    const cells = [...$("glance-grid").querySelectorAll(".cell")];
    if (key === "ArrowRight" || key === "ArrowLeft") return cells[cells.indexOf(from) + (key === "ArrowRight" ? 1 : -1)];
    const here = from.getBoundingClientRect();
    const sign = key === "ArrowDown" ? 1 : -1;
    const beyond = cells.map((one) => ({ one, box: one.getBoundingClientRect() })).filter(({ box }) => (box.top - here.top) * sign > 2);
    const far = ({ box }) => Math.abs(box.top - here.top) * 100 + Math.abs(box.left - here.left);
    return beyond.length ? beyond.reduce((best, one) => (far(one) < far(best) ? one : best)).one : undefined;
  }
  function buildGlance() {
    if (!about.complete || rows.length < 2) return;
    const labels = about.labels.map((_, index) => index).filter(telling);
    $("glance-label").append(...labels.map((index) => element("option", { value: index }, about.labels[index])));
    $("glance-choice").hidden = labels.length < 2;
    $("glance-label").addEventListener("change", (event) => paintGlance(Number(event.target.value)));
    $("glance-grid").addEventListener("keydown", (event) => {
      if (!event.key.startsWith("Arrow") || !event.target.matches(".cell")) return;
      const next = neighbour(event.target, event.key);
      event.preventDefault();
      if (!next) return;
      event.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
    paintGlance(labels[0]);
    $("glance").hidden = false;
  }

  // ---- The page as a whole ---------------------------------------------------------------------------------------

  function buildCopying() {
    for (const button of document.querySelectorAll("[data-copy]")) {
      button.addEventListener("click", async () => {
        const code = button.previousElementSibling;
        getSelection().selectAllChildren(code);
        // Over plain http a browser gives no clipboard; the command is selected then, ready for Ctrl-C.
        await navigator.clipboard?.writeText(code.textContent);
        button.textContent = navigator.clipboard ? "Copied" : "Selected";
      });
    }
  }
  /** While a run goes on, load again what it has written since; never under the hands of someone who reads or types. */
  function followRun() {
    setInterval(() => {
      if (!viewer.open && !document.hidden && document.activeElement !== $("search")) location.reload();
    }, 30000);
  }
  function buildShortcuts() {
    addEventListener("keydown", (event) => {
      if (event.key !== "/" || viewer.open || event.target.matches("input, select")) return;
      event.preventDefault();
      $("search").focus();
    });
    addEventListener("hashchange", recall);
  }

  useLocalTimes();
  buildTable();
  buildViewer();
  buildGlance();
  buildCopying();
  buildShortcuts();
  recall();
  if (about.running) followRun();
})();
