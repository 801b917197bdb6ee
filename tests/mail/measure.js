// Runs in a page that has documents in frames, and writes into the page what is wrong with each.

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
// How mail programs make a light e-mail dark: [text, background] from the same.
const PROGRAMS = {
  'as it is': (text, background) => [text, background],
  'inverted': (text, background) => [inverted(text), inverted(background)],
  'with its lightness flipped': (text, background) => [flipped(text), flipped(background)],
  'with light backgrounds and dark texts flipped': (text, background) => [
    lightness(text) < 0.5 ? flipped(text) : text,
    lightness(background) > 0.5 ? flipped(background) : background,
  ],
};
const MIN_CONTRAST = 4.5;
const MIN_TAP = 44;

const rgb = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
const backgroundOf = (element, canvas) => {
  for (let at = element; at; at = at.parentElement) {
    const color = rgb(getComputedStyle(at).backgroundColor);
    if (color.length === 3 || color[3] > 0.99) return color.slice(0, 3);
  }
  return canvas;
};

function measure(frame) {
  const { width, scheme, isMail } = frame.dataset;
  const wrong = [];
  const page = frame.contentDocument;
  const say = (text) => wrong.push(`${frame.dataset.name}, ${width} px, ${scheme}: ${text}`);
  if (page.documentElement.scrollWidth > Number(width)) say(`is ${page.documentElement.scrollWidth} px wide`);
  const canvas = scheme === 'dark' ? [18, 18, 18] : [255, 255, 255];
  const programs = scheme === 'light' && isMail === 'yes' ? Object.entries(PROGRAMS) : [['as it is', PROGRAMS['as it is']]];
  const texts = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const shown = texts.currentNode.data.trim();
    if (!shown || !element.checkVisibility()) continue;
    seen += 1;
    const style = frame.contentWindow.getComputedStyle(element);
    for (const [how, change] of programs) {
      const [text, background] = change(rgb(style.color).slice(0, 3), backgroundOf(element, canvas));
      const ratio = contrast(text, background);
      if (ratio < MIN_CONTRAST) say(`${how}, the contrast of "${shown}" is ${ratio.toFixed(2)}`);
    }
    if (parseFloat(style.fontSize) < 14) say(`"${shown}" is ${style.fontSize} large`);
  }
  if (seen < 5) say(`shows ${seen} texts`);
  for (const target of page.querySelectorAll('a, button, summary')) {
    const { width: wide, height } = target.getBoundingClientRect();
    if (Math.min(wide, height) < MIN_TAP) say(`"${target.textContent.trim()}" is ${Math.round(wide)} x ${Math.round(height)} px small`);
  }
  return { wrong, text: isMail === 'yes' ? page.body.innerText : null, name: frame.dataset.name };
}

addEventListener('load', () => {
  const result = document.createElement('script');
  result.type = 'application/json';
  result.id = 'result';
  // No end of an element can be in it.
  result.textContent = JSON.stringify([...document.querySelectorAll('iframe')].map(measure)).replaceAll('<', '\\u003c');
  document.body.replaceChildren(result);
});
