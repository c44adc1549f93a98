/** Tables. */
import { TableCellHeight } from '@grafana/schema';
import { TableNG } from '@grafana/ui/unstable';
import type { Drawing } from './drawing';

export function TablePanel({ frames, fieldConfig, options, timeRange, width, height }: Drawing) {
  const frame = frames[options.frameIndex ?? 0];
  return (
    <TableNG
      data={frame}
      width={width}
      height={height}
      timeRange={timeRange}
      fieldConfig={fieldConfig}
      sortBy={options.sortBy}
      noHeader={options.showHeader === false}
      cellHeight={options.cellHeight ?? TableCellHeight.Sm}
      enableVirtualization={false}
    />
  );
}
