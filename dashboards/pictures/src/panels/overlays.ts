/** Annotations and exemplars, painted onto the canvas of a plot. */
import { colorManipulator } from '@grafana/data';
import type uPlot from 'uplot';
import type { Drawing, Mark } from './drawing';

/** Top, right, bottom, left: at the right the last time finds room. */
export const PLOT_PADDING: uPlot.Padding = [8, 24, null, null];
const DASH = [5, 5];
const BAND_HEIGHT = 5;
const DIAMOND = 4;

/** Draw dashed lines where annotations begin and end, and a band below them. */
export function drawMarks(plot: uPlot, marks: Mark[]): void {
  const { ctx, bbox } = plot;
  ctx.save();
  clip(plot);
  ctx.setLineDash(DASH);
  for (const { color, from, to } of marks) {
    const [left, right] = [from, to].map((time) => Math.round(plot.valToPos(time, 'x', true)));
    ctx.strokeStyle = color;
    ctx.fillStyle = colorManipulator.alpha(color, 0.1);
    ctx.fillRect(left, bbox.top, right - left, bbox.height);
    for (const position of new Set([left, right])) {
      ctx.beginPath();
      ctx.moveTo(position + 0.5, bbox.top);
      ctx.lineTo(position + 0.5, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.fillStyle = color;
    ctx.fillRect(left - 2, bbox.top + bbox.height - BAND_HEIGHT, right - left + 4, BAND_HEIGHT);
  }
  ctx.restore();
}

/** Draw a diamond for every exemplar. */
export function drawExemplars(plot: uPlot, scale: string, { exemplars, theme }: Drawing): void {
  const { ctx } = plot;
  const { max } = plot.scales[scale] ?? {};
  ctx.save();
  clip(plot);
  ctx.fillStyle = theme.visualization.getColorByName('green');
  for (const { time, value } of exemplars) {
    const x = plot.valToPos(time, 'x', true);
    // What lies above the lines is drawn at the edge, as in Grafana.
    const y = plot.valToPos(Math.min(value, max ?? value), scale, true);
    ctx.beginPath();
    ctx.moveTo(x, y - DIAMOND);
    ctx.lineTo(x + DIAMOND, y);
    ctx.lineTo(x, y + DIAMOND);
    ctx.lineTo(x - DIAMOND, y);
    ctx.fill();
  }
  ctx.restore();
}

function clip({ ctx, bbox }: uPlot): void {
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
}
