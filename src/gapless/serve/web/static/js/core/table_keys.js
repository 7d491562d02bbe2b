// The keyboard and pointer in a table. The focus stays on the grid, which names the active row: a row that
// scrolls away takes no focus with it.
//
//   Up, Down, PageUp, PageDown, Home, End   another row          Enter   open it
//   Right, Left                             the links and buttons inside the row     Escape   back to the row

const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

/** The active row of a table, and how a person moves it. */
export class TableKeys {
  /** ``grid`` has the focus; ``rows`` are its TableRows; ``table`` tells length, row(index), show(index), open(row). */
  constructor(grid, rows, table) {
    this.active = -1;
    this._grid = grid;
    this._rows = rows;
    this._table = table;
    grid.addEventListener("keydown", (event) => this._pressed(event));
    rows.node.addEventListener("click", (event) => this._clicked(event));
  }

  /** Name the active row, after rows were drawn. */
  mark() {
    this._rows.mark(this.active);
    const node = this._rows.at(this.active);
    if (node === undefined) this._grid.removeAttribute("aria-activedescendant");
    else this._grid.setAttribute("aria-activedescendant", node.id);
  }

  _move(index) {
    const last = this._table.length() - 1;
    if (last < 0) return;
    this.active = Math.min(Math.max(index, 0), last);
    this._table.show(this.active);
  }

  _pressed(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const isDone =
      event.target === this._grid ? this._pressedOnRow(event) : this._pressedInside(event.key, event.target);
    if (isDone) event.preventDefault();
  }

  _pressedOnRow(event) {
    const page = this._table.pageRows();
    const moves = {
      ArrowDown: this.active + 1,
      ArrowUp: this.active - 1,
      PageDown: this.active + page,
      PageUp: this.active - page,
      Home: 0,
      End: this._table.length() - 1,
    };
    const row = this._table.row(this.active);
    if (event.key in moves) this._move(moves[event.key]);
    else if (event.key === "Enter" && row !== undefined) this._table.open(row, event);
    else if (event.key === "ArrowRight" && row !== undefined) this._enter(this.active, 0);
    else return false;
    return true;
  }

  _pressedInside(key, control) {
    const index = this._rows.indexOf(control);
    if (index < 0 || !(key in STEPS || key === "Escape")) return false;
    if (key === "Escape") this._grid.focus();
    else this._enter(index, this._rows.controls(index).indexOf(control) + STEPS[key]);
    return true;
  }

  _enter(index, at) {
    const controls = this._rows.controls(index);
    if (at < 0 || controls.length === 0) this._grid.focus();
    else controls[Math.min(at, controls.length - 1)].focus();
  }

  _clicked(event) {
    const index = this._rows.indexOf(event.target);
    const row = this._table.row(index);
    if (row === undefined) return;
    this._move(index);
    if (event.target.closest("a, button") || getSelection().toString() !== "") return; // a link, or text to copy
    this._table.open(row, event);
  }
}
