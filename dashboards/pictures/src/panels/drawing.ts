/** What every kind of panel gets to draw. */
import type { DataFrame, FieldConfigSource, GrafanaTheme2, TimeRange } from '@grafana/data';
import type { Exemplar } from '../prometheus';
import type { Replace } from '../variables';

export interface Mark {
  name: string;
  color: string;
  /** Milliseconds since the epoch. */
  from: number;
  to: number;
}

export interface Drawing {
  frames: DataFrame[];
  exemplars: Exemplar[];
  marks: Mark[];
  options: Record<string, any>;
  fieldConfig: FieldConfigSource;
  replace: Replace;
  timeRange: TimeRange;
  theme: GrafanaTheme2;
  width: number;
  height: number;
}
