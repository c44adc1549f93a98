/** Markdown. */
import { renderTextPanelMarkdown } from '@grafana/data';
import type { Drawing } from './drawing';

export function TextPanel({ options, replace, width, height }: Drawing) {
  const html = renderTextPanelMarkdown(replace(options.content));
  return (
    <div className="markdown-html" style={{ width, height, overflow: 'hidden' }}
      dangerouslySetInnerHTML={{ __html: html }} />
  );
}
