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
  function picture(row) {
    return row.poster ? `./${about.posters}/${row.poster}` : undefined;
  }
  /** A poster where there is one. Only what comes into sight is loaded. */
  function still(row) {
    return row.poster ? [element("img", { src: picture(row), alt: "", loading: "lazy", decoding: "async" })] : [];
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

  const choice = { q: "", states: new Set(), sort: "position", down: false, pictures: false };
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
    if (choice.pictures) address.set("view", "pictures");
    if (job) address.set("job", job);
    history.replaceState(null, "", `#${address}`);
  }
  function recall() {
    const address = new URLSearchParams(location.hash.slice(1));
    if (![...address.keys()].some((name) => ["state", "q", "sort", "view", "job"].includes(name))) return;
    const job = address.get("job");
    if (!job || address.size > 1) {
      choice.states = new Set((address.get("state") ?? "").split(",").filter(Boolean));
      choice.q = address.get("q") ?? "";
      const sort = address.get("sort") ?? "position";
      choice.down = sort.startsWith("-");
      choice.sort = sort.replace(/^-/, "");
      choice.pictures = hasPictures && address.get("view") === "pictures";
      $("search").value = choice.q;
      refresh();
    }
    const row = job && rows.find((one) => one.key === job);
    if (row) open(row);
    else if (!job) $("jobs").scrollIntoView();
  }

  // ---- The jobs, as a table or as pictures: only what is in sight exists ------------------------------------------

  const ROW = 36;
  const CARD = { width: 160, height: 158 }; // As in the style sheet
  const SPARE = { table: 8, pictures: 2 };
  const PRINTED = 500;
  const hasPictures = rows.some((row) => row.poster);
  const all = [
    { id: "position", title: "#", kind: "num k-position", value: (row) => row.position, text: (row) => number.format(row.position + 1) },
    { id: "poster", title: "", kind: "k-poster", value: (row) => row.poster },
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
  const head = element("tr");
  const body = element("tbody");
  const table = element("table", { class: "jobs", "aria-rowcount": rows.length + 1 }, element("thead", {}, head), body);
  const cards = element("div", { class: "cards", role: "list" });
  const nothing = element("p", { class: "empty", hidden: "" }, "No job is like that.");
  let active = 0;
  let printing = false;

  function cellOf(row, column) {
    const value = column.value(row);
    const cell = element("td", { class: column.kind });
    if (column.id === "state") cell.append(dot(looks(row)), looks(row));
    else if (column.id === "poster") cell.append(...still(row));
    else if (column.id === "key") cell.append(element("button", { type: "button", class: "open", tabindex: -1, dir: "auto" }, row.key));
    else if (value != null) {
      const text = column.text ? column.text(row) : value;
      cell.append(element("bdi", {}, text));
      if (!column.text) cell.title = text;
    }
    return cell;
  }
  function rowOf(row, index) {
    return element("tr", { class: "row", "aria-rowindex": index + 2, "data-index": index }, ...columns.map((column) => cellOf(row, column)));
  }
  function cardOf(row, index) {
    const state = looks(row);
    const told = [state === "done" ? null : state, ...about.labels.slice(0, 2).map((_, label) => row.labels[label]), row.length === null ? null : seconds(row.length)];
    return element("div", { class: "row card", role: "listitem", "data-index": index, title: note(row) },
      element("div", { class: "still" }, ...(row.poster ? still(row) : [element("span", { class: "muted" }, row.state === "done" ? "no picture" : "")])),
      element("button", { type: "button", class: "open", tabindex: -1, dir: "auto" }, row.key),
      element("p", { class: "muted" }, dot(state), element("bdi", {}, told.filter(Boolean).join(" · "))));
  }
  function space(lines) {
    const height = `${lines * line()}px`;
    if (choice.pictures) {
      const made = element("div", { class: "space" });
      made.style.height = height;
      return made;
    }
    const cell = element("td"); // One cell: a colspan would count the columns that a narrow page hides.
    cell.style.height = height;
    return element("tr", { class: "space", "aria-hidden": "true" }, cell);
  }
  /** How many jobs stand in a line, and how high it is. */
  function across() {
    return choice.pictures ? Math.max(1, Math.floor(scroller.clientWidth / CARD.width)) : 1;
  }
  function line() {
    return choice.pictures ? CARD.height : ROW;
  }
  function paint() {
    const spare = choice.pictures ? SPARE.pictures : SPARE.table;
    const wide = across();
    const lines = Math.ceil(view.length / wide);
    const top = printing ? 0 : Math.max(0, Math.floor(scroller.scrollTop / line()) - spare);
    const end = Math.min(lines, top + (printing ? Math.ceil(PRINTED / wide) : Math.ceil(scroller.clientHeight / line()) + 2 * spare));
    const place = choice.pictures ? cards : body;
    const focused = place.contains(document.activeElement);
    const first = top * wide;
    const painted = view.slice(first, end * wide).map((row, offset) => (choice.pictures ? cardOf : rowOf)(row, first + offset));
    cards.style.gridTemplateColumns = `repeat(${wide}, minmax(0, 1fr))`;
    place.replaceChildren(space(top), ...painted, space(printing ? 0 : lines - end));
    const stop = active >= first && active < first + painted.length ? active - first : Math.min(spare * wide, painted.length - 1);
    const button = painted[stop]?.querySelector("button");
    if (button) button.tabIndex = 0;
    if (focused) (button ?? scroller).focus({ preventScroll: true });
  }
  function move(to) {
    active = Math.max(0, Math.min(view.length - 1, to));
    const top = Math.floor(active / across()) * line();
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    const low = top + line() + (choice.pictures ? 0 : ROW) - scroller.clientHeight;
    if (low > scroller.scrollTop) scroller.scrollTop = low;
    paint();
  }
  function heading(column) {
    if (!column.title) return element("th", { class: column.kind });
    const sorted = choice.sort === column.id ? (choice.down ? "descending" : "ascending") : undefined;
    const button = element("button", { type: "button" }, column.title);
    button.addEventListener("click", () => {
      choice.down = choice.sort === column.id && !choice.down;
      choice.sort = column.id;
      refresh();
      remember();
      head.children[columns.indexOf(column)].firstChild.focus();
    });
    return element("th", { scope: "col", class: column.kind, "aria-sort": sorted }, button);
  }

  function refresh() {
    choose();
    head.replaceChildren(...columns.map(heading));
    table.hidden = choice.pictures;
    cards.hidden = !choice.pictures;
    for (const chip of $("filters").children) chip.setAttribute("aria-pressed", choice.states.has(chip.dataset.state));
    for (const button of $("looks").children) button.setAttribute("aria-pressed", choice.pictures === (button.value === "pictures"));
    $("found").textContent = (view.length < rows.length ? `${number.format(view.length)} of ` : "") + counted(rows.length);
    nothing.hidden = view.length > 0;
    active = 0;
    scroller.scrollTop = 0;
    paint();
  }

  function buildFilters() {
    const present = ["suspect", ...about.states].filter((state) => rows.some((row) => row.state === state || looks(row) === state));
    for (const state of WORST_FIRST.filter((name) => present.includes(name))) {
      const chip = element("button", { type: "button", class: "chip", "data-state": state }, dot(state), state);
      chip.addEventListener("click", () => {
        if (!choice.states.delete(state)) choice.states.add(state);
        refresh();
        remember();
      });
      $("filters").append(chip);
    }
    for (const button of $("looks").children) {
      button.addEventListener("click", () => {
        choice.pictures = button.value === "pictures";
        refresh();
        remember();
      });
    }
    $("looks").hidden = !hasPictures;
    const label = about.labels.findIndex((_, index) => rows.some((row) => row.labels[index]));
    if (label >= 0) $("search").placeholder += `, or ${term(about.labels[label], rows.find((row) => row.labels[label]).labels[label])}`;
    $("search").addEventListener("input", (event) => {
      choice.q = event.target.value;
      refresh();
      remember();
    });
  }
  function buildTable() {
    $("tools").hidden = scroller.hidden = false;
    scroller.append(table, cards, nothing);
    buildFilters();
    let asked = false;
    scroller.addEventListener("scroll", () => {
      if (!asked) requestAnimationFrame(() => { asked = false; paint(); });
      asked = true;
    }, { passive: true });
    new ResizeObserver(paint).observe(scroller);
    scroller.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (row) { active = Number(row.dataset.index); open(view[active]); }
    });
    scroller.addEventListener("keydown", (event) => {
      if (!event.target.closest(".row")) return;
      const wide = across();
      const page = wide * Math.max(1, Math.floor(scroller.clientHeight / line()) - 1);
      const steps = { ArrowDown: wide, ArrowUp: -wide, PageDown: page, PageUp: -page, ...(wide > 1 && { ArrowRight: 1, ArrowLeft: -1 }) };
      const to = { Home: 0, End: view.length - 1 }[event.key] ?? active + steps[event.key];
      if (Number.isNaN(to)) return;
      event.preventDefault();
      if (to >= 0 && to < view.length || Math.abs(steps[event.key]) !== wide) move(to);
    });
    scroller.addEventListener("focusin", (event) => {
      const row = event.target.closest(".row");
      if (row) active = Number(row.dataset.index);
    });
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
    const video = element("video", { controls: "", playsinline: "", preload: "auto", poster: picture(row), src: address });
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
    if (!viewer.open) {
      viewer.showModal();
      $("viewer-key").focus();
    }
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
      if (place >= 0 && scroller.contains(document.activeElement)) move(place);
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
  const peeked = new WeakMap();

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
    const told = [`${row.key}: ${state}`, note(row), jobs.length > 1 ? counted(jobs.length) : null].filter(Boolean);
    const made = element("button", { type: "button", class: `cell s-${state}`, "aria-label": told.join(", "), tabindex: -1 }, SIGNS[state] ?? "");
    peeked.set(made, { row, told });
    made.addEventListener("click", () => {
      if (jobs.length === 1) return open(row);
      location.hash = new URLSearchParams({ q: `${term(about.labels[label], row.labels[label] ?? "")} ${term("video", row.video)}` });
    });
    return made;
  }
  /** What a cell stands for, beside it, while the pointer or the keys are on it. */
  function peek(cell) {
    const known = cell && peeked.get(cell);
    $("peek").hidden = !known;
    if (!known) return;
    const { row, told } = known;
    const [first, ...others] = told;
    $("peek").replaceChildren(...still(row).map((image) => { image.loading = "eager"; return image; }),
      element("p", { dir: "auto" }, dot(looks(row)), first), ...others.map((text) => element("p", { class: "muted", dir: "auto" }, text)));
    const box = cell.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = $("peek");
    const below = box.bottom + 8 + height <= innerHeight;
    $("peek").style.left = `${Math.max(8, Math.min(box.left + box.width / 2 - width / 2, innerWidth - width - 8))}px`;
    $("peek").style.top = `${below ? box.bottom + 8 : Math.max(8, box.top - height - 8)}px`;
  }
  function buildPeek() {
    const grid = $("glance-grid");
    for (const name of ["pointerover", "focusin"]) grid.addEventListener(name, (event) => peek(event.target.closest(".cell")));
    for (const name of ["pointerleave", "focusout"]) grid.addEventListener(name, () => peek(null));
    grid.addEventListener("click", () => peek(null));
    addEventListener("scroll", () => peek(null), { passive: true, capture: true });
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
    buildPeek();
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
    const LOOKS = 1000;
    const STILL = 8000; // As long as nobody has touched anything
    const written = new Date($("since").dataset.since);
    const due = about.again_after * 1000 + 2000; // It takes a moment to be written
    const opened = performance.now();
    let touched = -Infinity;
    for (const name of ["pointermove", "pointerdown", "wheel", "keydown", "touchmove"]) {
      addEventListener(name, () => { touched = performance.now(); }, { passive: true, capture: true });
    }
    const look = () => {
      const age = Math.max(0, Date.now() - written);
      const now = performance.now();
      $("since").textContent = age < 5000 ? "just now" : `${seconds(Math.round(age / 1000)).replace(".0 s", " s")} ago`;
      $("stale").hidden = age < 4 * due;
      const busy = viewer.open || document.hidden || document.activeElement === $("search") || !getSelection().isCollapsed;
      if (busy || age < due || now - touched < STILL || now - opened < ($("stale").hidden ? STILL : due)) return;
      history.replaceState({ top: scroller.scrollTop }, "");
      location.reload();
    };
    setInterval(look, LOOKS);
    look();
  }
  /** Where the reader was in the table when the page loaded itself. */
  function goBack() {
    const top = history.state?.top;
    if (!top) return;
    scroller.scrollTop = top;
    paint();
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
  goBack();
  if (about.again_after) followRun();
})();
