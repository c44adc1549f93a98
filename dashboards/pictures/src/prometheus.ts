/** Asks Prometheus, and makes of its answers the data frames that its Grafana datasource makes. */
import { FieldType, createDataFrame, type DataFrame, type Field, type Labels } from '@grafana/data';
import type { Target } from './model';
import type { Replace } from './variables';

interface Series {
  metric: Labels;
  values?: [number, string][];
  value?: [number, string];
}

export interface Exemplar {
  /** Milliseconds since the epoch. */
  time: number;
  value: number;
}

export interface Span {
  from: number;
  to: number;
  step: number;
}

/** Return the frames of *targets*, in their order. */
export async function framesOf(
  targets: Target[],
  span: Span,
  replace: Replace
): Promise<DataFrame[]> {
  const shown = targets.filter((target) => !target.hide);
  const answers = await Promise.all(shown.map((target) => query(replace(target.expr), target, span)));
  const tables = shown.filter((target) => target.format === 'table').length;
  return shown.flatMap((target, index) => {
    const answer = answers[index];
    if (target.format === 'table') {
      return answer.length === 0 ? [] : [tableFrame(answer, target, tables > 1)];
    }
    const frames = answer.map((series) => seriesFrame(series, target, span, replace));
    return target.format === 'heatmap' ? [bucketsFrame(frames)].filter((frame) => frame !== null) : frames;
  });
}

async function query(expr: string, target: Target, span: Span): Promise<Series[]> {
  const asked = target.instant && !target.range
    ? ask<{ result: Series[] }>('query', { query: expr, time: span.to })
    : ask<{ result: Series[] }>('query_range', {
        query: expr,
        start: Math.floor(span.from / span.step) * span.step,
        end: span.to,
        step: span.step,
      });
  return (await asked).result;
}

/** Return the exemplars of the samples that *expr* reads. */
export async function exemplarsOf(expr: string, span: Span): Promise<Exemplar[]> {
  const found = await ask<{ exemplars: { value: string; timestamp: number }[] }[]>(
    'query_exemplars',
    { query: expr, start: span.from, end: span.to }
  );
  return found.flatMap(({ exemplars }) =>
    exemplars.map(({ value, timestamp }) => ({ time: timestamp * 1000, value: Number(value) }))
  );
}

async function ask<T>(path: string, parameters: Record<string, string | number>): Promise<T> {
  const form = new URLSearchParams(
    Object.entries(parameters).map(([name, value]) => [name, String(value)])
  );
  const response = await fetch(`/prometheus/api/v1/${path}?${form}`);
  const answer = await response.json();
  if (answer.status !== 'success') {
    throw new Error(`${answer.error} (in ${parameters.query})`);
  }
  return answer.data;
}

function points(series: Series): [number, string][] {
  return series.values ?? (series.value ? [series.value] : []);
}

function numberOf(text: string): number {
  return text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text);
}

function seriesFrame(series: Series, target: Target, span: Span, replace: Replace): DataFrame {
  const { __name__: _, ...labels } = series.metric;
  const legend = legendOf(labels, target, replace);
  const values = points(series);
  return createDataFrame({
    refId: target.refId,
    name: legend,
    fields: [
      {
        name: 'Time',
        type: FieldType.time,
        values: values.map(([time]) => time * 1000),
        config: { interval: span.step * 1000 },
      },
      {
        name: 'Value',
        type: FieldType.number,
        labels,
        values: values.map(([, value]) => numberOf(value)),
        config: legend === undefined ? {} : { displayNameFromDS: legend },
      },
    ],
  });
}

function legendOf(labels: Labels, target: Target, replace: Replace): string | undefined {
  const format = target.legendFormat;
  if (!format || format === '__auto') {
    // Grafana makes a name of the labels, where there are any.
    return Object.keys(labels).length === 0 ? target.expr : undefined;
  }
  return replace(format).replaceAll(/\{\{\s*([^}\s]+)\s*\}\}/g, (_, name) => labels[name] ?? '');
}

function tableFrame(answer: Series[], target: Target, several: boolean): DataFrame {
  const names = [...new Set(answer.flatMap((series) => Object.keys(series.metric)))].sort();
  const rows = answer.flatMap((series) => points(series).map((point) => ({ series, point })));
  return createDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: rows.map(({ point }) => point[0] * 1000) },
      ...names.map((name) => ({
        name,
        type: FieldType.string,
        values: rows.map(({ series }) => series.metric[name] ?? ''),
        config: { filterable: true },
      })),
      {
        name: several ? `Value #${target.refId}` : 'Value',
        type: FieldType.number,
        values: rows.map(({ point }) => numberOf(point[1])),
      },
    ],
  });
}

/** Make cumulative buckets, one frame each, into one frame with a field per bucket. */
function bucketsFrame(frames: DataFrame[]): DataFrame | null {
  const bound = (field: Field) => numberOf(field.labels?.le ?? 'NaN');
  const cumulative = frames
    .map((frame) => ({ times: frame.fields[0].values, field: frame.fields[1] }))
    .filter(({ field }) => !Number.isNaN(bound(field)))
    .sort((one, other) => bound(one.field) - bound(other.field));
  if (cumulative.length === 0) {
    return null;
  }
  const times = [...new Set(cumulative.flatMap((bucket) => [...bucket.times]))].sort(
    (one: number, other: number) => one - other
  );
  let below = new Map<number, number>();
  const fields = cumulative.map(({ times: own, field }) => {
    const totals = new Map<number, number>(own.map((time, index) => [time, field.values[index]]));
    const lower = below;
    below = totals;
    return {
      name: field.labels?.le ?? '',
      type: FieldType.number,
      labels: field.labels,
      values: times.map((time) => {
        const total = totals.get(time);
        return total === undefined ? null : Math.max(0, total - (lower.get(time) ?? 0));
      }),
    };
  });
  return createDataFrame({ fields: [{ name: 'Time', type: FieldType.time, values: times }, ...fields] });
}
