// Rows as one JSON file: the server gives JSON page by page, so the pages are put together here.

import * as api from "../core/api.js";
import { el, replace } from "../core/dom.js";
import { stringify } from "../core/json.js";
import { failed } from "../core/message.js";
import { saveFile } from "./save_file.js";
import { rowsWords } from "./words.js";

const PAGE_ROWS = 10_000;

/** Return a button that saves all rows of a question as `{"columns": [...], "rows": [[...], ...]}`. */
export function jsonButton(path, asked, name) {
  const told = el("span", { class: "hint", role: "status" });
  const about = { type: "button", class: "button", title: "all rows, int64 as text", "data-format": "json" };
  const button = el("button", about, "JSON");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      saveFile(await collected(path, asked, (rows) => replace(told, `${rowsWords(rows)} …`)), name);
      replace(told);
    } catch (error) {
      failed(told, error);
    }
    button.disabled = false;
  });
  return [button, told];
}

async function collected(path, asked, tell) {
  const parts = [];
  let [rows, after] = [0, null];
  do {
    const page = await api.get(path, { ...asked, format: "json", limit: PAGE_ROWS, after });
    if (parts.length === 0) parts.push(`{"columns": ${stringify(page.columns)}, "rows": [`);
    for (const row of page.rows) parts.push(`${rows++ === 0 ? "\n" : ",\n"}${stringify(row)}`);
    after = page.next;
    tell(rows);
  } while (after !== null);
  return new Blob([...parts, "\n]}\n"], { type: "application/json" });
}
