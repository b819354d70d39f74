/** The colors of classes over time, which the style sheet defines for light and dark pages. */

/**
 * Return the color of each class.
 * @param {Element} element
 * @param {number} n
 */
export function byColor(element, n) {
  const style = getComputedStyle(element);
  return Array.from({ length: n }, (_, i) => style.getPropertyValue(`--series-${i % 8}`).trim());
}
