/** The state of each series over time, one row per series. */
import { FieldType, formattedValueToString, getFieldDisplayName, type Field } from '@grafana/data';
import { LegendDisplayMode } from '@grafana/schema';
import { VizLayout, VizLegend, type VizLegendItem } from '@grafana/ui';
import { Cells, type Cell } from './cells';
import type { Drawing } from './drawing';

export function StateTimelinePanel({ frames, options, theme, marks, timeRange, width, height }: Drawing) {
  const rows = frames.flatMap((frame) =>
    frame.fields
      .filter((field) => field.type !== FieldType.time)
      .map((field) => ({
        name: getFieldDisplayName(field, frame, frames),
        states: statesOf(field, frame.fields[0]),
      }))
  );
  // The first row stands on top.
  rows.reverse();
  const cells = rows.flatMap(({ states }, row) => states.map((state): Cell => ({ ...state, row })));
  const items = new Map<string, VizLegendItem>(
    cells.map(({ text, color }) => [text ?? '', { label: text ?? '', color, yAxis: 1 }])
  );
  const legend = (options.legend?.showLegend ?? true) && (
    <VizLayout.Legend placement="bottom">
      <VizLegend placement="bottom" displayMode={LegendDisplayMode.List} items={[...items.values()]} />
    </VizLayout.Legend>
  );
  return (
    <VizLayout width={width} height={height} legend={legend || null}>
      {(plotWidth, plotHeight) => (
        <Cells
          cells={options.showValue === 'never' ? cells.map((cell) => ({ ...cell, text: undefined })) : cells}
          rows={rows.map(({ name }) => name)}
          nameAt={0.5}
          fill={options.rowHeight ?? 0.9}
          marks={marks}
          timeRange={timeRange}
          theme={theme}
          width={plotWidth}
          height={plotHeight}
        />
      )}
    </VizLayout>
  );
}

/** Merge neighbours that read the same; a missing sample ends a state. */
function statesOf(field: Field, time: Field): Omit<Cell, 'row'>[] {
  const step = time.config.interval ?? 0;
  const states: Omit<Cell, 'row'>[] = [];
  field.values.forEach((value, index) => {
    if (value === null || Number.isNaN(value) || field.display === undefined) {
      return;
    }
    const display = field.display(value);
    const state = { text: formattedValueToString(display), color: display.color ?? '#888888' };
    const from: number = time.values[index];
    const last = states.at(-1);
    if (last?.text === state.text && last.color === state.color && last.to >= from) {
      last.to = from + step;
    } else {
      states.push({ ...state, from, to: from + step });
    }
  });
  return states;
}
