/** The part of Grafana's classic dashboard schema that the pictures need. */
import type { DataTransformerConfig, FieldConfigSource } from '@grafana/data';

export interface Target {
  refId: string;
  expr: string;
  legendFormat?: string;
  instant?: boolean;
  range?: boolean;
  exemplar?: boolean;
  format?: 'time_series' | 'table' | 'heatmap';
  hide?: boolean;
}

export interface Panel {
  id: number;
  type: string;
  title: string;
  description?: string;
  transparent?: boolean;
  collapsed?: boolean;
  gridPos: { x: number; y: number; w: number; h: number };
  interval?: string;
  maxDataPoints?: number;
  timeFrom?: string;
  targets?: Target[];
  transformations?: DataTransformerConfig[];
  fieldConfig?: FieldConfigSource;
  // Each kind of panel knows its own.
  options?: Record<string, any>;
}

export interface Variable {
  name: string;
  label?: string;
  type: string;
  hide?: number;
  multi?: boolean;
  includeAll?: boolean;
  allValue?: string;
  query?: string | { query?: string };
  current?: { text?: string | string[]; value?: string | string[] };
}

export interface Annotation {
  name: string;
  enable: boolean;
  hide?: boolean;
  iconColor: string;
  expr?: string;
  target?: { expr?: string };
}

export interface Dashboard {
  uid: string;
  title: string;
  tags?: string[];
  links?: { title: string; type: string }[];
  templating?: { list?: Variable[] };
  annotations?: { list?: Annotation[] };
  panels: Panel[];
}

/** What the page is asked to draw; times are seconds since the epoch. */
export interface Request {
  dashboard: Dashboard;
  from: number;
  to: number;
  /** Seconds between two scrapes, as the datasource of a Grafana would be told. */
  scrapeInterval: number;
  /** Values of variables by name; the others stand as the dashboard has them. */
  variables: Record<string, string>;
}
