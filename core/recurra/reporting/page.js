"use strict";
// Tells what is pointed at, from the csv behind each picture, and lets rows of maps be picked.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const MOST = 500; // rows of a table of data that are shown
  const tip = document.body.appendChild(document.createElement("div"));
  tip.id = "tip";
  tip.setAttribute("role", "status");

  // Return the rows of csv, as RFC 4180 has it.
  function parsed(text) {
    const rows = [];
    let row = [], cell = "", quoted = false;
    for (let n = 0; n < text.length; n++) {
      const c = text[n];
      if (quoted) {
        if (c !== '"') cell += c;
        else if (text[n + 1] === '"') { cell += c; n++; }
        else quoted = false;
      } else if (c === '"') quoted = true;
      else if (c === ",") { row.push(cell); cell = ""; }
      else if (c === "\n") { row.push(cell); rows.push(row); row = []; cell = ""; }
      else if (c !== "\r") cell += c;
    }
    if (cell || row.length) { row.push(cell); rows.push(row); }
    return rows;
  }

  // Return the data of a panel: its headings and its rows. It is read when it is first asked for.
  function data(panel) {
    if (!panel.table) {
      const link = panel.querySelector("details.data a");
      if (!link) return null;
      const rows = parsed(decodeURIComponent(link.href.slice(link.href.indexOf(",") + 1)));
      panel.table = { head: rows[0] || [], rows: rows.slice(1) };
    }
    return panel.table;
  }

  function element(name, parent, attributes) {
    const made = parent.appendChild(document.createElementNS(SVG, name));
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    return made;
  }

  const numbers = (text) => (text || "").split(" ").map(Number);
  const within = (value, low, high) => Math.max(low, Math.min(high, value));

  function write(value) {
    const number = Number(value);
    if (value === "" || Number.isNaN(number)) return value;
    if (Number.isInteger(number)) return number.toLocaleString("en");
    return String(Number(number.toPrecision(5)));
  }

  // Return where in a picture, in its own units, a place of the window is.
  function place(svg, x, y) {
    const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
    return [(x - box.left) / box.width * view.width, (y - box.top) / box.height * view.height];
  }

  function show(svg, lines, x, y) {
    const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
    tip.textContent = lines.join("\n");
    tip.style.display = "block";
    const left = box.left + x / view.width * box.width, top = box.top + y / view.height * box.height;
    tip.style.left = within(left + 14, 4, window.innerWidth - tip.offsetWidth - 4) + "px";
    tip.style.top = within(top - tip.offsetHeight - 10, 4, window.innerHeight - tip.offsetHeight - 4) + "px";
  }

  function mark(svg, shape) {
    let group = svg.querySelector("g.pointer");
    if (!group) group = element("g", svg, { class: "pointer" });
    group.replaceChildren();
    element(shape.name, group, { class: "thin ink", ...shape.at });
  }

  function hide(svg) {
    tip.style.display = "none";
    const group = svg.querySelector("g.pointer");
    if (group) group.replaceChildren();
  }

  // The index of the row whose place is nearest, of rows in which a column says something.
  function nearest(places, rows, column, x) {
    let best = -1, least = Infinity;
    for (let n = 0; n < rows.length; n++) {
      const far = Math.abs(places[n] - x);
      if (rows[n][column] !== "" && far < least) { best = n; least = far; }
    }
    return best;
  }

  function lines(svg, table, x, y) {
    const [left, top, right, bottom] = numbers(svg.dataset.frame);
    const [low, high, log] = numbers(svg.dataset.x);
    const bent = (value) => (log ? Math.log10(value) : value);
    const long = table.head[0] === "series", key = long ? 1 : 0;
    const places = svg.dataset.places
      ? numbers(svg.dataset.places)
      : table.rows.map((row) => bent(Number(row[key])));
    const at = low + (x - left) / (right - left) * (high - low);
    const row = nearest(places, table.rows, key, at);
    if (row < 0) return hide(svg);
    const said = [`${table.head[key]}: ${write(table.rows[row][key])}`];
    if (long) {
      for (let n = 0; n < table.rows.length; n++) {
        if (places[n] === places[row] && said.length < 12) said.push(`${table.rows[n][0]}: ${write(table.rows[n][2])}`);
      }
    } else {
      for (let column = 1; column < table.head.length && column < 14; column++) {
        const own = nearest(places, table.rows, column, places[row]);
        if (own < 0) continue;
        const far = own === row ? "" : ` (at ${write(table.rows[own][0])})`;
        said.push(`${table.head[column]}: ${write(table.rows[own][column])}${far}`);
      }
    }
    const to = left + (places[row] - low) / (high - low) * (right - left);
    mark(svg, { name: "path", at: { d: `M${to} ${top}V${bottom}` } });
    show(svg, said, to, within(y, top, bottom));
  }

  function bars(svg, table, x, y) {
    const [left, top, right, bottom] = numbers(svg.dataset.frame), rows = table.rows.length;
    const row = within(Math.floor((y - top) / (bottom - top) * rows), 0, rows - 1);
    const said = [table.rows[row][0]];
    for (let n = 1; n < table.head.length; n++) {
      if (table.rows[row][n] !== "") said.push(`${table.head[n]}: ${write(table.rows[row][n])}`);
    }
    const high = (bottom - top) / rows;
    mark(svg, { name: "rect", at: { x: left, y: top + row * high, width: right - left, height: high } });
    show(svg, said, within(x, left, right), top + row * high);
  }

  function cell(svg, table, x, y) {
    const [left, top, right, bottom] = numbers(svg.dataset.frame);
    const columns = table.head.length - 1, rows = table.rows.length;
    const column = within(Math.floor((x - left) / (right - left) * columns), 0, columns - 1);
    const row = within(Math.floor((y - top) / (bottom - top) * rows), 0, rows - 1);
    const wide = (right - left) / columns, high = (bottom - top) / rows;
    mark(svg, { name: "rect", at: { x: left + column * wide, y: top + row * high, width: wide, height: high } });
    const value = write(table.rows[row][column + 1]) || "no number";
    show(svg, [`${table.head[0]} ${table.rows[row][0]}`, table.head[column + 1], value], left + (column + 0.5) * wide, top + row * high);
    return [row, column];
  }

  const KINDS = { lines, bars, map: cell };

  function point(svg, x, y) {
    const table = data(svg.closest(".panel"));
    if (!table || !table.rows.length) return;
    svg.at = [x, y];
    KINDS[svg.dataset.kind](svg, table, x, y);
  }

  for (const svg of document.querySelectorAll("svg[data-kind]")) {
    svg.addEventListener("pointermove", (event) => point(svg, ...place(svg, event.clientX, event.clientY)));
    svg.addEventListener("pointerleave", () => hide(svg));
    svg.addEventListener("blur", () => hide(svg));
    svg.addEventListener("keydown", (event) => {
      const [left, top, right, bottom] = numbers(svg.dataset.frame);
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const table = data(svg.closest(".panel"));
      if (!table) return;
      const map = svg.dataset.kind === "map";
      const across = map ? (right - left) / (table.head.length - 1) : (right - left) / 50;
      const down = (bottom - top) / Math.max(table.rows.length, 1);
      const [x, y] = svg.at || [(left + right) / 2, (top + bottom) / 2];
      point(svg, within(x + step[0] * across, left, right), within(y + step[1] * down, top, bottom - 0.01));
      if (step[1]) pick(svg);
    });
    svg.addEventListener("click", () => pick(svg));
  }

  // Draw the row of a map that is pointed at as the line below it, in both forms of the picture.
  function pick(svg) {
    const panel = svg.closest(".panel"), table = data(panel);
    const [, top, , bottom] = numbers(svg.dataset.frame);
    if (!svg.at || !table || !svg.querySelector("g.picked") || svg.at[1] > bottom || svg.at[1] < top) return;
    const rows = table.rows.length;
    const row = within(Math.floor((svg.at[1] - top) / (bottom - top) * rows), 0, rows - 1);
    for (const group of panel.querySelectorAll("g.picked")) {
      const [left, above, right, below] = numbers(group.dataset.frame);
      const low = Number(group.dataset.low), high = Number(group.dataset.high);
      const values = table.rows[row].slice(1);
      const wide = (right - left) / values.length;
      let path = "", pen = "M";
      values.forEach((value, n) => {
        if (value === "") { pen = "M"; return; }
        path += `${pen}${left + (n + 0.5) * wide} ${below - (Number(value) - low) / (high - low) * (below - above)}`;
        pen = "L";
      });
      group.querySelector("path.trace").setAttribute("d", path);
      group.querySelector("text.name").textContent = /^\d+$/.test(table.rows[row][0]) ? `${table.head[0]} ${table.rows[row][0]}` : table.rows[row][0];
      group.dataset.row = row;
    }
  }

  // Return the stretches of columns at which all of some rows are "on": above half of their most.
  function stretches(table, on) {
    const columns = table.head.length - 1, found = [];
    for (let n = 0; n < columns; n++) {
      if (!on.every((row) => row.on[n])) continue;
      const last = found[found.length - 1];
      if (last && last[1] === n - 1) last[1] = n;
      else found.push([n, n]);
    }
    return found;
  }

  // Mark where else the rows that are on in all of a span, and not just before it, are on together.
  function span(panel, first, last) {
    const table = data(panel);
    const rows = table.rows.map((row) => {
      const values = row.slice(1).map(Number), most = Math.max(...values.map(Math.abs));
      return { name: row[0], on: values.map((value) => most > 0 && Math.abs(value) >= most / 2) };
    });
    const always = (row) => row.on.every(Boolean);
    const on = rows.filter((row) => row.on.slice(first, last + 1).every(Boolean) && !always(row));
    const found = on.length ? stretches(table, on) : [];
    for (const group of panel.querySelectorAll("g.picked")) {
      const [left, above, right, below] = numbers(group.dataset.frame);
      const wide = (right - left) / (table.head.length - 1);
      const marks = group.querySelector("g.spans");
      marks.replaceChildren();
      for (const [a, b] of found) {
        const own = a <= last && b >= first;
        element("rect", marks, { x: left + a * wide, y: above, width: (b - a + 1) * wide, height: below - above, class: own ? "band c0" : "band c1" });
      }
    }
    let said = panel.querySelector("p.said");
    if (!said) {
      said = document.createElement("p");
      said.className = "said";
      panel.querySelector(".scroll").after(said);
    }
    const name = table.head[0], others = found.filter(([a, b]) => a > last || b < first);
    const names = on.map((row) => row.name);
    const told = names.length > 12 ? `${names.slice(0, 12).join(", ")} and ${names.length - 12} more` : names.join(", ");
    const where = others.slice(0, 12).map(([a, b]) => (a === b ? table.head[a + 1] : `${table.head[a + 1]} to ${table.head[b + 1]}`));
    said.textContent = !on.length
      ? `No ${name} is above half of its most at each of these places, and not everywhere.`
      : `On at each of these places: ${name} ${told}. ` +
        (others.length ? `All of them again at ${where.join("; ")}${others.length > 12 ? " ..." : ""}.` : "Nowhere else are all of them.");
  }

  for (const group of document.querySelectorAll("g.picked")) {
    const svg = group.closest("svg"), panel = svg.closest(".panel");
    const column = (event) => {
      const [left, above, right, below] = numbers(group.dataset.frame);
      const [x, y] = place(svg, event.clientX, event.clientY), table = data(panel);
      if (!table || y < above - 6 || y > below + 6) return -1;
      const columns = table.head.length - 1;
      return within(Math.floor((x - left) / (right - left) * columns), 0, columns - 1);
    };
    let from = -1;
    svg.addEventListener("pointerdown", (event) => {
      from = column(event);
      if (from >= 0 && event.pointerType === "mouse") event.preventDefault();
    });
    svg.addEventListener("pointerup", (event) => {
      const to = column(event);
      if (from >= 0 && to >= 0) span(panel, Math.min(from, to), Math.max(from, to));
      from = -1;
    });
  }

  // The table of a panel's data is made when it is opened.
  for (const details of document.querySelectorAll("details.data")) {
    details.addEventListener("toggle", () => {
      if (!details.open || details.querySelector("table")) return;
      const table = data(details.closest(".panel"));
      const held = details.appendChild(document.createElement("div"));
      held.className = "held";
      const made = held.appendChild(document.createElement("table"));
      const line = (row, name, parent) => {
        const tr = parent.appendChild(document.createElement("tr"));
        for (const value of row) tr.appendChild(document.createElement(name)).textContent = value;
      };
      line(table.head, "th", made.createTHead());
      const body = made.createTBody();
      for (const row of table.rows.slice(0, MOST)) line(row, "td", body);
      if (table.rows.length > MOST) {
        held.appendChild(document.createElement("p")).textContent = `${table.rows.length - MOST} more rows are in the csv.`;
      }
    });
  }
})();
