/** Lines, bars and points over time, with annotations and exemplars. */
import { FieldType, applyNullInsertThreshold, type DataFrame, type TimeRange } from '@grafana/data';
import { LegendDisplayMode, type VizLegendOptions } from '@grafana/schema';
import { TimeSeries, type UPlotConfigBuilder } from '@grafana/ui';
import { useLayoutEffect } from 'react';
import type { Drawing } from './drawing';
import { PLOT_PADDING, drawExemplars, drawMarks } from './overlays';

export const TIME_SERIES_DEFAULTS = {
  defaults: {
    color: { mode: 'palette-classic' },
    custom: {
      drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, gradientMode: 'none',
      showPoints: 'auto', pointSize: 5, spanNulls: false, insertNulls: false, axisPlacement: 'auto',
      axisColorMode: 'text', axisBorderShow: false, axisCenteredZero: false, axisLabel: '', barAlignment: 0,
      barWidthFactor: 0.6, scaleDistribution: { type: 'linear' }, stacking: { mode: 'none', group: 'A' },
      thresholdsStyle: { mode: 'off' }, hideFrom: { tooltip: false, viz: false, legend: false },
    },
  },
};

export function TimeSeriesPanel(drawing: Drawing) {
  return (
    <TimeSeries
      frames={drawing.frames.map((frame) => withGaps(frame, drawing.timeRange))}
      timeRange={drawing.timeRange}
      timeZone="utc"
      width={drawing.width}
      height={drawing.height}
      legend={legendOptions(drawing.options)}
    >
      {(builder: UPlotConfigBuilder) => <Overlays builder={builder} drawing={drawing} />}
    </TimeSeries>
  );
}

/** Make a gap of a missing sample, and of what no axis can show, as Grafana does before it plots. */
function withGaps(frame: DataFrame, { from, to }: TimeRange): DataFrame {
  const { fields, ...rest } = applyNullInsertThreshold({
    frame,
    refFieldPseudoMin: from.valueOf(),
    refFieldPseudoMax: to.valueOf(),
  });
  return {
    ...rest,
    fields: fields.map((field) =>
      field.type === FieldType.number
        ? { ...field, values: field.values.map((value) => (Number.isFinite(value) ? value : null)) }
        : field
    ),
  };
}

function legendOptions(options: Record<string, any>): VizLegendOptions {
  return {
    showLegend: true,
    displayMode: LegendDisplayMode.List,
    placement: 'bottom',
    calcs: [],
    ...options.legend,
  };
}

interface OverlaysProps {
  builder: UPlotConfigBuilder;
  drawing: Drawing;
}

function Overlays({ builder, drawing }: OverlaysProps) {
  // Before the plot is made, which happens when its component is mounted, after its children.
  useLayoutEffect(() => {
    builder.setPadding(PLOT_PADDING);
    builder.addHook('drawAxes', (plot) => drawMarks(plot, drawing.marks));
    builder.addHook('draw', (plot) => drawExemplars(plot, builder.scaleKeys[1], drawing));
  }, [builder, drawing]);
  return null;
}
