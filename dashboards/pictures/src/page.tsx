/** The whole dashboard: head, rows and panels on Grafana's grid of 24 columns. */
import { dateTimeFormat } from '@grafana/data';
import { Icon, useTheme2 } from '@grafana/ui';
import type { CSSProperties } from 'react';
import type { Loaded } from './load';
import type { Panel, Request } from './model';
import { PanelFrame } from './panel';
import type { Selected } from './variables';

const PADDING = 16;
const GAP = 8;
const ROW_HEIGHT = 30;
const COLUMNS = 24;

interface PageProps {
  request: Request;
  selected: Selected[];
  loaded: Map<number, Loaded>;
  width: number;
}

export function Page({ request, selected, loaded, width }: PageProps) {
  const { panels } = request.dashboard;
  const bottom = Math.max(...panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  return (
    <div style={{ width, padding: PADDING, boxSizing: 'border-box' }}>
      <Head request={request} selected={selected} />
      <div style={{ position: 'relative', height: bottom * (ROW_HEIGHT + GAP) - GAP }}>
        {panels.map((panel) => {
          const { left, top, ...size } = placeOf(panel, width - 2 * PADDING);
          const data = loaded.get(panel.id);
          return (
            <div key={panel.id} style={{ position: 'absolute', left, top, ...size }}>
              {panel.type === 'row' && <Row title={panel.title} />}
              {data && <PanelFrame panel={panel} loaded={data} {...size} />}
            </div>
          );
        })}
      </div>
    </div>
  );
}

function placeOf({ gridPos: { x, y, w, h } }: Panel, width: number) {
  const column = (width + GAP) / COLUMNS;
  const left = Math.round(x * column);
  return {
    left,
    top: y * (ROW_HEIGHT + GAP),
    width: Math.round((x + w) * column) - GAP - left,
    height: h * (ROW_HEIGHT + GAP) - GAP,
  };
}

function Row({ title }: { title: string }) {
  const theme = useTheme2();
  return (
    <div style={{ ...theme.typography.h6, display: 'flex', alignItems: 'center', gap: GAP, height: ROW_HEIGHT }}>
      <Icon name="angle-down" />
      {title}
    </div>
  );
}

function Head({ request, selected }: { request: Request; selected: Selected[] }) {
  const theme = useTheme2();
  const { dashboard, from, to } = request;
  const time = (seconds: number) => dateTimeFormat(seconds * 1000, { timeZone: 'utc', format: 'HH:mm:ss' });
  const muted: CSSProperties = { ...theme.typography.bodySmall, color: theme.colors.text.secondary };
  return (
    <div style={{ display: 'flex', flexDirection: 'column', gap: GAP, paddingBottom: PADDING }}>
      <div style={{ display: 'flex', alignItems: 'baseline', justifyContent: 'space-between' }}>
        <div style={theme.typography.h4}>{dashboard.title}</div>
        <div style={muted}>
          rendered with Grafana UI components, not a Grafana server · the demo, its past days made up ·{' '}
          {time(from)} to {time(to)} UTC
        </div>
      </div>
      <div style={{ display: 'flex', justifyContent: 'space-between' }}>
        <div style={{ display: 'flex', gap: GAP }}>
          {selected
            .filter(({ variable }) => variable.hide !== 2)
            .map(({ variable, text }) => (
              <Control key={variable.name} label={variable.label || variable.name} value={text} />
            ))}
        </div>
        <div style={{ display: 'flex', gap: GAP }}>
          {(dashboard.links ?? []).map(({ title }) => (
            <Control key={title} value={title} />
          ))}
        </div>
      </div>
    </div>
  );
}

function Control({ label, value }: { label?: string; value: string }) {
  const { colors, shape, typography } = useTheme2();
  const box: CSSProperties = {
    ...typography.bodySmall,
    display: 'flex',
    alignItems: 'center',
    gap: 4,
    height: 32,
    padding: '0 8px',
    border: `1px solid ${colors.border.medium}`,
    borderRadius: shape.radius.default,
    background: colors.background.primary,
  };
  return (
    <div style={{ display: 'flex' }}>
      {label && <div style={{ ...box, fontWeight: typography.fontWeightMedium, borderRight: 'none' }}>{label}</div>}
      <div style={{ ...box, background: label ? colors.background.canvas : colors.background.secondary }}>
        {value}
        <Icon name="angle-down" />
      </div>
    </div>
  );
}
