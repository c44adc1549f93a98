/** How often each bucket of a histogram was hit, as colour over time. */
import { FieldType, formattedValueToString, getValueFormat, type Field, type GrafanaTheme2 } from '@grafana/data';
import * as chromatic from 'd3-scale-chromatic';
import { Cells, type Cell } from './cells';
import type { Drawing } from './drawing';

const LEGEND_HEIGHT = 30;
const SHADES = 64;
const ONE_HUE = new Set(['Blues', 'Greens', 'Greys', 'Oranges', 'Purples', 'Reds']);

export function HeatmapPanel({ frames, options, theme, marks, timeRange, width, height }: Drawing) {
  const times: number[] = frames[0].fields[0].values;
  const buckets = frames[0].fields.filter((field) => field.type === FieldType.number);
  const values = buckets.flatMap((bucket) => bucket.values.filter((value) => value > 0));
  const least = options.color?.min ?? Math.min(...values, 0);
  const most = options.color?.max ?? Math.max(...values, least + Number.EPSILON);
  const shade = shadesOf(options.color ?? {}, theme);
  const step = times.length > 1 ? times[1] - times[0] : 1000;
  const cells = buckets.flatMap((bucket, row) =>
    times.flatMap((time, index): Cell[] => {
      const value = bucket.values[index];
      // A value stands for the time before it.
      return value > (options.filterValues?.le ?? 1e-9)
        ? [{ row, from: time - step, to: time, color: shade((value - least) / (most - least)) }]
        : [];
    })
  );
  const legend = options.legend?.show ?? true;
  const cellUnit = options.cellValues?.unit ?? buckets[0]?.config.unit;
  return (
    <div style={{ width, height }}>
      <Cells
        cells={cells}
        rows={buckets.map((bucket) => boundOf(bucket, options.yAxis?.unit, options.yAxis?.decimals))}
        nameAt={1}
        fill={1}
        marks={marks}
        timeRange={timeRange}
        theme={theme}
        width={width}
        height={height - (legend ? LEGEND_HEIGHT : 0)}
      />
      {legend && <Scale shade={shade} least={format(least, cellUnit)} most={format(most, cellUnit)} />}
    </div>
  );
}

function shadesOf(color: Record<string, any>, theme: GrafanaTheme2): (share: number) => string {
  const scheme: string = color.scheme ?? 'Oranges';
  const interpolate = (chromatic as unknown as Record<string, (share: number) => string>)[`interpolate${scheme}`];
  if (interpolate === undefined) {
    throw new Error(`the colour scheme ${scheme} is not drawn`);
  }
  // Grafana turns these around on a dark ground.
  const reversed = Boolean(color.reverse) !== (theme.isDark && ONE_HUE.has(scheme));
  return (share) => {
    const shade = Math.round(Math.min(1, Math.max(0, share)) ** (color.exponent ?? 0.5) * (SHADES - 1)) / (SHADES - 1);
    return interpolate(reversed ? 1 - shade : shade);
  };
}

function boundOf(bucket: Field, unit?: string, decimals?: number): string {
  const bound = Number(bucket.name);
  return Number.isNaN(bound) ? bucket.name.replace('+Inf', '∞') : format(bound, unit, decimals);
}

function format(value: number, unit?: string, decimals?: number): string {
  return formattedValueToString(getValueFormat(unit)(value, decimals));
}

interface ScaleProps {
  shade: (share: number) => string;
  least: string;
  most: string;
}

function Scale({ shade, least, most }: ScaleProps) {
  const stops = Array.from({ length: 11 }, (_, index) => shade(index / 10));
  return (
    <div style={{ height: LEGEND_HEIGHT, width: 300, fontSize: 12, padding: '2px 8px' }}>
      <div style={{ height: 8, background: `linear-gradient(90deg, ${stops.join(',')})` }} />
      <div style={{ display: 'flex', justifyContent: 'space-between' }}>
        <span>{least}</span>
        <span>{most}</span>
      </div>
    </div>
  );
}
