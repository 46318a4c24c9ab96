// A table of class "sortable" gets a sort button in every header. If the box around it names columns in
// data-filter="source,category", it also gets a text filter and a choice for each of them. Without script it is a table.
(() => {
  const EMPTY = ["", "–", "nan"];
  const words = (cell) => cell.textContent.trim();
  const make = (tag, properties, parent) => parent.appendChild(Object.assign(document.createElement(tag), properties));

  // A cell's own data-sort, or the number its text begins with: "−3.1 [−4.0, −2.2]", "1,200", "< 0.001".
  function number(cell) {
    const text = (cell.dataset.sort ?? words(cell)).replaceAll("−", "-").replaceAll(",", "");
    const found = text.match(/^[<>≈+ ]*(-?\d*\.?\d+(e[+-]?\d+)?)/i);
    return found ? Number(found[1]) : NaN;
  }

  function sort(table, column, direction) {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, cell: row.cells[column] }));
    const there = rows.filter(({ cell }) => cell.dataset.sort || !EMPTY.includes(words(cell)));
    const numeric = there.every(({ cell }) => !Number.isNaN(number(cell)));
    const compare = numeric
      ? (a, b) => number(a.cell) - number(b.cell)
      : (a, b) => words(a.cell).localeCompare(words(b.cell), undefined, { numeric: true });
    there.sort((a, b) => direction * compare(a, b));
    const missing = rows.filter((one) => !there.includes(one));
    body.append(...[...there, ...missing].map(({ row }) => row));
  }

  function addButtons(table) {
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, column) => {
      const button = make("button", { type: "button" }, header);
      button.append(...[...header.childNodes].filter((node) => node !== button));
      button.addEventListener("click", () => {
        const ascending = header.getAttribute("aria-sort") !== "ascending";
        headers.forEach((other) => other.removeAttribute("aria-sort"));
        header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        sort(table, column, ascending ? 1 : -1);
      });
    });
    return headers.map(words);
  }

  function addFilters(table, names, columns) {
    const tools = make("div", { className: "sort-tools" }, document.createDocumentFragment());
    const field = (name, tag, properties) =>
      make(tag, properties, make("label", { textContent: `${name} ` }, tools));
    const text = field("Filter", "input", { type: "search" });
    const choices = columns.map((name) => {
      const at = names.indexOf(name), choice = field(name, "select", {});
      const values = new Set([...table.tBodies[0].rows].map((row) => words(row.cells[at])));
      ["all", ...[...values].sort()].forEach((value, i) => make("option", { textContent: value, value: i ? value : "" }, choice));
      return { at, choice };
    });
    const count = make("p", { role: "status" }, tools);
    function apply() {
      const rows = [...table.tBodies[0].rows], wanted = text.value.trim().toLowerCase();
      for (const row of rows) {
        const fits = choices.every(({ at, choice }) => !choice.value || words(row.cells[at]) === choice.value);
        row.hidden = !fits || !row.textContent.toLowerCase().includes(wanted);
      }
      count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
    }
    tools.addEventListener("input", apply);
    table.before(tools);
    apply();
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const names = addButtons(table);
    const columns = table.parentElement.dataset.filter?.split(",").map((name) => name.trim());
    if (columns) addFilters(table, names, columns.filter((name) => names.includes(name)));
  }
})();
