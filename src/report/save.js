"use strict";
// Every figure as SVG and every table as CSV, at one click.
(() => {
  const STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "font-family", "font-size", "font-weight", "text-anchor"];
  const save = (name, type, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const offer = (place, name, kind, make) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "save";
    button.textContent = kind;
    button.setAttribute("aria-label", `Save as ${kind}: ${name}`);
    button.addEventListener("click", () => save(`${slug(name)}.${kind.toLowerCase()}`, kind === "SVG" ? "image/svg+xml" : "text/csv", make()));
    place.append(" ", button);
  };
  const slug = (name) => name.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 60) || "skewbench";

  // A colour of the page's theme, mixed ones too, as other programs read it.
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const plain = (colour) => {
    if (colour === "none") return colour;
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return `#${Array.from(canvas.getImageData(0, 0, 1, 1).data.slice(0, 3), (part) => part.toString(16).padStart(2, "0")).join("")}`;
  };
  const drawn = (svg) => {
    const copy = svg.cloneNode(true), { width, height } = svg.viewBox.baseVal;
    const own = [svg, ...svg.querySelectorAll("*")];
    [copy, ...copy.querySelectorAll("*")].forEach((element, place) => {
      const style = getComputedStyle(own[place]);
      element.removeAttribute("style");
      if (element.localName === "title" || element === copy) return;
      STYLES.forEach((name) => element.setAttribute(name, name === "fill" || name === "stroke" ? plain(style.getPropertyValue(name)) : style.getPropertyValue(name)));
    });
    const page = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [name, value] of [["width", width], ["height", height], ["fill", plain(getComputedStyle(document.body).backgroundColor)]]) page.setAttribute(name, value);
    copy.prepend(page);
    copy.setAttribute("width", width);
    copy.setAttribute("height", height);
    return new XMLSerializer().serializeToString(copy);
  };

  // Rows of a table without spans: what spans several rows or columns is repeated in each.
  const grid = (table) => {
    const rows = [];
    [...table.rows].forEach((row, y) => {
      let x = 0;
      for (const cell of row.cells) {
        while (rows[y]?.[x]) x++;
        for (let down = 0; down < cell.rowSpan; down++) for (let right = 0; right < cell.colSpan; right++) (rows[y + down] ??= [])[x + right] = cell;
      }
    });
    return rows;
  };
  const words = (node) => node.textContent.replace(/\s+/g, " ").trim();
  const quoted = (text) => {
    // A spreadsheet takes names that begin so for formulas.
    const isNumber = /^[+-][\d.,]+( to [+-]?[\d.,]+)?$/.test(text);
    const safe = /^[=+\-@]/.test(text) && !isNumber ? `'${text}` : text;
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  // A column with intervals becomes two.
  const rows = (table) => {
    const cells = grid(table), columns = Math.max(...cells.map((row) => row.length));
    const interval = (cell) => cell?.querySelector(".interval");
    const two = Array.from({ length: columns }, (_, x) => cells.some((row) => interval(row[x])));
    const texts = (cell, isTwo, isHead) => {
      if (!cell) return isTwo ? ["", ""] : [""];
      if (!isTwo) return [words(cell)];
      if (isHead) return [words(cell), `${words(cell)}, 95 %`];
      const copy = cell.cloneNode(true), own = interval(copy);
      own?.remove();
      return [words(copy), own ? words(own) : ""];
    };
    const line = (row, y) => two.flatMap((isTwo, x) => texts(row[x], isTwo, y === 0)).map(quoted).join(",");
    return cells.map(line).join("\n") + "\n";
  };

  document.querySelectorAll("figure").forEach((figure) => {
    const svg = figure.querySelector("svg"), caption = figure.querySelector("figcaption");
    if (svg && caption) offer(caption, words(caption), "SVG", () => drawn(svg));
  });
  document.querySelectorAll("table").forEach((table) => {
    const title = table.closest("section")?.querySelector("h2"), caption = table.caption ?? table.createCaption();
    offer(caption, words(caption) || (title ? words(title) : "table"), "CSV", () => rows(table));
  });
})();
