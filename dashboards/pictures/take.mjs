/**
 * Takes a picture of each dashboard that the JSON on stdin lists, and prints, one JSON array per
 * line, the titles of its panels without data.
 *
 * Everything that the page asks for is answered here: its own files from the build, icons and fonts
 * from node_modules, queries from Prometheus. Nothing else is reachable.
 */
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const HERE = dirname(fileURLToPath(import.meta.url));
const ORIGIN = 'http://pictures.invalid';
const WIDTH = 1600;
const SETTLE_MILLISECONDS = 500;
const TIMEOUT_MILLISECONDS = 90_000;
const FILES = [
  ['/public/build/img/icons/', 'node_modules/@grafana/ui/dist/public/img/icons/'],
  ['/public/fonts/inter/', 'node_modules/inter-ui/web/'],
  ['/', 'build/'],
];
const TYPES = {
  css: 'text/css',
  html: 'text/html',
  js: 'text/javascript',
  svg: 'image/svg+xml',
  woff2: 'font/woff2',
};
// Grafana names the only file of this font after its hash.
const MONOSPACE = 'node_modules/@fontsource-variable/roboto-mono/files/roboto-mono-latin-wght-normal.woff2';
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--force-color-profile=srgb', '--hide-scrollbars',
];

const { program, profile, prometheus, pictures } = JSON.parse(await text(process.stdin));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: program,
  headless: true,
  args: FLAGS,
  viewport: { width: WIDTH, height: 1200 },
});
try {
  for (const { request, file } of pictures) {
    await take(request, file);
  }
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await browser.close();
}

async function take(request, file) {
  const page = await browser.newPage();
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') {
      complaints.push(message.text());
    }
  });
  await page.route('**', (route) => answer(route, request, complaints));
  await page.goto(`${ORIGIN}/index.html`);
  await page.waitForSelector('body[data-state]', { state: 'attached', timeout: TIMEOUT_MILLISECONDS });
  if (complaints.length > 0) {
    throw new Error(`${request.dashboard.title}:\n  ${complaints.join('\n  ')}`);
  }
  console.log(await page.getAttribute('body', 'data-empty'));
  // Tables draw the rows that can be seen, so all of the page has to be.
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.setViewportSize({ width: WIDTH, height });
  await page.waitForTimeout(SETTLE_MILLISECONDS);
  await page.screenshot({ path: file, fullPage: true });
  await page.close();
}

async function answer(route, request, complaints) {
  const url = new URL(route.request().url());
  try {
    if (url.origin !== ORIGIN) {
      throw new Error('only what is here can be asked for');
    }
    if (url.pathname === '/request.json') {
      return await route.fulfill({ json: request });
    }
    if (url.pathname.startsWith('/prometheus/')) {
      const path = url.pathname.slice('/prometheus/'.length);
      const response = await fetch(new URL(path + url.search, prometheus));
      return await route.fulfill({ status: response.status, json: await response.json() });
    }
    const path = pathOf(url.pathname);
    return await route.fulfill({ body: await readFile(join(HERE, path)), contentType: typeOf(path) });
  } catch (error) {
    complaints.push(`${url}: ${error.message}`);
    await route.abort();
  }
}

function pathOf(asked) {
  if (asked.startsWith('/public/fonts/roboto/')) {
    return MONOSPACE;
  }
  const [prefix, folder] = FILES.find(([prefix]) => asked.startsWith(prefix));
  return join(folder, asked.slice(prefix.length));
}

function typeOf(path) {
  return TYPES[path.split('.').at(-1)] ?? 'application/octet-stream';
}
