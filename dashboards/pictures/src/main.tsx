/** Draws the dashboard of `/request.json`, and says on the body how that went:
 * `data-state` is `done` or `failed`, `data-empty` lists the titles of panels without data. */
import { createTheme, type GrafanaTheme2 } from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { GlobalStyles, ThemeContext } from '@grafana/ui';
import type { ReactElement } from 'react';
import { createRoot } from 'react-dom/client';
import { registerTransformations } from './fields';
import { load, marksOf, type Loaded } from './load';
import type { Request } from './model';
import { Page } from './page';
import { isDrawn, isEmpty } from './panel';
import { selectedValues, type Selected } from './variables';

const WIDTH = 1600;
// Components of Grafana measure themselves in effects, some of them twice.
const SETTLE_MILLISECONDS = 1500;

async function draw(): Promise<void> {
  await initPluginTranslations('grafana-ui');
  registerTransformations();
  const request: Request = await (await fetch('/request.json')).json();
  const theme = createTheme({ colors: { mode: 'dark' } });
  const selected = selectedValues(request);
  const loaded = await loadPanels(request, selected, theme);
  const container = document.getElementById('root');
  if (container === null) {
    throw new Error('index.html has no #root');
  }
  const root = createRoot(container);
  const render = (page?: ReactElement) =>
    root.render(
      <ThemeContext.Provider value={theme}>
        <GlobalStyles />
        {page}
      </ThemeContext.Provider>
    );
  // Plots neither wait for a font nor draw themselves again when it comes.
  render();
  await Promise.all(['400 12px Inter', '500 12px Inter', '400 12px "Roboto Mono"'].map(untilLoaded));
  render(<Page request={request} selected={selected} loaded={loaded} width={WIDTH} />);
  const empty = request.dashboard.panels.filter((panel) => {
    const found = loaded.get(panel.id);
    return found !== undefined && isEmpty(panel, found);
  });
  document.body.dataset.empty = JSON.stringify(empty.map(({ title }) => title));
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MILLISECONDS));
}

async function untilLoaded(font: string): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    if ((await document.fonts.load(font)).length > 0) {
      return;
    }
    await new Promise(requestAnimationFrame);
  }
  throw new Error(`the font ${font} is not there`);
}

async function loadPanels(
  request: Request,
  selected: Selected[],
  theme: GrafanaTheme2
): Promise<Map<number, Loaded>> {
  const { dashboard } = request;
  const annotations = dashboard.annotations?.list ?? [];
  const marks = await marksOf(annotations.filter(({ enable }) => enable), request, selected, theme);
  const panels = dashboard.panels.filter(({ type }) => type !== 'row');
  const loaded = await Promise.all(
    panels.map(async (panel) => {
      if (!isDrawn(panel)) {
        throw new Error(`panel ${panel.title}: the type ${panel.type} is not drawn`);
      }
      try {
        return [panel.id, await load(panel, request, selected, marks, theme)] as const;
      } catch (error) {
        throw new Error(`panel ${panel.title}: ${error instanceof Error ? error.message : error}`);
      }
    })
  );
  return new Map(loaded);
}

draw().then(
  () => (document.body.dataset.state = 'done'),
  (error) => {
    document.body.dataset.state = 'failed';
    console.error(error);
  }
);
