// The figures as one PNG: each with its name above, on the colours that are on screen.

import { palette } from "../core/bokeh_plot.js";
import { saveFile } from "./save_file.js";

const TITLE_HEIGHT = 22;

/** Save figures, `[{canvas, title}]`, as a file of that name. */
export async function savePicture(figures, name) {
  const scale = devicePixelRatio;
  const title = TITLE_HEIGHT * scale;
  const whole = document.createElement("canvas");
  whole.width = Math.max(...figures.map(({ canvas }) => canvas.width));
  whole.height = figures.reduce((sum, { canvas }) => sum + canvas.height + title, 0);
  paint(whole.getContext("2d"), figures, { scale, title });
  const blob = await new Promise((resolve) => {
    whole.toBlob(resolve, "image/png");
  });
  saveFile(blob, name.replace(/[^\w.-]+/g, "_"));
}

function paint(context, figures, { scale, title }) {
  const colours = palette();
  const { width, height } = context.canvas;
  context.fillStyle = colours.surface;
  context.fillRect(0, 0, width, height);
  context.fillStyle = colours.text;
  context.font = `${13 * scale}px sans-serif`;
  context.textBaseline = "middle";
  let top = 0;
  for (const figure of figures) {
    context.fillText(figure.title, 8 * scale, top + title / 2);
    context.drawImage(figure.canvas, 0, top + title);
    top += figure.canvas.height + title;
  }
}
