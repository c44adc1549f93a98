/** One panel in its frame. */
import { FieldType } from '@grafana/data';
import { PanelChrome } from '@grafana/ui';
import type { ComponentType } from 'react';
import type { Loaded } from './load';
import type { Panel } from './model';
import type { Drawing } from './panels/drawing';
import { HeatmapPanel } from './panels/heatmap';
import { BarGaugePanel, StatPanel } from './panels/single_values';
import { StateTimelinePanel } from './panels/state_timeline';
import { TablePanel } from './panels/table';
import { TextPanel } from './panels/text';
import { TimeSeriesPanel } from './panels/timeseries';

const KINDS: Record<string, ComponentType<Drawing>> = {
  bargauge: BarGaugePanel,
  heatmap: HeatmapPanel,
  stat: StatPanel,
  'state-timeline': StateTimelinePanel,
  table: TablePanel,
  text: TextPanel,
  timeseries: TimeSeriesPanel,
};

export function isDrawn(panel: Panel): boolean {
  return panel.type in KINDS;
}

interface PanelFrameProps {
  panel: Panel;
  loaded: Loaded;
  width: number;
  height: number;
}

export function PanelFrame({ panel, loaded, width, height }: PanelFrameProps) {
  const Kind = KINDS[panel.type];
  const empty = isEmpty(panel, loaded);
  return (
    <PanelChrome
      title={loaded.replace(panel.title)}
      description={panel.description}
      displayMode={panel.transparent ? 'transparent' : 'default'}
      width={width}
      height={height}
    >
      {(innerWidth, innerHeight) =>
        empty ? (
          <NoData text={panel.fieldConfig?.defaults.noValue} height={innerHeight} />
        ) : (
          <Kind {...loaded} width={innerWidth} height={innerHeight} />
        )
      }
    </PanelChrome>
  );
}

/** Tell whether there is nothing to draw but an excuse. */
export function isEmpty(panel: Panel, { frames }: Loaded): boolean {
  const filled = frames.some(
    (frame) => frame.length > 0 && frame.fields.some((field) => field.type !== FieldType.time)
  );
  return panel.type !== 'text' && !filled;
}

function NoData({ text, height }: { text?: string; height: number }) {
  return (
    <div style={{ height, display: 'flex', alignItems: 'center', justifyContent: 'center' }}>
      {text ?? 'No data'}
    </div>
  );
}
