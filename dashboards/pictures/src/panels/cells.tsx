/** Coloured cells in rows over time, on the time axis of Grafana's plots. */
import type { GrafanaTheme2, TimeRange } from '@grafana/data';
import { AxisPlacement, ScaleDirection, ScaleDistribution, ScaleOrientation } from '@grafana/schema';
import { UPLOT_AXIS_FONT_SIZE, UPlotChart, UPlotConfigBuilder, measureText } from '@grafana/ui';
import { useMemo } from 'react';
import type uPlot from 'uplot';
import type { Mark } from './drawing';
import { PLOT_PADDING, drawMarks } from './overlays';

const NAME_HEIGHT = 16;
const NAME_MARGIN = 20;

export interface Cell {
  /** Counted from the bottom. */
  row: number;
  /** Milliseconds since the epoch. */
  from: number;
  to: number;
  color: string;
  text?: string;
}

interface CellsProps {
  cells: Cell[];
  /** Names of rows, from the bottom. */
  rows: string[];
  /** Where a name stands: 0.5 beside its row, 1 at its upper edge. */
  nameAt: number;
  /** Share of a row's height that its cells fill. */
  fill: number;
  marks: Mark[];
  timeRange: TimeRange;
  theme: GrafanaTheme2;
  width: number;
  height: number;
}

export function Cells(props: CellsProps) {
  const { timeRange, width, height } = props;
  const builder = useMemo(() => builderFor(props), [props]);
  const times = [timeRange.from.valueOf(), timeRange.to.valueOf()];
  return (
    <UPlotChart config={builder} data={[times, [null, null]]} width={width} height={height} />
  );
}

function builderFor({ cells, rows, nameAt, fill, marks, timeRange, theme, width }: CellsProps): UPlotConfigBuilder {
  const builder = new UPlotConfigBuilder('utc');
  builder.addScale({
    scaleKey: 'x',
    isTime: true,
    orientation: ScaleOrientation.Horizontal,
    direction: ScaleDirection.Right,
    range: () => [timeRange.from.valueOf(), timeRange.to.valueOf()],
  });
  builder.addScale({
    scaleKey: 'y',
    orientation: ScaleOrientation.Vertical,
    direction: ScaleDirection.Up,
    distribution: ScaleDistribution.Linear,
    range: () => [0, rows.length],
  });
  builder.addAxis({ scaleKey: 'x', isTime: true, placement: AxisPlacement.Bottom, timeZone: 'utc', theme });
  const widest = Math.max(...rows.map((name) => measureText(name, UPLOT_AXIS_FONT_SIZE).width));
  builder.addAxis({
    scaleKey: 'y',
    placement: AxisPlacement.Left,
    theme,
    grid: { show: false },
    size: Math.min(width * 0.4, widest) + NAME_MARGIN,
    splits: () => rows.map((_, row) => row + nameAt),
    values: (plot) => {
      const every = Math.ceil((rows.length * NAME_HEIGHT) / (plot.bbox.height / devicePixelRatio));
      return rows.map((name, row) => ((rows.length - 1 - row) % every === 0 ? name : ''));
    },
  });
  builder.addSeries({ scaleKey: 'y', theme, show: true, lineWidth: 0 });
  builder.setPadding(PLOT_PADDING);
  builder.scaleKeys = ['x', 'y'];
  builder.addHook('drawAxes', (plot) => {
    // Behind the cells, whose colours say enough.
    drawMarks(plot, marks);
    drawCells(plot, cells, fill, theme);
  });
  return builder;
}

function drawCells(plot: uPlot, cells: Cell[], fill: number, theme: GrafanaTheme2): void {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.font = `${theme.typography.fontSize - 2}px ${theme.typography.fontFamily}`;
  ctx.textBaseline = 'middle';
  ctx.textAlign = 'left';
  for (const { row, from, to, color, text } of cells) {
    const left = Math.round(plot.valToPos(from, 'x', true));
    const right = Math.round(plot.valToPos(to, 'x', true));
    const top = Math.round(plot.valToPos(row + 0.5 + fill / 2, 'y', true));
    const bottom = Math.round(plot.valToPos(row + 0.5 - fill / 2, 'y', true));
    ctx.fillStyle = color;
    ctx.fillRect(left, top, right - left, bottom - top);
    if (text && ctx.measureText(text).width + 12 < right - left && bottom - top > 12) {
      ctx.fillStyle = theme.colors.getContrastText(color, 1);
      ctx.fillText(text, Math.max(left, bbox.left) + 6, (top + bottom) / 2);
    }
  }
  ctx.restore();
}
