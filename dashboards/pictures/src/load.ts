/** From a panel of the dashboard to what there is to draw. */
import { dateTime, rangeUtil, type FieldConfigSource, type GrafanaTheme2, type TimeRange } from '@grafana/data';
import merge from 'lodash/merge';
import { configured, transformed } from './fields';
import type { Annotation, Panel, Request } from './model';
import type { Drawing, Mark } from './panels/drawing';
import { TIME_SERIES_DEFAULTS } from './panels/timeseries';
import { exemplarsOf, framesOf, type Exemplar, type Span } from './prometheus';
import { replacing, type Selected } from './variables';

export type Loaded = Omit<Drawing, 'width' | 'height'>;

const MAX_POINTS = 800;
const BASE_DEFAULTS = {
  defaults: {
    color: { mode: 'thresholds' },
    thresholds: { mode: 'absolute', steps: [{ value: null, color: 'green' }, { value: 80, color: 'red' }] },
  },
};

export async function load(
  panel: Panel,
  request: Request,
  selected: Selected[],
  marks: Mark[],
  theme: GrafanaTheme2
): Promise<Loaded> {
  const span = spanOf(panel, request);
  const replace = replacing(request, selected, span.step);
  const isTimeSeries = panel.type === 'timeseries';
  const fieldConfig: FieldConfigSource = merge(
    { defaults: {}, overrides: [] },
    BASE_DEFAULTS,
    isTimeSeries ? TIME_SERIES_DEFAULTS : {},
    panel.fieldConfig
  );
  const targets = panel.targets ?? [];
  const frames = await transformed(
    await framesOf(targets, span, replace),
    panel.transformations ?? [],
    replace
  );
  return {
    frames: configured(frames, fieldConfig, replace, theme),
    exemplars: isTimeSeries ? await sampled(panel, span, replace) : [],
    marks,
    options: panel.options ?? {},
    fieldConfig,
    replace,
    timeRange: timeRangeOf(span),
    theme,
  };
}

function spanOf(panel: Panel, { from, to, scrapeInterval }: Request): Span {
  const least = panel.interval?.includes('$') || !panel.interval
    ? scrapeInterval
    : rangeUtil.intervalToSeconds(panel.interval);
  const start = panel.timeFrom ? to - rangeUtil.intervalToSeconds(panel.timeFrom) : from;
  const step = Math.max(least, Math.ceil((to - start) / (panel.maxDataPoints ?? MAX_POINTS)));
  return { from: start, to, step };
}

function timeRangeOf({ from, to }: Span): TimeRange {
  const [start, end] = [dateTime(from * 1000), dateTime(to * 1000)];
  return { from: start, to: end, raw: { from: start, to: end } };
}

/** Return the slowest exemplar of every few points: all of them would hide the lines. */
async function sampled(
  panel: Panel,
  span: Span,
  replace: Loaded['replace']
): Promise<Exemplar[]> {
  const targets = (panel.targets ?? []).filter((target) => target.exemplar && !target.hide);
  const found = await Promise.all(targets.map((target) => exemplarsOf(replace(target.expr), span)));
  const width = ((span.to - span.from) * 1000) / 60;
  const slowest = new Map<number, Exemplar>();
  for (const exemplar of found.flat()) {
    const place = Math.floor(exemplar.time / width);
    if (exemplar.value >= (slowest.get(place)?.value ?? 0)) {
      slowest.set(place, exemplar);
    }
  }
  return [...slowest.values()];
}

/** Return when each annotation holds: as long as its expression is at least 1. */
export async function marksOf(
  annotations: Annotation[],
  request: Request,
  selected: Selected[],
  theme: GrafanaTheme2
): Promise<Mark[]> {
  const step = Math.max(request.scrapeInterval, Math.ceil((request.to - request.from) / MAX_POINTS));
  const span = { from: request.from, to: request.to, step };
  const replace = replacing(request, selected, step);
  const found = await Promise.all(
    annotations.map(async ({ name, iconColor, expr, target }) => {
      const expression = target?.expr ?? expr;
      const frames = await framesOf(expression ? [{ refId: name, expr: expression }] : [], span, replace);
      const color = theme.visualization.getColorByName(iconColor);
      return frames.flatMap(({ fields: [time, value] }) => {
        const marks: Mark[] = [];
        time.values.forEach((at: number, index: number) => {
          const last = marks.at(-1);
          if (!(value.values[index] >= 1)) {
            return;
          }
          if (last && at - last.to <= step * 1000) {
            last.to = at;
          } else {
            marks.push({ name, color, from: at, to: at });
          }
        });
        return marks;
      });
    })
  );
  // What held all the time would only colour the picture.
  const [start, end] = [(request.from + step) * 1000, (request.to - step) * 1000];
  return found.flat().filter((mark) => mark.from > start || mark.to < end);
}
