/** Values of dashboard variables, and their place in queries and titles. */
import type { ScopedVars } from '@grafana/data';
import type { Request, Variable } from './model';

const ALL = '$__all';
const REFERENCE = /\$\{(\w+)(?:\.([^}:]+))?(?::\w+)?\}|\$(\w+)|\[\[(\w+)\]\]/g;

export interface Selected {
  variable: Variable;
  text: string;
  value: string;
}

/** Return what each variable stands for. */
export function selectedValues(request: Request): Selected[] {
  const variables = request.dashboard.templating?.list ?? [];
  const known = new Set(variables.map((variable) => variable.name));
  for (const name of Object.keys(request.variables)) {
    if (!known.has(name)) {
      throw new Error(`the dashboard ${request.dashboard.uid} has no variable ${name}`);
    }
  }
  return variables.map((variable) => {
    if (variable.type === 'datasource') {
      return { variable, text: 'Prometheus', value: 'prometheus' };
    }
    const current = [variable.current?.value ?? []].flat();
    const asked = request.variables[variable.name];
    if (asked !== undefined) {
      return { variable, text: asked, value: asked };
    }
    if (current.includes(ALL) || (current.length === 0 && variable.includeAll)) {
      return { variable, text: 'All', value: variable.allValue ?? '.*' };
    }
    if (current.length > 0) {
      return { variable, text: current.join(' + '), value: current.join('|') };
    }
    if (typeof variable.query === 'string' && variable.type !== 'query') {
      return { variable, text: variable.query, value: variable.query };
    }
    throw new Error(`the variable ${variable.name} has no value to draw with`);
  });
}

/** Returns the text with every reference to a variable replaced; unknown ones stay. */
export type Replace = (text: string | undefined, scoped?: ScopedVars) => string;

/**
 * @param step Seconds between two points of the panel.
 */
export function replacing(request: Request, selected: Selected[], step: number): Replace {
  const range = request.to - request.from;
  const rateInterval = Math.max(step + request.scrapeInterval, 4 * request.scrapeInterval);
  const values: Record<string, string> = {
    __interval: `${step}s`,
    __interval_ms: `${step * 1000}`,
    __rate_interval: `${rateInterval}s`,
    __range: `${range}s`,
    __range_s: `${range}`,
    __range_ms: `${range * 1000}`,
    __from: `${request.from * 1000}`,
    __to: `${request.to * 1000}`,
  };
  for (const { variable, value } of selected) {
    values[variable.name] = value;
  }
  return (text, scoped) =>
    (text ?? '').replace(REFERENCE, (whole, braced, path, plain, squared) => {
      const name: string = braced ?? plain ?? squared;
      const scope = scoped?.[name]?.value;
      if (scope !== undefined) {
        const found = path === undefined ? scope : lookUp(scope, path);
        return found === undefined ? whole : String(found);
      }
      return values[name] ?? whole;
    });
}

function lookUp(scope: unknown, path: string): unknown {
  let found: any = scope;
  for (const part of path.replaceAll(/\["?([^"\]]+)"?\]/g, '.$1').split('.')) {
    found = found?.[part];
  }
  return found;
}
