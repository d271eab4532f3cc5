// Sorting of board tables. The order is part of the address: #board/column/asc|desc.
"use strict";
(() => {
  const said = document.getElementById("said");

  function value(row, at) {
    const text = row.cells[at].dataset.v ?? "";
    const number = Number(text);
    return text === "" || Number.isNaN(number) ? text : number;
  }

  function sort(table, column, direction) {
    const button = [...table.querySelectorAll("button[data-col]")].find((b) => b.dataset.col === column);
    if (!button) return false;
    const head = button.closest("th");
    const at = head.cellIndex;
    const sign = direction === "desc" ? -1 : 1;
    const body = table.querySelector("tbody.sorted");
    const rows = [...body.rows].map((row) => [value(row, at), row]);
    rows.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      return sign * (a < b ? -1 : a > b ? 1 : 0);
    });
    body.append(...rows.map(([, row]) => row));
    for (const other of table.tHead.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", sign < 0 ? "descending" : "ascending");
    return true;
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-col]");
    if (!button) return;
    const table = button.closest("table");
    const turned = button.closest("th").getAttribute("aria-sort") === "ascending" ? "desc" : "asc";
    sort(table, button.dataset.col, turned);
    history.replaceState(null, "", `#${table.dataset.board}/${button.dataset.col}/${turned}`);
    said.textContent = `Sorted by ${button.textContent}, ${turned === "asc" ? "ascending" : "descending"}.`;
  });

  function follow() {
    const [board, column, direction] = location.hash.slice(1).split("/");
    if (!column) return;
    const article = document.getElementById(board);
    const table = article && article.querySelector("table[data-board]");
    if (table && sort(table, column, direction)) article.scrollIntoView();
  }

  addEventListener("hashchange", follow);
  follow();
})();
