// Evaluated in a page: what of it is hard to read or to tap.

// Relative luminance and contrast: WCAG 2.2.
const luminance = ([r, g, b]) => {
  const linear = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
};
const contrast = (one, other) => {
  const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
};
const lightness = (color) => (Math.max(...color) + Math.min(...color)) / 510;
// The same hue and saturation at the opposite lightness.
const flipped = (color) => {
  const shift = 255 - Math.max(...color) - Math.min(...color);
  return color.map((c) => c + shift);
};
const inverted = (color) => color.map((c) => 255 - c);
const AS_IT_IS = { 'as it is': (text, background) => [text, background] };
// How mail programs make a light e-mail dark: [text, background] from the same.
const MAIL_PROGRAMS = {
  ...AS_IT_IS,
  'inverted': (text, background) => [inverted(text), inverted(background)],
  'with its lightness flipped': (text, background) => [flipped(text), flipped(background)],
  'with light backgrounds and dark texts flipped': (text, background) => [
    lightness(text) < 0.5 ? flipped(text) : text,
    lightness(background) > 0.5 ? flipped(background) : background,
  ],
};
const MIN_CONTRAST = 4.5;
const MIN_TEXTS = 3;

const rgb = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
const backgroundOf = (element, canvas) => {
  for (let at = element; at; at = at.parentElement) {
    const color = rgb(getComputedStyle(at).backgroundColor);
    if (color.length === 3 || color[3] > 0.99) return color.slice(0, 3);
  }
  return canvas;
};

// `minText` and `minTap` are px; a page for a mouse may have small targets.
function measure({ isMail, minText, minTap }) {
  const wrong = [];
  if (document.documentElement.scrollWidth > innerWidth) wrong.push(`is ${document.documentElement.scrollWidth} px wide`);
  const isDark = matchMedia('(prefers-color-scheme: dark)').matches;
  const canvas = isDark ? [18, 18, 18] : [255, 255, 255];
  const programs = Object.entries(isMail && !isDark ? MAIL_PROGRAMS : AS_IT_IS);
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const shown = texts.currentNode.data.trim();
    if (!shown || !element.checkVisibility()) continue;
    seen += 1;
    const style = getComputedStyle(element);
    for (const [how, change] of programs) {
      const [text, background] = change(rgb(style.color).slice(0, 3), backgroundOf(element, canvas));
      const ratio = contrast(text, background);
      if (ratio < MIN_CONTRAST) wrong.push(`${how}, the contrast of "${shown}" is ${ratio.toFixed(2)}`);
    }
    if (parseFloat(style.fontSize) < minText) wrong.push(`"${shown}" is ${style.fontSize} large`);
  }
  if (seen < MIN_TEXTS) wrong.push(`shows ${seen} texts`);
  for (const target of document.querySelectorAll('a, button, summary, input:not([type=hidden]), select')) {
    const { width, height } = target.getBoundingClientRect();
    if (target.checkVisibility() && Math.min(width, height) < minTap)
      wrong.push(`"${target.textContent.trim() || target.name}" is ${Math.round(width)} x ${Math.round(height)} px small`);
  }
  return wrong;
}
