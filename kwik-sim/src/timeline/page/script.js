"use strict";
// Draws the data of the page. Everything that is text stays text: nothing here makes HTML of it.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const NS = "http://www.w3.org/2000/svg";
  const LEFT = 74, RIGHT = 14;
  const charts = document.getElementById("charts"), tip = document.getElementById("tip");
  const lanes = new Map(data.paths.map((path) => [path.id, path]));

  const color = (server) => (server === null ? "var(--soft)" : `var(--s${server % 8})`);
  const colorOf = (path) => color(lanes.has(path) ? lanes.get(path).server : null);
  const nameOf = (path) => {
    const lane = lanes.get(path);
    const twin = data.paths.filter((other) => lane && other.server === lane.server).length > 1;
    return lane ? lane.name + (twin ? ` (path ${path})` : "") : `path ${path}`;
  };
  const seconds = (micros) => (micros / 1e6).toFixed(3) + " s";
  const bytes = (count) => {
    const units = [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]];
    const unit = units.find(([size]) => count >= size);
    return unit ? (count / unit[0]).toFixed(1) + " " + unit[1] : count + " B";
  };
  const most = Math.max(1, ...data.paths.flatMap((path) => path.goodput));
  const rate = (count) => (count * 8 / data.goodput_column).toFixed(1) + " Mbit/s";
  const html = (parent, tag, text, cls) => {
    const node = parent.appendChild(document.createElement(tag));
    if (text !== undefined) node.textContent = text;
    if (cls) node.className = cls;
    return node;
  };
  const svg = (parent, tag, attributes, text) => {
    const node = parent.appendChild(document.createElementNS(NS, tag));
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  // A step of an axis: 1, 2 or 5 times a power of ten (of two, for bytes).
  const step = (span, count, binary) => {
    const base = binary ? 2 : 10;
    let size = base ** Math.floor(Math.log(span / count) / Math.log(base));
    for (const factor of binary ? [1, 2] : [1, 2, 5, 10]) if (span / (size * factor) <= count) return size * factor;
    return size * base;
  };

  function heading() {
    const title = document.querySelector("h1");
    const word = data.failure ? "broken" : data.ending;
    html(title, "span", word, `badge ${word}`);
    document.getElementById("summary").textContent = data.summary;
    const failure = document.getElementById("failure");
    failure.hidden = !data.failure;
    failure.textContent = data.failure || "";
    const figures = document.getElementById("figures");
    for (const [name, value] of data.figures) {
      const entry = html(figures, "div");
      html(entry, "dt", name);
      html(entry, "dd", value);
    }
  }

  function story(crosses) {
    const list = document.getElementById("story");
    list.replaceChildren();
    for (const line of data.story) {
      const item = html(list, "li", undefined, line.kind);
      html(item, "time", (line.at / 1e6).toFixed(3));
      html(item, "i").style.background = line.kind === "death" && line.server === null ? "var(--bad)" : color(line.server);
      html(item, "span", line.text);
      item.onmouseenter = () => crosses.show(line.at);
      item.onmouseleave = () => crosses.hide();
    }
  }

  function legend(box) {
    const entry = (text, draw) => {
      const span = html(box, "span");
      draw(svg(span, "svg", { width: 18, height: 12 }));
      span.append(text);
    };
    const servers = new Map(data.paths.map((path) => [path.server, path.name]));
    for (const [server, name] of servers) {
      entry(name, (g) => svg(g, "rect", { width: 14, height: 12, rx: 2, fill: color(server) }));
    }
    entry("granted", (g) => svg(g, "rect", { x: .5, y: .5, width: 16, height: 11, rx: 1, fill: "var(--soft)", "fill-opacity": .12, stroke: "var(--soft)", "stroke-opacity": .5 }));
    const losses = data.streams.some((stream) => stream.losses.length);
    if (losses) entry("granted again", (g) => svg(g, "rect", { x: 1, y: 1, width: 15, height: 10, rx: 1, fill: "var(--soft)", "fill-opacity": .12, stroke: "var(--ink)", "stroke-width": 1.6 }));
    if (losses) entry("owed, then lost", (g) => svg(g, "rect", { x: .5, y: .5, width: 16, height: 11, class: "lost", fill: "url(#hatch)" }));
    entry("read", (g) => svg(g, "path", { d: "M1 11L8 6L17 1", class: "cursor" }));
    if (data.faults.length) entry("fault", (g) => svg(g, "path", { d: "M9 0V12", class: "mark" }));
    entry(`goodput, peak ${rate(most)}`, (g) => svg(g, "path", { d: "M0 11L5 3L11 5L17 11Z", fill: "var(--soft)", "fill-opacity": .3, stroke: "var(--soft)" }));
  }

  // One vertical line through all charts.
  class Crosses {
    constructor(x) { this.x = x; this.lines = []; }
    add(parent, height) {
      this.lines.push(svg(parent, "line", { y1: 0, y2: height, class: "cross", visibility: "hidden" }));
    }
    show(at) {
      for (const line of this.lines) {
        line.setAttribute("x1", this.x(at)); line.setAttribute("x2", this.x(at));
        line.setAttribute("visibility", "visible");
      }
    }
    hide() { for (const line of this.lines) line.setAttribute("visibility", "hidden"); }
  }

  function panel(width, height, crosses, hover) {
    const node = svg(charts, "svg", { width, height });
    node.onmousemove = (event) => {
      const box = node.getBoundingClientRect();
      const [px, py] = [event.clientX - box.left, event.clientY - box.top];
      const at = (px - LEFT) / (width - LEFT - RIGHT) * data.end;
      const text = at >= 0 && at <= data.end ? hover(at, py) : "";
      tip.hidden = !text;
      if (!text) return crosses.hide();
      crosses.show(at);
      tip.textContent = text;
      const left = event.clientX + 16 + tip.offsetWidth < innerWidth;
      tip.style.left = (left ? event.clientX + 14 : event.clientX - tip.offsetWidth - 14) + "px";
      tip.style.top = Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8) + "px";
    };
    node.onmouseleave = () => { tip.hidden = true; crosses.hide(); };
    return node;
  }

  // Faults as bands and lines; with labels only where there is room above.
  function faults(node, x, top, height, labels) {
    const ends = [];
    for (const fault of data.faults) {
      const from = x(fault.at), until = x(Math.min(fault.until ?? fault.at, data.end));
      if (until > from) svg(node, "rect", { x: from, y: top, width: until - from, height, class: "band" });
      svg(node, "path", { d: `M${from} ${top - (labels ? 6 : 0)}V${top + height}`, class: "mark" });
      if (!labels) continue;
      const length = fault.text.length * 6.3;
      const start = Math.min(from + 4, x(data.end) - length);
      let row = 0;
      while ((ends[row] ?? -1) > start) row += 1;
      if (row > 3) continue;
      ends[row] = start + length + 8;
      svg(node, "text", { x: start, y: 11 + row * 13, class: "fault" }, fault.text);
    }
  }
  const labelRows = Math.min(4, Math.max(1, data.faults.length));

  function timeAxis(node, x, top, height, labels) {
    const gap = step(data.end, 9);
    for (let at = 0; at <= data.end; at += gap) {
      svg(node, "path", { d: `M${x(at)} ${top}V${top + height}`, class: "grid" });
      if (labels) svg(node, "text", { x: x(at), y: top + height + 15, "text-anchor": "middle" }, +(at / 1e6).toFixed(6) + " s");
    }
  }

  function streamChart(stream, index, width, x, crosses) {
    const top = index === 0 ? 10 + labelRows * 13 : 10;
    const height = data.streams.length === 1 ? 440 : data.streams.length === 2 ? 250 : 170;
    const y = (offset) => top + height - offset / Math.max(1, stream.size) * height;
    const node = panel(width, top + height + 8, crosses, (at, py) => hoverStream(stream, at, (top + height - py) / height * stream.size));
    timeAxis(node, x, top, height, false);
    const gap = step(stream.size, height / 55, true);
    for (let offset = 0; offset <= stream.size; offset += gap) {
      svg(node, "path", { d: `M${LEFT} ${y(offset)}H${width - RIGHT}`, class: "grid" });
      svg(node, "text", { x: LEFT - 8, y: y(offset) + 4, "text-anchor": "end" }, bytes(offset));
    }
    if (data.streams.length > 1) svg(node, "text", { x: LEFT + 8, y: top + 14, class: "name" }, `stream ${stream.id}`);
    const box = (item, from, to) => ({ x: x(from), width: Math.max(1, x(to) - x(from)), y: y(item.end), height: Math.max(1, y(item.start) - y(item.end)) });
    for (const grant of stream.grants.filter((grant) => !grant.again)) {
      svg(node, "rect", { ...box(grant, grant.from, grant.to), fill: colorOf(grant.path), "fill-opacity": .09, stroke: colorOf(grant.path), "stroke-opacity": .4, "stroke-width": .8 });
    }
    for (const loss of stream.losses) {
      svg(node, "rect", { ...box(loss, loss.since, loss.at), fill: "url(#hatch)", "fill-opacity": .38 });
      svg(node, "rect", { ...box(loss, loss.at, loss.until ?? data.end), class: "lost", fill: "url(#hatch)" });
    }
    for (const grant of stream.grants.filter((grant) => grant.again)) {
      svg(node, "rect", { ...box(grant, grant.from, grant.to), fill: colorOf(grant.path), "fill-opacity": .14, stroke: colorOf(grant.path), "stroke-width": 1.8 });
    }
    faults(node, x, top, height, index === 0);
    arrivals(node, stream, x, y);
    const line = stream.cursor.map(([at, offset], i) => (i === 0 ? `M${x(at)} ${y(0)}` : `H${x(at)}`) + `V${y(offset)}`).join("");
    svg(node, "path", { d: line, class: "halo" });
    svg(node, "path", { d: line, class: "cursor" });
    svg(node, "path", { d: `M${LEFT} ${top}V${top + height}H${width - RIGHT}`, class: "axis", fill: "none" });
    if (stream.left_out) svg(node, "text", { x: width - RIGHT, y: top + height - 6, "text-anchor": "end" }, `${stream.left_out} grants or losses are not drawn`);
    crosses.add(node, top + height);
  }

  function arrivals(node, stream, x, y) {
    const [columns, rows] = stream.grid;
    const cellTime = Math.max(1, Math.ceil(data.end / columns)), cellBytes = Math.max(1, Math.ceil(stream.size / rows));
    const width = Math.max(1.6, x(cellTime) - x(0) + .4), height = Math.max(1.6, y(0) - y(cellBytes) + .4);
    for (const { path, cells } of stream.cells) {
      const levels = ["", "", ""];
      for (const [column, row, count] of cells) {
        const level = Math.min(2, Math.floor(count / cellBytes * 3));
        levels[level] += `M${x(column * cellTime).toFixed(1)} ${y((row + 1) * cellBytes).toFixed(1)}h${width.toFixed(1)}v${height.toFixed(1)}h${(-width).toFixed(1)}z`;
      }
      levels.forEach((d, level) => d && svg(node, "path", { d, fill: colorOf(path), "fill-opacity": [.55, .8, 1][level] }));
    }
  }

  function hoverStream(stream, at, offset) {
    if (offset < 0 || offset > stream.size) return "";
    const covers = (item, from, to) => item.start <= offset && offset < item.end && from <= at && at < to;
    const lines = [`${seconds(at)}, byte ${Math.floor(offset).toLocaleString("en")}`];
    const read = stream.cursor.filter(([time]) => time <= at).pop();
    lines.push(`read up to ${bytes(read ? read[1] : 0)}`);
    for (const grant of stream.grants.filter((grant) => covers(grant, grant.from, grant.to))) {
      const what = grant.grant === null ? "writes itself" : `grant ${grant.grant}`;
      lines.push(`${nameOf(grant.path)}: ${what}${grant.again ? ", again" : ""}, ${bytes(grant.end - grant.start)} from ${bytes(grant.start)}, ${seconds(grant.from)} to ${seconds(grant.to)}`);
    }
    for (const loss of stream.losses.filter((loss) => covers(loss, loss.since, loss.until ?? data.end))) {
      const again = loss.again.map(([path, count]) => `${nameOf(path)} ${bytes(count)}`).join(", ");
      lines.push(`owed by ${nameOf(loss.path)}, which last brought something at ${seconds(loss.since)}, and lost at ${seconds(loss.at)} (${loss.reason}): ${bytes(loss.end - loss.start)}; brought again by ${again || "nobody"}`);
    }
    return lines.join("\n");
  }

  function pathLanes(width, x, crosses) {
    const [bar, area, gap] = [13, 34, 13];
    const lane = bar + area + gap;
    const height = data.paths.length * lane;
    const node = panel(width, height + 26, crosses, (at, py) => {
      const path = data.paths[Math.floor(py / lane)];
      if (!path) return "";
      const phase = path.phases.find(([, from, to]) => from <= at && at < to);
      const count = path.goodput[Math.floor(at / data.goodput_column)] || 0;
      return `${seconds(at)}\n${nameOf(path.id)}: ${phase ? phase[0] : "not named"}\n${rate(count)}; ${bytes(path.bytes)} in all`;
    });
    timeAxis(node, x, 0, height, true);
    faults(node, x, 0, height, false);
    data.paths.forEach((path, index) => {
      const top = index * lane, tint = color(path.server);
      svg(node, "text", { x: LEFT - 8, y: top + 11, "text-anchor": "end", class: "name" }, path.name.replace("secondary", "sec."));
      svg(node, "text", { x: LEFT - 8, y: top + 26, "text-anchor": "end" }, `path ${path.id}`);
      svg(node, "text", { x: LEFT - 8, y: top + 40, "text-anchor": "end" }, bytes(path.bytes));
      for (const [phase, from, to] of path.phases) phaseBar(node, phase, x(from), Math.max(2, x(to) - x(from)), top, bar, tint);
      const base = top + bar + area;
      let d = `M${LEFT} ${base}`;
      path.goodput.forEach((count, column) => {
        const at = Math.min(data.end, (column + .5) * data.goodput_column);
        d += `L${x(at).toFixed(1)} ${(base - count / most * (area - 3)).toFixed(1)}`;
      });
      svg(node, "path", { d: d + `L${x(data.end)} ${base}Z`, fill: tint, "fill-opacity": .28, stroke: tint, "stroke-width": 1.2 });
    });
    crosses.add(node, height);
  }

  function phaseBar(node, phase, left, width, top, height, tint) {
    const ended = phase === "dead" || phase === "retired";
    const fill = { active: 1, retiring: .6, joining: .45, dialing: .22 }[phase];
    svg(node, "rect", ended
      ? { x: left, y: top + height / 2 - .5, width, height: 1.5, fill: phase === "dead" ? "var(--bad)" : "var(--soft)" }
      : { x: left, y: top, width, height, rx: 2, fill: tint, "fill-opacity": fill });
    if (phase === "dead") {
      svg(node, "path", { d: `M${left - 4} ${top + 2}l9 9m0 -9l-9 9`, stroke: "var(--bad)", "stroke-width": 2.4 });
      if (width > 50) svg(node, "text", { x: left + 10, y: top + height + 4, class: "dead" }, "dead");
    } else if (width > phase.length * 7 + 6) {
      svg(node, "text", { x: left + 5, y: top + 10, class: ended || fill < .5 ? "" : "phase" }, phase);
    }
  }

  function hatch(node) {
    const pattern = svg(svg(node, "defs", {}), "pattern", { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
    svg(pattern, "rect", { width: 6, height: 6, fill: "var(--bad)", "fill-opacity": .07 });
    svg(pattern, "rect", { width: 1.6, height: 6, fill: "var(--bad)", "fill-opacity": .55 });
  }

  function draw() {
    const box = document.getElementById("legend");
    charts.replaceChildren(box);
    box.replaceChildren();
    const width = Math.max(480, charts.clientWidth - 20);
    const x = (at) => LEFT + at / data.end * (width - LEFT - RIGHT);
    const crosses = new Crosses(x);
    hatch(svg(charts, "svg", { width: 0, height: 0 }));
    legend(box);
    data.streams.forEach((stream, index) => streamChart(stream, index, width, x, crosses));
    pathLanes(width, x, crosses);
    story(crosses);
  }

  heading();
  draw();
  addEventListener("resize", draw);
})();
