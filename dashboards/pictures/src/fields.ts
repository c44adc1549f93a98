/** Field configuration and transformations, applied by Grafana's own code. */
import {
  FieldConfigOptionsRegistry,
  applyFieldOverrides,
  cacheFieldDisplayNames,
  standardTransformers,
  standardTransformersRegistry,
  transformDataFrame,
  type DataFrame,
  type DataTransformerConfig,
  type FieldConfigPropertyItem,
  type FieldConfigSource,
  type GrafanaTheme2,
  type TransformerRegistryItem,
} from '@grafana/data';
import { firstValueFrom } from 'rxjs';
import type { Replace } from './variables';

const STANDARD = [
  'unit', 'min', 'max', 'fieldMinMax', 'decimals', 'displayName', 'noValue', 'thresholds', 'mappings',
  'links', 'color', 'filterable',
];

/** Teach Grafana's code the transformations; without this it leaves them out silently. */
export function registerTransformations(): void {
  standardTransformersRegistry.setInit(() =>
    [...new Set(Object.values(standardTransformers))].map(
      (transformation): TransformerRegistryItem => ({
        id: transformation.id,
        name: transformation.name,
        transformation: () => Promise.resolve(transformation as any),
        editor: () => null,
        imageDark: '',
        imageLight: '',
      })
    )
  );
}

export async function transformed(
  frames: DataFrame[],
  transformations: DataTransformerConfig[],
  replace: Replace
): Promise<DataFrame[]> {
  for (const { id } of transformations) {
    if (!standardTransformersRegistry.getIfExists(id)) {
      throw new Error(`the transformation ${id} is not drawn`);
    }
  }
  return firstValueFrom(transformDataFrame(transformations, frames, { interpolate: replace }));
}

/** Give every field its configuration, display processor and colour. */
export function configured(
  frames: DataFrame[],
  fieldConfig: FieldConfigSource,
  replace: Replace,
  theme: GrafanaTheme2
): DataFrame[] {
  const source = withBaseSteps(fieldConfig);
  const configured = applyFieldOverrides({
    data: frames,
    fieldConfig: source,
    fieldConfigRegistry: registryFor(source),
    replaceVariables: replace,
    theme,
    timeZone: 'utc',
  });
  cacheFieldDisplayNames(configured);
  return configured;
}

/** JSON has no infinity, so the first step of thresholds is null there. */
function withBaseSteps(fieldConfig: FieldConfigSource): FieldConfigSource {
  return JSON.parse(JSON.stringify(fieldConfig), (key, value) =>
    key === 'steps' && Array.isArray(value)
      ? value.map((step) => ({ ...step, value: step.value ?? -Infinity }))
      : value
  );
}

/** Know every property that *source* sets. */
function registryFor(source: FieldConfigSource): FieldConfigOptionsRegistry {
  const custom = new Set(Object.keys(source.defaults.custom ?? {}));
  for (const { properties } of source.overrides) {
    for (const { id } of properties) {
      if (id.startsWith('custom.')) {
        custom.add(id.slice('custom.'.length));
      }
    }
  }
  const item = (path: string, isCustom: boolean): FieldConfigPropertyItem => ({
    id: isCustom ? `custom.${path}` : path,
    path,
    name: path,
    isCustom,
    override: () => null,
    editor: () => null,
    process: (value, context) =>
      path === 'displayName' ? context.replaceVariables?.(value, context.field?.state?.scopedVars) || undefined : value,
    shouldApply: () => true,
  });
  return new FieldConfigOptionsRegistry(() => [
    ...STANDARD.map((path) => item(path, false)),
    ...[...custom].map((path) => item(path, true)),
  ]);
}
