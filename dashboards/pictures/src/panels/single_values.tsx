/** Panels that show one value per series: stat and bar gauge. */
import {
  VizOrientation,
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  type FieldDisplay,
} from '@grafana/data';
import { BarGaugeDisplayMode, BarGaugeValueMode } from '@grafana/schema';
import {
  BarGauge,
  BigValue,
  BigValueColorMode,
  BigValueGraphMode,
  BigValueJustifyMode,
  BigValueTextMode,
  VizRepeater,
  type VizRepeaterRenderValueProps,
} from '@grafana/ui';
import type { ReactElement } from 'react';
import type { Drawing } from './drawing';

type Repeated = VizRepeaterRenderValueProps<FieldDisplay, ReturnType<typeof getDisplayValueAlignmentFactors>>;

export function StatPanel(drawing: Drawing) {
  const { options, theme } = drawing;
  return repeated(drawing, ({ value, width, height, count, alignmentFactors }) => (
    <BigValue
      theme={theme}
      width={width}
      height={height}
      count={count}
      value={value.display}
      sparkline={options.graphMode === 'none' ? undefined : value.sparkline}
      colorMode={options.colorMode ?? BigValueColorMode.Value}
      graphMode={options.graphMode ?? BigValueGraphMode.Area}
      justifyMode={options.justifyMode ?? BigValueJustifyMode.Auto}
      textMode={options.textMode ?? BigValueTextMode.Auto}
      alignmentFactors={alignmentFactors}
      text={options.text}
      disableWideLayout={options.wideLayout === false}
    />
  ));
}

export function BarGaugePanel(drawing: Drawing) {
  const { options, theme } = drawing;
  return repeated(drawing, ({ value, width, height, orientation, alignmentFactors }) => (
    <BarGauge
      theme={theme}
      width={width}
      height={height}
      orientation={orientation}
      field={value.field}
      value={value.display}
      display={value.view?.getFieldDisplayProcessor(value.colIndex ?? 0)}
      displayMode={options.displayMode ?? BarGaugeDisplayMode.Gradient}
      valueDisplayMode={options.valueMode ?? BarGaugeValueMode.Color}
      namePlacement={options.namePlacement}
      showUnfilled={options.showUnfilled ?? true}
      alignmentFactors={alignmentFactors}
      text={options.text}
      itemSpacing={10}
      lcdCellWidth={12}
    />
  ));
}

function repeated(drawing: Drawing, render: (props: Repeated) => ReactElement) {
  const { frames, options, fieldConfig, replace, theme, width, height } = drawing;
  const orientation = options.orientation ?? VizOrientation.Auto;
  return (
    <VizRepeater
      getValues={() =>
        getFieldDisplayValues({
          data: frames,
          fieldConfig,
          reduceOptions: { calcs: ['lastNotNull'], ...options.reduceOptions },
          replaceVariables: replace,
          theme,
          timeZone: 'utc',
          sparkline: true,
        })
      }
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={render}
      source={frames}
      renderCounter={0}
      width={width}
      height={height}
      orientation={orientation}
      autoGrid
      minVizWidth={options.minVizWidth}
      minVizHeight={options.minVizHeight}
      maxVizHeight={options.maxVizHeight}
    />
  );
}
