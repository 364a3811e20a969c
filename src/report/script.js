"use strict";
(() => {
  const root = document.documentElement, button = document.getElementById("theme");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const show = () => { button.textContent = dark() ? "Light" : "Dark"; button.setAttribute("aria-pressed", String(dark())); };
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; show(); });
  show();
  // On paper: light, and everything that is folded but the numbers behind claims, which take a hundred sheets.
  let before = [];
  addEventListener("beforeprint", () => {
    const theme = root.dataset.theme, folded = [...document.querySelectorAll("details:not([open])")].filter((d) => !d.closest(".claims"));
    before = [() => { if (theme) root.dataset.theme = theme; else delete root.dataset.theme; }, () => folded.forEach((d) => { d.open = false; })];
    root.dataset.theme = "light";
    folded.forEach((d) => { d.open = true; });
  });
  addEventListener("afterprint", () => before.forEach((undo) => undo()));

  const DRAWS = 400;
  // A fixed stream of numbers: the same page gives the same intervals.
  const stream = (state) => () => { state = (Math.imul(state, 1664525) + 1013904223) >>> 0; return (state + 0.5) / 4294967296; };
  const normal = (unit) => Math.sqrt(-2 * Math.log(unit())) * Math.cos(2 * Math.PI * unit());
  const average = (rates) => [0, 1].map((side) => rates.reduce((sum, r) => sum + r[side], 0) / rates.length);
  // Rates as new seeds and new test images would give them.
  const draws = (entry, rates) => {
    const unit = stream(entry.method.length * 7919 + entry.backbone.length * 104729 + Math.round(1000 * (Number(entry.train) || 0)));
    const n = rates.length;
    const clip = (x) => Math.min(1, Math.max(0, x));
    const mean = average(rates);
    const deviation = [0, 1].map((side) => n < 2 ? 0 : Math.sqrt(rates.reduce((sum, r) => sum + (r[side] - mean[side]) ** 2, 0) / (n - 1)));
    return Array.from({ length: DRAWS }, () => [0, 1].map((side) => {
      const count = side === 0 ? entry.defects : entry.normals;
      const images = Math.sqrt(Math.max(mean[side] * (1 - mean[side]), 0) / count / n);
      return clip(mean[side] + normal(unit) * Math.hypot(images, deviation[side] / Math.sqrt(n)));
    }));
  };
  const at = ([hit, alarm], p, miss, cost) => {
    const hits = 1000 * p * hit, wrong = 1000 * (1 - p) * alarm, misses = 1000 * p - hits;
    return { precision: hits + wrong > 0 ? hits / (hits + wrong) : 0, recall: hit, f1: 2 * hits / (hits + wrong + 1000 * p),
      alarms: hits + wrong, wrong, misses, cost: miss * misses + cost * wrong };
  };
  // Each seed's rates at its own threshold, or at the one that costs least here: flagging nothing or everything is one too.
  const chosen = (entry, cheapest, p, miss, alarm) => !cheapest || entry.points.length === 0 ? entry.rates :
    entry.rates.map((own, seed) => [own, [0, 0], [1, 1], ...entry.points[seed]].reduce((best, rates) =>
      at(rates, p, miss, alarm).cost < at(best, p, miss, alarm).cost ? rates : best));
  const ends = (values) => { const v = values.slice().sort((a, b) => a - b); return [v[Math.floor(0.025 * v.length)], v[Math.ceil(0.975 * v.length) - 1]]; };
  const number = (x, digits) => x.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  // Each part of the page has its own; names of the later ones end in their number.
  const explore = (data) => {
    const entries = JSON.parse(data.textContent), end = data.id.slice("explorer-data".length);
    const field = (id) => document.getElementById(id + end);
    const update = () => {
      const p = 10 ** Number(field("share").value), miss = Math.max(0, Number(field("miss").value)), alarm = Math.max(0, Number(field("alarm").value));
      const train = field("train").value;
      const text = `${number(100 * p, p < 0.001 ? 3 : p < 0.01 ? 2 : 1)} %`;
      field("share-text").textContent = text;
      field("share").setAttribute("aria-valuetext", `${text} of images have a defect`);
      const cheapest = field("threshold").value === "cheapest";
      const rows = entries.filter((e) => e.train === train).map((e) => {
        const rates = chosen(e, cheapest, p, miss, alarm);
        return { e, mean: at(average(rates), p, miss, alarm), drawn: draws(e, rates).map((d) => at(d, p, miss, alarm)) };
      });
      rows.sort((a, b) => a.mean.cost - b.mean.cost);
      const columns = [["cost", 0], ["misses", 1], ["alarms", 0], ["wrong", 0], ["recall", 3], ["precision", 3], ["f1", 3]];
      const body = field("explorer-table").querySelector("tbody");
      body.replaceChildren(...rows.map((row) => {
        const tr = document.createElement("tr");
        const head = document.createElement("th"); head.scope = "row";
        const dot = document.createElement("span"); dot.className = "dot"; dot.style.background = row.e.colour;
        head.append(dot, row.e.method); tr.append(head);
        const backbone = document.createElement("td"); backbone.textContent = row.e.backbone; tr.append(backbone);
        for (const [name, digits] of columns) {
          const td = document.createElement("td"); td.className = "number";
          const [low, high] = ends(row.drawn.map((d) => d[name]));
          const span = document.createElement("span"); span.className = "interval"; span.textContent = `${number(low, digits)}\u2013${number(high, digits)}`;
          td.append(number(row.mean[name], digits), span); tr.append(td);
        }
        return tr;
      }));
      if (rows.length === 0) { field("choice").textContent = "No model was trained at that share."; return; }
      // How often, of all draws, each is the cheapest.
      const wins = rows.map(() => 0);
      for (let d = 0; d < DRAWS; d++) {
        let best = 0;
        rows.forEach((row, i) => { if (row.drawn[d].cost < rows[best].drawn[d].cost) best = i; });
        wins[best]++;
      }
      const chance = wins[0] / DRAWS, name = (row) => `${row.e.method} on ${row.e.backbone}`;
      const nothing = 1000 * p * miss, everything = 1000 * (1 - p) * alarm;
      let words = `At ${text} defects: ${name(rows[0])} has the lowest expected cost, ${number(rows[0].mean.cost, 0)} per 1,000 images`;
      if (chance >= 0.95) words += `, in ${number(100 * chance, 0)} % of resamples of the test images${rows[0].e.rates.length > 1 ? "" : "; with one seed, other seeds may differ"}.`;
      else {
        const close = rows.filter((_, i) => wins[i] / DRAWS > 0.05 && i > 0).map(name);
        words += `, but the difference${close.length ? ` to ${close.join(", ")}` : ""} is within noise.`;
      }
      if (Math.min(nothing, everything) < rows[0].mean.cost) {
        words += nothing < everything ? ` Not inspecting at all would cost ${number(nothing, 0)}.` : ` Looking at every image would cost ${number(everything, 0)}.`;
      }
      field("choice").textContent = words;
      body.firstElementChild.className = "best";
    };
    // A link may carry a site: ?defects=0.002&miss=50&alarm=1&train=0.05&threshold=cheapest
    const given = new URLSearchParams(location.search);
    if (Number(given.get("defects")) > 0) field("share").value = Math.log10(Number(given.get("defects")));
    for (const id of ["miss", "alarm", "train", "threshold"]) if (given.has(id)) field(id).value = given.get(id);
    for (const id of ["share", "miss", "alarm", "train", "threshold"]) field(id).addEventListener("input", update);
    update();
  };
  document.querySelectorAll("script[id^=explorer-data]").forEach(explore);
})();
